package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
)

// servePut takes bodies from a peer, one after the other, and answers each when it is durable here.
func (r *Replica) servePut(ctx context.Context, from store.ServerID, c net.Conn) error {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	s := newStream(c, r.cfg.Intervals.Stream)
	for {
		var h [putHeaderBytes]byte
		if err := r.nextRequest(s, h[:]); err != nil {
			return ended(from, err)
		}
		id := store.BodyID(h[:store.BodyIDBytes])
		epoch := binary.BigEndian.Uint64(h[store.BodyIDBytes:])
		size := binary.BigEndian.Uint64(h[store.BodyIDBytes+8:])
		if size > maxEncodedBytes {
			return fmt.Errorf("%s announced a body of %d bytes: %w", from, size, store.ErrTooLarge)
		}
		status, err := r.takeBody(ctx, id, epoch, s, int64(size))
		if err != nil {
			return fmt.Errorf("take body %v from %s: %w", id, from, err)
		}
		if _, err := s.out.Write(append([]byte{status}, r.cfg.DataIncarnation[:]...)); err != nil {
			return ended(from, err)
		}
		if err := s.out.Flush(); err != nil {
			return ended(from, err)
		}
	}
}

// nextRequest waits for the next request on a stream that may stay idle for a while: longer than the other side keeps it.
func (r *Replica) nextRequest(s *stream, b []byte) error {
	s.limit = 2*r.cfg.Intervals.StreamIdle + r.cfg.Intervals.Stream
	defer func() { s.limit = r.cfg.Intervals.Stream }()
	_, err := io.ReadFull(s.in, b)
	return err
}

// ended is nil for a stream that ended as streams do.
func ended(from store.ServerID, err error) error {
	var timeout net.Error
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) || errors.As(err, &timeout) && timeout.Timeout() {
		return nil
	}
	return fmt.Errorf("stream of %s: %w", from, err)
}

// takeBody stores a body that stands next on the stream. Its error is one after which the stream is of no more use.
func (r *Replica) takeBody(ctx context.Context, id store.BodyID, epoch uint64, s *stream, size int64) (byte, error) {
	weight := min(size, r.cfg.Limits.ReceiveBytes)
	if err := r.receive.Acquire(ctx, weight); err != nil {
		return 0, err
	}
	defer r.receive.Release(weight)
	body := &io.LimitedReader{R: s.in, N: size}
	var err error
	if r.disk.full.Load() {
		err = blob.ErrNoSpace
	} else {
		err = r.cfg.Blobs.Put(ctx, id, epoch, body, size, true)
	}
	if _, rest := io.Copy(io.Discard, body); rest != nil {
		return 0, rest
	}
	if body.N > 0 {
		return 0, io.ErrUnexpectedEOF // the sender gave up; a Put of what came was refused
	}
	if err != nil {
		r.cfg.Logger.Warn("refused a body from a peer", "body", id.String(), "err", err)
	} else {
		r.cfg.Metrics.ReceivedBytes.Add(float64(size))
	}
	return statusOf(err), nil
}

// serveGet gives bodies to a peer.
func (r *Replica) serveGet(ctx context.Context, from store.ServerID, c net.Conn) error {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	s := newStream(c, r.cfg.Intervals.Stream)
	for {
		var id store.BodyID
		if err := r.nextRequest(s, id[:]); err != nil {
			return ended(from, err)
		}
		if err := r.giveBody(id, s); err != nil {
			return ended(from, err)
		}
		if err := s.out.Flush(); err != nil {
			return ended(from, err)
		}
	}
}

// giveBody answers one request. A stored body that turns out to be corrupt on the way is marked as such at its end.
func (r *Replica) giveBody(id store.BodyID, s *stream) error {
	encoded, size, err := r.cfg.Blobs.OpenEncoded(id)
	if err != nil {
		if errors.Is(err, blob.ErrCorrupt) {
			r.suspect(id)
		}
		_, err := s.out.Write(append([]byte{statusOf(err)}, make([]byte, 8)...))
		return err
	}
	defer encoded.Close()
	if _, err := s.out.Write(binary.BigEndian.AppendUint64([]byte{statusOK}, uint64(size))); err != nil {
		return err
	}
	n, err := io.Copy(s.out, encoded)
	if err == nil && n == size {
		return s.out.WriteByte(trailerOK)
	}
	r.suspect(id)
	if n != size {
		return fmt.Errorf("body %v ended after %d of %d bytes: %w", id, n, size, io.ErrUnexpectedEOF)
	}
	return s.out.WriteByte(trailerBroken)
}
