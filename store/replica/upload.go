package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// maxAttempts is how often AddMessage tries anew after definite rejections.
const maxAttempts = 5

// uploads bounds the bodies that come in at this node.
type uploads struct {
	max      int
	maxBytes int64

	mu      sync.Mutex
	n       int   // begun and not ended; guarded by mu
	bytes   int64 // encoded, on their way to the voters; guarded by mu
	spooled int64 // reserved for raw bodies that stream in; guarded by mu
}

// spool reserves more room for a body that has mine already. A single one always finds room.
func (u *uploads) spool(mine, more, limit int64) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.spooled > mine && u.spooled+more > limit {
		return fmt.Errorf("%d bytes of bodies are coming in: %w", u.spooled, store.ErrUnavailable)
	}
	u.spooled += more
	return nil
}

func (u *uploads) unspool(size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.spooled -= size
}

func (u *uploads) begin() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n >= u.max {
		return fmt.Errorf("%d bodies are coming in: %w", u.n, store.ErrUnavailable)
	}
	u.n++
	return nil
}

func (u *uploads) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n--
}

// load reserves room for a body on its way. A single one always finds room.
func (u *uploads) load(size int64) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.bytes > 0 && u.bytes+size > u.maxBytes {
		return fmt.Errorf("%d bytes of bodies are on their way: %w", u.bytes, store.ErrUnavailable)
	}
	u.bytes += size
	return nil
}

func (u *uploads) unload(size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bytes -= size
}

// Upload takes a body while it streams in, with bounded memory. It is for one goroutine, and ends with Abort or AddMessage.
type Upload struct {
	r       *Replica
	encoder *blob.Encoder
	room    Room

	mu      sync.Mutex
	encoded *blob.Encoded // after the first Finish
	users   int           // of encoded, this Upload included; guarded by mu
	ended   bool          // guarded by mu
}

// NewBody begins a body. Errors: store.ErrNoSpace when this node's disk is too full for new mail, store.ErrUnavailable at the limit.
func (r *Replica) NewBody() (*Upload, error) {
	if err := r.Ready(); errors.Is(err, store.ErrNoSpace) {
		return nil, fmt.Errorf("begin a body: %w", err)
	}
	if err := r.uploads.begin(); err != nil {
		return nil, fmt.Errorf("begin a body: %w", err)
	}
	if _, err := r.freeSpace(); err != nil { // Ready is of a second ago, and longer without a quorum
		r.uploads.end()
		return nil, fmt.Errorf("begin a body: %w", err)
	}
	return &Upload{r: r, encoder: blob.NewEncoder(r.cfg.SpoolDir), room: Room{r: r}, users: 1}, nil
}

const (
	// spoolStep is how much of a body comes in between two looks at the disk. The first of it stays in memory.
	spoolStep = 256 << 10
	// maxSpoolBytes is the default limit of what comes in at once, where the disk has room for it.
	maxSpoolBytes = 4 << 30
)

// Write takes raw bytes. Errors: store.ErrTooLarge beyond blob.MaxRawBytes, store.ErrNoSpace for a disk that is too full for new mail,
// store.ErrUnavailable when all bodies that are coming in together take too much of it.
func (u *Upload) Write(p []byte) (int, error) {
	if err := u.room.Take(int64(len(p))); err != nil {
		return 0, fmt.Errorf("take a body: %w", err)
	}
	return u.encoder.Write(p)
}

// Room is what a body that streams in may take of the disk before it is stored. Whoever sends it may be anybody: no login is needed to fill a
// spool. It is for one goroutine.
type Room struct {
	r        *Replica
	size     int64 // of the body, so far
	reserved int64 // in uploads.spooled
}

// NewRoom begins a spool beside those of bodies. It ends with Release.
func (r *Replica) NewRoom() *Room { return &Room{r: r} }

// Take finds room for n more bytes. The first 256 KiB are supposed to stay in memory. Errors: store.ErrNoSpace, store.ErrUnavailable, as those of
// Upload.Write.
func (m *Room) Take(n int64) error {
	over := min(m.size+n, blob.MaxRawBytes) - spoolStep - m.reserved
	if over <= 0 {
		m.size += n
		return nil
	}
	more := (over + spoolStep - 1) / spoolStep * spoolStep
	limit, err := m.r.spoolLimit()
	if err != nil {
		return err
	}
	if err := m.r.uploads.spool(m.reserved, more, limit); err != nil {
		return err
	}
	m.size, m.reserved = m.size+n, m.reserved+more
	return nil
}

// Release gives the room back.
func (m *Room) Release() {
	m.r.uploads.unspool(m.reserved)
	m.size, m.reserved = 0, 0
}

// spoolLimit is how much may come in at once. Its error is that of freeSpace.
func (r *Replica) spoolLimit() (int64, error) {
	free, err := r.freeSpace()
	if err != nil {
		return 0, err
	}
	if r.cfg.Limits.SpoolBytes > 0 {
		return r.cfg.Limits.SpoolBytes, nil
	}
	return min(free/10, maxSpoolBytes), nil
}

// freeSpace asks for the room on the disk now. The error is store.ErrNoSpace where it is too full for new mail.
func (r *Replica) freeSpace() (int64, error) {
	if r.cfg.FreeBytes == nil {
		return math.MaxInt64, nil
	}
	free, err := r.cfg.FreeBytes()
	if err != nil {
		return math.MaxInt64, nil // the readiness loop logs it; not a reason to refuse mail
	}
	if free < r.cfg.MinFreeBytes {
		return 0, fmt.Errorf("%d MiB free, limit %d MiB: %w", free>>20, r.cfg.MinFreeBytes>>20, store.ErrNoSpace)
	}
	return free, nil
}

// Size is how many raw bytes were written.
func (u *Upload) Size() int64 { return u.room.size }

// Abort drops what was written, unless AddMessage has taken it over. It may be called more than once.
func (u *Upload) Abort() {
	u.mu.Lock()
	ended := u.ended
	u.ended = true
	u.mu.Unlock()
	if ended {
		return
	}
	if err := u.encoder.Close(); err != nil {
		u.r.cfg.Logger.Warn("close a spool file", "err", err)
	}
	u.r.uploads.end()
	u.release()
}

// retain keeps the encoded body until the same number of calls to release, also across Abort.
func (u *Upload) retain() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.users++
}

func (u *Upload) release() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.users--; u.users > 0 {
		return
	}
	u.room.Release() // nobody writes any more
	if u.encoded == nil {
		return
	}
	if err := u.encoded.Close(); err != nil {
		u.r.cfg.Logger.Warn("close a spool file", "err", err)
	}
}

// Finish ends the body and brings it to where a command may refer to it: into the reference itself if it is short, else onto the disks of
// a majority of the voters (B1). Nothing refers to it yet, so every error leaves nothing behind but an orphan, which is collected (B7).
// It may be called again, after a definite rejection of the command: then the body travels again, under a new id. Without a deadline ctx
// gets Intervals.Propose. Errors: store.ErrUnavailable, store.ErrNoSpace, store.ErrTooLarge.
func (u *Upload) Finish(ctx context.Context) (*storepb.BodyRef, error) {
	ctx, cancel := u.r.withDeadline(ctx)
	defer cancel()
	if err := u.finishEncoding(); err != nil {
		return nil, fmt.Errorf("finish the body: %w", err)
	}
	var nonce [store.NonceBytes]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, fmt.Errorf("choose a nonce: %w: %w", store.ErrUnavailable, err)
	}
	id := u.encoded.ID(nonce)
	epoch, err := u.r.currentEpoch()
	if err != nil {
		return nil, err
	}
	ref := &storepb.BodyRef{Id: id[:], RawBytes: u.encoded.RawBytes, EncodedBytes: u.encoded.CompressedBytes, Epoch: epoch}
	if b := u.encoded.Bytes(); b != nil && int64(len(b)) <= u.r.cfg.InlineBytes {
		ref.Inline = b
		return ref, nil
	}
	if err := u.r.replicate(ctx, u, id, ref); err != nil {
		return nil, fmt.Errorf("replicate the body: %w", err)
	}
	return ref, nil
}

func (u *Upload) finishEncoding() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return fmt.Errorf("it was ended before: %w", os.ErrClosed)
	}
	if u.encoded != nil {
		return nil
	}
	encoded, err := u.encoder.Finish()
	u.encoded = encoded
	return err
}

// currentEpoch is the upload epoch as far as this node has applied it. An old one is harmless: the command is rejected.
func (r *Replica) currentEpoch() (uint64, error) {
	if e := r.epoch.Load(); e > 0 {
		return e, nil
	}
	v := r.View()
	defer v.Close()
	c, err := v.Cluster()
	if err != nil {
		return 0, fmt.Errorf("read the upload epoch: %w: %w", store.ErrUnavailable, err)
	}
	r.epoch.CompareAndSwap(0, c.Epoch) // whoever applies later is right
	return c.Epoch, nil
}

// AddMessage finishes the body, sets msg.Body and proposes the message. After a definite rejection by the state (the voters have changed,
// or the upload epoch) it tries anew under new ids, a few times, within ctx. The upload has ended when it returns. Errors are those of
// Finish and Propose.
func (r *Replica) AddMessage(ctx context.Context, up *Upload, msg *storepb.AddMessage) (*storepb.Result, error) {
	defer up.Abort()
	ctx, cancel := r.withDeadline(ctx)
	defer cancel()
	for attempt := 1; ; attempt++ {
		ref, err := up.Finish(ctx)
		if err != nil {
			return nil, err
		}
		msg.Body = ref
		res, err := r.propose(ctx, func(c *storepb.Command) { c.Op = &storepb.Command_AddMessage{AddMessage: msg} })
		if err != nil {
			return nil, fmt.Errorf("add a message: %w", err)
		}
		if res.Code != state.CodeUnavailable || attempt == maxAttempts || !pause(ctx, time.Duration(attempt)*20*time.Millisecond) {
			return res, state.ResultError(res)
		}
		r.cfg.Logger.Info("message was rejected, trying anew", "attempt", attempt, "detail", res.Detail)
	}
}
