package state

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/broken"
	"github.com/quorumail/quorumail/store/kv"
	"github.com/quorumail/quorumail/store/storepb"
)

// CommandVersion is the format of commands that this program writes, and the newest that it knows.
const CommandVersion = 2

// firstVersion is what a cluster understands whose version was never raised. It is not this program's: another program would differ.
const firstVersion = 1

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
	Revoked     []store.AccountID // accounts of which a login that was right may be right no longer
	Settings    bool
	Cluster     bool                  // the replicated time, the upload epoch or another field of the cluster's record changed
	Dropped     []store.BodyID        // bodies that nothing refers to any longer
	Missing     bool                  // some server may lack bodies that it did not lack before
	Queued      []*storepb.QueueEntry // that this server owns since, or that became due at another time; not to be changed
	Rules       bool                  // rules or routes changed
	Restored    bool                  // a checkpoint replaced everything; the other fields but Index say nothing
}

// Config says where the state lives.
type Config struct {
	Dir     string     // empty: in memory
	FS      vfs.FS     // of Dir; nil: the operating system's
	Blobs   blob.Store // where inline bodies go
	Self    store.ServerID
	Logger  *slog.Logger // nil: none
	OnFatal func(error)  // must end the process

	memTableBytes uint64 // of the store; 0: its default. Tests make it small, so that flushes come on their own
}

// Machine is the replicated state on this node. Apply and Restore are called one at a time; everything else may be called at any time.
type Machine struct {
	cfg       Config
	mu        sync.RWMutex // held for writing while the store is replaced
	db        *generation  // guarded by mu
	restores  uint64       // guarded by mu
	posMu     sync.Mutex
	pos       *storepb.LogPosition // never changed in place; guarded by posMu
	needsAll  atomic.Bool          // keyNeedsAll is there
	synced    atomic.Uint64        // the inline bodies up to this index are durable
	noted     uint64               // of synced, what keySynced says; of Apply
	onApplied []func(Applied)
}

// Open opens or makes the state.
func Open(cfg Config) (*Machine, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.FS == nil {
		cfg.FS = vfs.Default
	}
	m := &Machine{cfg: cfg}
	if err := m.openCurrent(); err != nil {
		return nil, err
	}
	if err := m.readLocal(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the state: %w", err), m.db.Close())
	}
	return m, nil
}

// readLocal reads what the machine keeps in memory of its store.
func (m *Machine) readLocal() error {
	pos, err := readPosition(m.db)
	if err != nil {
		return err
	}
	m.posMu.Lock()
	m.pos = pos
	m.posMu.Unlock()
	all, err := has(m.db, keyNeedsAll)
	if err != nil {
		return err
	}
	m.needsAll.Store(all)
	return checkVersion(m.db)
}

// checkVersion refuses the state of a cluster that this program is too old for.
func checkVersion(r kv.Reader) error {
	cr := &storepb.ClusterRecord{}
	if _, err := load(r, key(tabCluster), cr); err != nil {
		return err
	}
	if cr.Version > CommandVersion {
		return fmt.Errorf("the cluster is at version %d, and this program knows %d: use a newer program", cr.Version, CommandVersion)
	}
	return nil
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
	if err := b.noteSynced(); err != nil {
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
	if c.Version == 0 || c.Version > CommandVersion || c.Group != group || c.Op == nil || hasUnknown(c) {
		return fmt.Errorf("a command of version %d, group %d, with an operation or a field unknown to this program: upgrade this node", c.Version, c.Group)
	}
	if !properID(c) {
		// No node proposes such a thing. To stop at it would stop all nodes, for ever; to skip it is the same on all of them.
		b.m.cfg.Logger.Error("skipped a command without a proper id", "pkg", "state", "index", b.pos.Index)
		return nil
	}
	b.cmd = c
	res, err := b.once(c, len(raw))
	if err != nil {
		return err
	}
	b.applied.Results = append(b.applied.Results, AppliedResult{[16]byte(c.Incarnation), c.Seq, res})
	return nil
}

func properID(c *storepb.Command) bool {
	return len(c.Incarnation) == incarnationBytes && c.Seq > 0 && c.Lowest > 0 && c.Lowest <= c.Seq && (c.Server == "" || validServerID(c.Server))
}

func (b *batch) once(c *storepb.Command, size int) (*storepb.Result, error) {
	inc := &storepb.Incarnation{Lowest: 1, Server: c.Server}
	if _, err := load(b, key(tabIncarnation, c.Incarnation), inc); err != nil {
		return nil, err
	}
	if inc.Retired || c.Seq < inc.Lowest && !broken.On(broken.Dedupe) {
		return refuse(store.ErrUnavailable, "the proposer gave this command up"), nil
	}
	if c.Seq <= inc.Highest && !broken.On(broken.Dedupe) { // above it is new, and need not be looked for
		old := &storepb.Result{}
		if found, err := load(b, key(tabResult, c.Incarnation, c.Seq), old); err != nil || found {
			return old, err
		}
	}
	if err := b.forgetResults(c.Incarnation, inc.Lowest, min(c.Lowest, inc.Highest+1)); err != nil {
		return nil, err
	}
	inc.Lowest, inc.Highest = max(inc.Lowest, c.Lowest), max(inc.Highest, c.Seq)
	if inc.LastIndex == 0 {
		inc.LastIndex = b.pos.Index
	}
	if err := b.save(key(tabIncarnation, c.Incarnation), inc); err != nil {
		return nil, err
	}
	if size > MaxCommandBytes {
		return b.keepResult(c, refuse(store.ErrTooLarge, "a command of %d bytes, at most %d", size, MaxCommandBytes))
	}
	res, err := b.operation(c)
	if err != nil {
		return nil, err
	}
	return b.keepResult(c, res)
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
	return b.queueOperation(c)
}

// queueOperation applies the commands about queues, rules and routes.
func (b *batch) queueOperation(c *storepb.Command) (*storepb.Result, error) {
	switch op := c.Op.(type) {
	case *storepb.Command_QueueAttempt:
		return b.queueAttempt(op.QueueAttempt)
	case *storepb.Command_QueueOutcomes:
		return b.queueOutcomes(op.QueueOutcomes)
	case *storepb.Command_QueueRoute:
		return b.queueRoute(op.QueueRoute)
	case *storepb.Command_QueuePlace:
		return b.queuePlace(op.QueuePlace)
	case *storepb.Command_QueueAdmin:
		return b.queueAdmin(op.QueueAdmin)
	case *storepb.Command_QueueHandOver:
		return b.queueHandOver(op.QueueHandOver)
	case *storepb.Command_PutRule:
		return b.putRule(op.PutRule)
	case *storepb.Command_RemoveRule:
		return b.removeRule(op.RemoveRule)
	case *storepb.Command_PutRoute:
		return b.putRoute(op.PutRoute)
	case *storepb.Command_RemoveRoute:
		return b.removeRoute(op.RemoveRoute)
	}
	return b.clusterOperation(c)
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

func (b *batch) touch(account, mailbox uint64) {
	b.changed[MailboxRef{store.AccountID(account), store.MailboxID(mailbox)}] = true
}
