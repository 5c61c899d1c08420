package replica

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/storepb"
)

const (
	// inlineBytes is up to where a compressed body travels in its command.
	inlineBytes = 8 << 10
	// lastAckWait is how long a majority waits for the last healthy voter, which spares that one a fetch later.
	lastAckWait = 5 * time.Millisecond
	// maxBodyBytes bounds the container that a peer may send.
	maxBodyBytes = 1 << 30
	// streamTimeout bounds the sending of one body to one peer.
	streamTimeout = 30 * time.Second
	// attempts is how often a message is offered anew after definite rejections.
	attempts = 4
)

const (
	methodPut = "put-body"
	methodGet = "get-body"
)

// Upload is a body that streams in. End it with AddMessage or Abort.
type Upload struct {
	r    *Replica
	enc  *blob.Encoder
	done bool
}

// NewBody begins a body; store.ErrUnavailable or store.ErrNoSpace when this node takes none now.
func (r *Replica) NewBody() (*Upload, error) {
	if err := r.Ready(); err != nil {
		return nil, err
	}
	return &Upload{r: r, enc: blob.NewEncoder(r.cfg.SpoolDir)}, nil
}

// Write takes raw bytes.
func (u *Upload) Write(p []byte) (int, error) { return u.enc.Write(p) }

// Abort drops the body. It does nothing after AddMessage.
func (u *Upload) Abort() {
	if !u.done {
		u.done = true
		_ = u.enc.Close() // nothing refers to it
	}
}

// AddMessage ends the body and places the message, in one replicated operation. After a definite rejection it tries anew under a
// new body id and a new command id.
func (r *Replica) AddMessage(ctx context.Context, u *Upload, msg *storepb.AddMessage) (*storepb.Result, error) {
	u.done = true
	enc, err := u.enc.Finish()
	if err != nil {
		_ = u.enc.Close()
		return nil, fmt.Errorf("end the body: %w", err)
	}
	defer enc.Close()
	for try := 1; ; try++ {
		res, err := r.addOnce(ctx, enc, msg)
		if res != nil && len(res.Placed) > 0 || !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknownOutcome) || try == attempts || ctx.Err() != nil {
			return res, err
		}
	}
}

func (r *Replica) addOnce(ctx context.Context, enc *blob.Encoded, msg *storepb.AddMessage) (*storepb.Result, error) {
	ref, err := r.upload(ctx, enc)
	if err != nil {
		return nil, err
	}
	return r.Propose(ctx, func(c *storepb.Command) {
		m := proto.CloneOf(msg)
		m.Body = ref
		c.Op = &storepb.Command_AddMessage{AddMessage: m}
	})
}

// upload brings a body where its command can refer to it (B1).
func (r *Replica) upload(ctx context.Context, enc *blob.Encoded) (*storepb.BodyRef, error) {
	var nonce [store.NonceBytes]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, fmt.Errorf("draw a nonce: %w", err)
	}
	id := enc.ID(nonce)
	v := r.View()
	cr, err := v.Cluster()
	v.Close()
	if err != nil {
		return nil, err
	}
	ref := &storepb.BodyRef{Id: id[:], RawBytes: enc.RawBytes, EncodedBytes: enc.CompressedBytes, Epoch: cr.Epoch}
	if raw := enc.Bytes(); raw != nil && len(raw) <= inlineBytes {
		ref.Inline = raw
		return ref, nil
	}
	return ref, r.spread(ctx, id, enc, ref)
}

// spread sends a body to every voter and returns when a majority has it on disk.
func (r *Replica) spread(ctx context.Context, id store.BodyID, enc *blob.Encoded, ref *storepb.BodyRef) error {
	ctx, cancel := context.WithTimeout(ctx, streamTimeout)
	members, configuration := r.cfg.Peers.Members()
	ref.Configuration = configuration
	answers := make(chan *storepb.Ack, len(members))
	var sending sync.WaitGroup
	voters := 0
	for _, m := range members {
		if !m.Voter {
			continue
		}
		voters++
		sending.Add(1)
		go func() {
			defer sending.Done()
			ack, err := r.putAt(ctx, m.ID, id, ref.Epoch, enc)
			if err != nil {
				r.cfg.Logger.Debug("send a body", "pkg", "replica", "node", m.ID, "err", err)
			}
			answers <- ack
		}()
	}
	// The container must stay open until nobody reads it: whoever is late is cut off.
	defer func() { cancel(); sending.Wait() }()
	var late <-chan time.Time
	for left := voters; left > 0; left-- {
		select {
		case ack := <-answers:
			if ack != nil {
				ref.Quorum = append(ref.Quorum, ack)
			}
		case <-late:
			return nil
		}
		if len(ref.Quorum) > voters/2 && late == nil {
			late = time.After(lastAckWait)
		}
	}
	if len(ref.Quorum) <= voters/2 {
		return fmt.Errorf("%d of %d voters took the body: %w", len(ref.Quorum), voters, store.ErrUnavailable)
	}
	return nil
}

func (r *Replica) putAt(ctx context.Context, to store.ServerID, id store.BodyID, epoch uint64, enc *blob.Encoded) (*storepb.Ack, error) {
	if to == r.cfg.Self {
		if err := r.cfg.Blobs.Put(ctx, id, epoch, enc.Open(), enc.CompressedBytes, true); err != nil {
			return nil, err
		}
		return &storepb.Ack{Server: string(to), DataIncarnation: r.cfg.DataIncarnation[:]}, nil
	}
	c, err := r.acks.take(ctx, r.cfg.Peers, to)
	if err != nil {
		return nil, err
	}
	incarnation, err := sendBody(ctx, c, id, epoch, enc)
	if err != nil {
		c.Close()
		return nil, err
	}
	r.acks.give(to, c)
	return &storepb.Ack{Server: string(to), DataIncarnation: incarnation}, nil
}

// A put is id (40), epoch (8), length (8), container; its answer is one byte, 1 for stored, and the data incarnation (16).
const (
	putHeaderBytes = len(store.BodyID{}) + 16
	putAnswerBytes = 17
)

func sendBody(ctx context.Context, c net.Conn, id store.BodyID, epoch uint64, enc *blob.Encoded) ([]byte, error) {
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if err := c.SetDeadline(time.Now().Add(streamTimeout)); err != nil {
		return nil, err
	}
	h := append(make([]byte, 0, putHeaderBytes), id[:]...)
	h = binary.BigEndian.AppendUint64(h, epoch)
	h = binary.BigEndian.AppendUint64(h, uint64(enc.CompressedBytes))
	if _, err := io.Copy(c, io.MultiReader(bytes.NewReader(h), enc.Open())); err != nil {
		return nil, err
	}
	answer := make([]byte, putAnswerBytes)
	if _, err := io.ReadFull(c, answer); err != nil {
		return nil, err
	}
	if answer[0] != 1 {
		return nil, errors.New("the node could not store the body")
	}
	return answer[1:], nil
}

// ackPool keeps streams to peers, for the next body.
type ackPool struct {
	mu   sync.Mutex
	idle map[store.ServerID][]net.Conn // guarded by mu
}

// maxIdleStreams bounds the idle streams to one peer.
const maxIdleStreams = 32

func (p *ackPool) take(ctx context.Context, peers Peers, to store.ServerID) (net.Conn, error) {
	p.mu.Lock()
	if list := p.idle[to]; len(list) > 0 {
		c := list[len(list)-1]
		p.idle[to] = list[:len(list)-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	return peers.OpenStream(ctx, to, methodPut)
}

func (p *ackPool) give(to store.ServerID, c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idle == nil {
		p.idle = map[store.ServerID][]net.Conn{}
	}
	if len(p.idle[to]) >= maxIdleStreams {
		c.Close()
		return
	}
	p.idle[to] = append(p.idle[to], c)
}

func (r *Replica) handleStreams() {
	r.cfg.Peers.HandleStream(methodPut, r.takeBodies)
	r.cfg.Peers.HandleStream(methodGet, r.giveBody)
}

// takeBodies stores the bodies of one stream.
func (r *Replica) takeBodies(ctx context.Context, _ store.ServerID, c net.Conn) {
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	h := make([]byte, putHeaderBytes)
	for {
		if _, err := io.ReadFull(c, h); err != nil {
			return
		}
		id := store.BodyID(h[:len(store.BodyID{})])
		epoch, size := binary.BigEndian.Uint64(h[len(id):]), int64(binary.BigEndian.Uint64(h[len(id)+8:]))
		if size < 0 || size > maxBodyBytes {
			return
		}
		body := io.LimitReader(c, size)
		answer := make([]byte, putAnswerBytes)
		if err := r.cfg.Blobs.Put(ctx, id, epoch, body, size, true); err != nil {
			r.cfg.Logger.Warn("store a body for another node", "pkg", "replica", "body", id, "err", err)
			if _, err := io.Copy(io.Discard, body); err != nil {
				return
			}
		} else {
			answer[0] = 1
			copy(answer[1:], r.cfg.DataIncarnation[:])
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// giveBody answers one request: id; length (8, all ones for "not here"), container.
func (r *Replica) giveBody(_ context.Context, _ store.ServerID, c net.Conn) {
	if err := c.SetDeadline(time.Now().Add(streamTimeout)); err != nil {
		return
	}
	var id store.BodyID
	if _, err := io.ReadFull(c, id[:]); err != nil {
		return
	}
	encoded, size, err := r.cfg.Blobs.OpenEncoded(id)
	if err != nil {
		_, _ = c.Write(bytes.Repeat([]byte{0xff}, 8)) // the asker goes on to the next node
		return
	}
	defer encoded.Close()
	if _, err := c.Write(binary.BigEndian.AppendUint64(nil, uint64(size))); err == nil {
		_, _ = io.Copy(c, encoded) // the asker checks the bytes
	}
}

// OpenBody reads a body: this node's, or when that is missing or damaged, another node's, which is stored here first.
func (r *Replica) OpenBody(ctx context.Context, id store.BodyID) (blob.Reader, error) {
	body, err := r.cfg.Blobs.Open(id)
	if err == nil {
		return body, nil
	}
	if errors.Is(err, blob.ErrCorrupt) {
		r.reportLost(ctx, id)
	} else if !errors.Is(err, blob.ErrNotFound) {
		return nil, fmt.Errorf("open a body: %w", err)
	}
	if err := r.fetch(ctx, id); err != nil {
		return nil, err
	}
	return r.cfg.Blobs.Open(id)
}

// reportLost says that this node's copy is bad, before it is repaired: until then it must count as missing (B3).
func (r *Replica) reportLost(ctx context.Context, id store.BodyID) {
	_, err := r.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_Lost{Lost: &storepb.Lost{Server: string(r.cfg.Self), Bodies: [][]byte{id[:]}}}
	})
	if err != nil {
		r.cfg.Logger.Error("report a damaged body", "pkg", "replica", "body", id, "err", err)
	}
}

// fetch brings a body from any node that has it.
func (r *Replica) fetch(ctx context.Context, id store.BodyID) error {
	members, _ := r.cfg.Peers.Members()
	last := fmt.Errorf("no other node is known: %w", store.ErrUnavailable)
	for _, m := range members {
		if m.ID == r.cfg.Self {
			continue
		}
		if last = r.fetchFrom(ctx, m.ID, id); last == nil {
			return nil
		}
	}
	return fmt.Errorf("fetch the body %s: %w", id, errors.Join(store.ErrUnavailable, last))
}

func (r *Replica) fetchFrom(ctx context.Context, from store.ServerID, id store.BodyID) error {
	ctx, cancel := context.WithTimeout(ctx, streamTimeout)
	defer cancel()
	c, err := r.cfg.Peers.OpenStream(ctx, from, methodGet)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(streamTimeout)); err != nil {
		return err
	}
	if _, err := c.Write(id[:]); err != nil {
		return err
	}
	var h [8]byte
	if _, err := io.ReadFull(c, h[:]); err != nil {
		return err
	}
	size := int64(binary.BigEndian.Uint64(h[:]))
	if size < 0 || size > maxBodyBytes {
		return fmt.Errorf("%s does not have it", from)
	}
	// The epoch only matters while a body waits for its command; this one is referred to.
	return r.cfg.Blobs.Put(ctx, id, 0, io.LimitReader(c, size), size, true)
}
