package backup

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/quorumail/quorumail/store"
)

// Bodies travel one after the other, in the order they were asked for: length:64, container; big-endian. A body that cannot be given ends
// the stream with an error.

// SendBodies writes the containers of bodies as ReceiveBodies reads them. open is that of the node's replica.
func SendBodies(ctx context.Context, w io.Writer, ids []store.BodyID, open func(context.Context, store.BodyID) (io.ReadCloser, int64, error)) error {
	out := bufio.NewWriterSize(w, 64<<10)
	for _, id := range ids {
		if err := sendBody(ctx, out, id, open); err != nil {
			return fmt.Errorf("send body %v: %w", id, err)
		}
	}
	return out.Flush()
}

func sendBody(ctx context.Context, out io.Writer, id store.BodyID, open func(context.Context, store.BodyID) (io.ReadCloser, int64, error)) error {
	encoded, size, err := open(ctx, id)
	if err != nil {
		return err
	}
	defer encoded.Close()
	if _, err := out.Write(binary.BigEndian.AppendUint64(nil, uint64(size))); err != nil {
		return err
	}
	n, err := io.Copy(out, encoded)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// ReceiveBodies reads the containers of bodies, and hands each to put, which must read all of it.
func ReceiveBodies(r io.Reader, ids []store.BodyID, put func(id store.BodyID, encoded io.Reader, sizeBytes int64) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for _, id := range ids {
		var h [8]byte
		if _, err := io.ReadFull(in, h[:]); err != nil {
			return fmt.Errorf("receive body %v: %w", id, err)
		}
		size := int64(binary.BigEndian.Uint64(h[:]))
		if err := put(id, io.LimitReader(in, size), size); err != nil {
			return fmt.Errorf("receive body %v: %w", id, err)
		}
	}
	return nil
}
