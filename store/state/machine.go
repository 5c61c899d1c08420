package state

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/kv"
	"github.com/quorumail/quorumail/store/storepb"
)

// CommandVersion is the format of commands that this program writes, and the newest that it knows.
const CommandVersion = 1

// Entry is one committed entry of the log. Command is nil for entries that only move the position.
type Entry struct {
	Index, Term   uint64
	Command       []byte
	Configuration *storepb.LogPosition // set for a change of membership: its Servers and ConfigurationIndex
}

// MailboxRef names a mailbox that changed; Mailbox is 0 when the account's list of mailboxes did.
type MailboxRef struct {
	Account store.AccountID
	Mailbox store.MailboxID
}

// AppliedResult is what a command answered.
type AppliedResult struct {
	Incarnation [16]byte
	Seq         uint64
	Result      *storepb.Result
}

// Applied is what a batch of entries did.
type Applied struct {
	Index       uint64
	Results     []AppliedResult
	Changed     []MailboxRef
	Credentials []store.AccountID // accounts whose credentials changed
	Settings    bool
	Cluster     bool           // the replicated time, the upload epoch or another field of the cluster's record changed
	Dropped     []store.BodyID // bodies that nothing refers to any longer
	Missing     bool           // some server may lack bodies that it did not lack before
	Restored    bool           // a checkpoint replaced everything; the other fields but Index say nothing
}

// Config says where the state lives.
type Config struct {
	Dir     string     // empty: in memory
	Blobs   blob.Store // where inline bodies go
	Self    store.ServerID
	Logger  *slog.Logger // nil: none
	OnFatal func(error)  // must end the process
}

// Machine is the replicated state on this node.
type Machine struct {
	cfg       Config
	mu        sync.RWMutex // held for writing while the store is replaced
	db        *generation  // guarded by mu
	posMu     sync.Mutex
	pos       *storepb.LogPosition // never changed in place; guarded by posMu
	needsAll  atomic.Bool          // keyNeedsAll is there
	onApplied []func(Applied)
}

// Open opens or makes the state.
func Open(cfg Config) (*Machine, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Machine{cfg: cfg}
	if err := m.openCurrent(); err != nil {
		return nil, err
	}
	pos, err := readPosition(m.db)
	if err != nil {
		m.db.Close()
		return nil, err
	}
	m.pos = pos
	all, err := has(m.db, keyNeedsAll)
	if err != nil {
		m.db.Close()
		return nil, fmt.Errorf("open the state: %w", err)
	}
	m.needsAll.Store(all)
	return m, nil
}

// Close ends the use of the state. What Views are still open end it only when they close.
func (m *Machine) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.db.release()
}

func readPosition(r kv.Reader) (*storepb.LogPosition, error) {
	pos := &storepb.LogPosition{}
	_, err := load(r, keyPosition, pos)
	if err != nil {
		return nil, fmt.Errorf("read the position of the state: %w", err)
	}
	return pos, nil
}

// Position is how far the state is. It must not be changed.
func (m *Machine) Position() *storepb.LogPosition {
	m.posMu.Lock()
	defer m.posMu.Unlock()
	return m.pos
}

// OnApplied registers who is told of each batch, in order, after its commit. Register before the first Apply.
func (m *Machine) OnApplied(f func(Applied)) { m.onApplied = append(m.onApplied, f) }

// batch is one Apply in progress.
type batch struct {
	kv.Batch
	m       *Machine
	pos     *storepb.LogPosition
	cmd     *storepb.Command
	applied Applied
	changed map[MailboxRef]bool
	lim     *limits // nil until they are needed
}

// Apply applies entries in one step. An error means that this node cannot go on: it does not know a command, or its disk failed.
func (m *Machine) Apply(entries []Entry) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b := &batch{Batch: kv.Combine(m.db.NewBatch()), m: m, pos: proto.CloneOf(m.Position()), changed: map[MailboxRef]bool{}}
	defer b.Close()
	for _, e := range entries {
		if e.Index <= b.pos.Index {
			continue
		}
		b.pos.Index, b.pos.Term = e.Index, e.Term
		if c := e.Configuration; c != nil {
			b.pos.ConfigurationIndex, b.pos.Servers = c.ConfigurationIndex, c.Servers
		}
		if e.Command == nil {
			continue
		}
		if err := b.command(e.Command); err != nil {
			return fmt.Errorf("apply entry %d: %w", e.Index, err)
		}
	}
	if err := b.save(keyPosition, b.pos); err != nil {
		return err
	}
	if err := b.Commit(false); err != nil {
		return fmt.Errorf("commit up to entry %d: %w", b.pos.Index, err)
	}
	m.posMu.Lock()
	m.pos = b.pos
	m.posMu.Unlock()
	b.applied.Index = b.pos.Index
	for ref := range b.changed {
		b.applied.Changed = append(b.applied.Changed, ref)
	}
	m.tell(b.applied)
	return nil
}

func (m *Machine) tell(a Applied) {
	for _, f := range m.onApplied {
		f(a)
	}
}

// command applies one command once: a repeated id gets the stored result, one below the lowest outstanding is rejected.
func (b *batch) command(raw []byte) error {
	c := &storepb.Command{}
	if err := proto.Unmarshal(raw, c); err != nil {
		return fmt.Errorf("decode the command: %w", err)
	}
	if c.Version == 0 || c.Version > CommandVersion || c.Op == nil {
		return fmt.Errorf("a command of version %d with an operation unknown to this program: upgrade this node", c.Version)
	}
	if c.Group != group || len(c.Incarnation) != 16 || c.Seq == 0 || c.Lowest == 0 || c.Lowest > c.Seq {
		return errors.New("a command without a proper id")
	}
	b.cmd = c
	res, err := b.once(c)
	if err != nil {
		return err
	}
	b.applied.Results = append(b.applied.Results, AppliedResult{[16]byte(c.Incarnation), c.Seq, res})
	return nil
}

func (b *batch) once(c *storepb.Command) (*storepb.Result, error) {
	inc := &storepb.Incarnation{Lowest: 1, Server: c.Server}
	if _, err := load(b, key(tabIncarnation, c.Incarnation), inc); err != nil {
		return nil, err
	}
	if inc.Retired || c.Seq < inc.Lowest {
		return refuse(store.ErrUnavailable, "the proposer gave this command up"), nil
	}
	if c.Seq <= inc.Highest { // else it is new, and need not be looked for
		old := &storepb.Result{}
		if found, err := load(b, key(tabResult, c.Incarnation, c.Seq), old); err != nil || found {
			return old, err
		}
	}
	for seq := inc.Lowest; seq < min(c.Lowest, inc.Highest+1); seq++ {
		if err := b.Delete(key(tabResult, c.Incarnation, seq)); err != nil {
			return nil, err
		}
	}
	inc.Lowest, inc.Highest = max(inc.Lowest, c.Lowest), max(inc.Highest, c.Seq)
	if inc.LastIndex == 0 {
		inc.LastIndex = b.pos.Index
	}
	if err := b.save(key(tabIncarnation, c.Incarnation), inc); err != nil {
		return nil, err
	}
	res, err := b.operation(c)
	if err != nil {
		return nil, err
	}
	res.Index = b.pos.Index
	return res, b.save(key(tabResult, c.Incarnation, c.Seq), res)
}

func (b *batch) operation(c *storepb.Command) (*storepb.Result, error) {
	switch op := c.Op.(type) {
	case *storepb.Command_AddMessage:
		return b.addMessage(op.AddMessage)
	case *storepb.Command_StoreFlags:
		return b.storeFlags(op.StoreFlags)
	case *storepb.Command_Expunge:
		return b.expunge(op.Expunge)
	case *storepb.Command_CopyMessages:
		return b.copyMessages(op.CopyMessages)
	case *storepb.Command_CreateMailbox:
		return b.createMailbox(op.CreateMailbox)
	case *storepb.Command_DeleteMailbox:
		return b.deleteMailbox(op.DeleteMailbox)
	case *storepb.Command_RenameMailbox:
		return b.renameMailbox(op.RenameMailbox)
	case *storepb.Command_SetSubscribed:
		return b.setSubscribed(op.SetSubscribed)
	case *storepb.Command_PutDomain:
		return b.putDomain(op.PutDomain)
	case *storepb.Command_RemoveDomain:
		return b.removeDomain(op.RemoveDomain)
	case *storepb.Command_PutAccount:
		return b.putAccount(op.PutAccount)
	case *storepb.Command_RemoveAccount:
		return b.removeAccount(op.RemoveAccount)
	case *storepb.Command_PutCredential:
		return b.putCredential(op.PutCredential)
	case *storepb.Command_RemoveCredential:
		return b.removeCredential(op.RemoveCredential)
	case *storepb.Command_PutAlias:
		return b.putAlias(op.PutAlias)
	case *storepb.Command_RemoveAlias:
		return b.removeAlias(op.RemoveAlias)
	case *storepb.Command_PutSetting:
		return b.putSetting(op.PutSetting)
	}
	return b.clusterOperation(c)
}

// Persist makes everything applied durable: bodies first, then what refers to them.
func (m *Machine) Persist() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	index := m.Position().Index
	if err := m.cfg.Blobs.Sync(); err != nil {
		return fmt.Errorf("sync the bodies: %w", err)
	}
	b := m.db.NewBatch()
	defer b.Close()
	if err := b.DeleteRange(prefixInline, inlineKey(index+1, nil)); err != nil {
		return err
	}
	if err := b.Commit(false); err != nil {
		return err
	}
	return m.db.Flush()
}

// UnsureBody is an inline body that a crash took.
type UnsureBody struct {
	Index uint64 // of the log entry that brought it
	ID    store.BodyID
}

// UnsureInline lists the inline bodies that were not known to be durable when the process ended and that are gone. They must be put again,
// by PutInlineAgain with the command from the node's own log, before it serves.
func (m *Machine) UnsureInline() ([]UnsureBody, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	it, err := m.db.Iter(prefixInline, after(prefixInline))
	if err != nil {
		return nil, err
	}
	defer it.Close()
	var out []UnsureBody
	for ok := it.First(); ok; ok = it.Next() {
		k := it.Key()[len(prefixInline):]
		id, err := store.BodyIDFromBytes(k[8:])
		if err != nil {
			return nil, err
		}
		has, err := m.cfg.Blobs.Has(id)
		if err != nil {
			return nil, err
		}
		if has && m.cfg.Blobs.Verify(id) == nil {
			continue
		}
		out = append(out, UnsureBody{binary.BigEndian.Uint64(k), id})
	}
	return out, it.Err()
}

// PutInlineAgain stores the inline body of a command, read from the log, that UnsureInline named.
func (m *Machine) PutInlineAgain(command []byte) error {
	c := &storepb.Command{}
	if err := proto.Unmarshal(command, c); err != nil {
		return fmt.Errorf("decode the command: %w", err)
	}
	ref := c.GetAddMessage().GetBody()
	id, err := store.BodyIDFromBytes(ref.GetId())
	if err != nil {
		return err
	}
	return m.cfg.Blobs.Put(context.TODO(), id, ref.Epoch, bytes.NewReader(ref.Inline), int64(len(ref.Inline)), false)
}

// LookupResult finds the result of a command that was applied, also before a restore.
func (m *Machine) LookupResult(incarnation [16]byte, seq uint64) (*storepb.Result, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	res := &storepb.Result{}
	found, err := load(m.db, key(tabResult, incarnation[:], seq), res)
	return res, err == nil && found
}

// load reads and decodes a value; found tells whether there is one.
func load(r kv.Reader, k []byte, v proto.Message) (found bool, err error) {
	raw, err := r.Get(k)
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %q: %w", k, err)
	}
	if err := proto.Unmarshal(raw, v); err != nil {
		return false, fmt.Errorf("decode %q: %w", k, err)
	}
	return true, nil
}

// marshal is the one encoding whose bytes all nodes agree on.
var marshal = proto.MarshalOptions{Deterministic: true}

func (b *batch) save(k []byte, v proto.Message) error {
	raw, err := marshal.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %q: %w", k, err)
	}
	return b.Set(k, raw)
}

func has(r kv.Reader, k []byte) (bool, error) {
	_, err := r.Get(k)
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// ---- results ----

// CodeUnavailable is the code of a definite rejection that a new attempt, under new ids, may not meet.
var CodeUnavailable = codeOf(store.ErrUnavailable)

var codes = []error{nil, store.ErrNotFound, store.ErrExists, store.ErrConflict, store.ErrInvalid, store.ErrOverQuota, store.ErrTooLarge, store.ErrDenied, store.ErrUnavailable}

func codeOf(err error) uint32 {
	for i, e := range codes {
		if i > 0 && errors.Is(err, e) {
			return uint32(i)
		}
	}
	panic("state: an error without a code")
}

func refuse(err error, format string, args ...any) *storepb.Result {
	return &storepb.Result{Code: codeOf(err), Detail: fmt.Sprintf(format, args...)}
}

// CodeError is the error of package store that a result's code stands for, nil for success.
func CodeError(code uint32) error {
	if int(code) >= len(codes) {
		return fmt.Errorf("result code %d: %w", code, store.ErrInvalid)
	}
	return codes[code]
}

// ResultError is the error that a result stands for, nil for success.
func ResultError(r *storepb.Result) error {
	if r.Code == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", r.Detail, CodeError(r.Code))
}

func (b *batch) touch(account, mailbox uint64) {
	b.changed[MailboxRef{store.AccountID(account), store.MailboxID(mailbox)}] = true
}
