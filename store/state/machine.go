package state

import (
	"errors"
	"io"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/storepb"
)

// Config says where the state lives.
type Config struct {
	// Dir is the state's folder. It is created.
	Dir string
	// FS is the file system; default: the operating system's.
	FS vfs.FS
	// Blobs takes the bodies that come inside commands.
	Blobs blob.Store
	// Self is this node.
	Self store.ServerID
	// Memory keeps the state in memory only.
	Memory bool
	// MemTableBytes and CacheBytes bound Pebble's memory; default: those of package kv.
	MemTableBytes uint64
	CacheBytes    int64
	// Logger gets warnings; default: none.
	Logger *slog.Logger
	// OnFatal is called once when the state can no longer be trusted; default: panic.
	OnFatal func(error)
}

var errSkeleton = errors.New("being written")

// Machine is the replicated state of this node.
type Machine struct{}

func Open(Config) (*Machine, error)               { return nil, errSkeleton }
func (m *Machine) Close() error                   { return errSkeleton }
func (m *Machine) Apply(entries []Entry) error    { return errSkeleton }
func (m *Machine) Position() *storepb.LogPosition { return nil }
func (m *Machine) Persist() error                 { return errSkeleton }
func (m *Machine) Checkpoint() (*storepb.LogPosition, int64, io.ReadCloser, error) {
	return nil, 0, nil, errSkeleton
}
func (m *Machine) Restore(io.Reader) error { return errSkeleton }
func (m *Machine) OnApplied(func(Applied)) {}
func (m *Machine) LookupResult(incarnation [16]byte, seq uint64) (*storepb.Result, bool) {
	return nil, false
}
func (m *Machine) Hash() (index uint64, hash string, err error) { return 0, "", errSkeleton }
func (m *Machine) Check() error                                 { return errSkeleton }
func (m *Machine) MissingInline() ([]uint64, error)             { return nil, errSkeleton }
func (m *Machine) ReapplyInline(Entry) error                    { return errSkeleton }
func (m *Machine) NeedsAllBodies() bool                         { return false }
func (m *Machine) ClearNeedsAllBodies() error                   { return errSkeleton }
func (m *Machine) View() *View                                  { return nil }

// View is a consistent snapshot.
type View struct{}

func (v *View) Close()                                                    {}
func (v *View) Position() *storepb.LogPosition                            { return nil }
func (v *View) Domain(name string) (*storepb.Domain, error)               { return nil, errSkeleton }
func (v *View) Domains() ([]*storepb.Domain, error)                       { return nil, errSkeleton }
func (v *View) Account(id store.AccountID) (*storepb.Account, error)      { return nil, errSkeleton }
func (v *View) AccountByAddress(address string) (*storepb.Account, error) { return nil, errSkeleton }
func (v *View) Accounts(from store.AccountID, f func(*storepb.Account) bool) error {
	return errSkeleton
}
func (v *View) Credentials(account store.AccountID) ([]*storepb.Credential, error) {
	return nil, errSkeleton
}
func (v *View) Alias(address string) (*storepb.Alias, error)           { return nil, errSkeleton }
func (v *View) Aliases(from string, f func(*storepb.Alias) bool) error { return errSkeleton }
func (v *View) Resolve(address string) ([]Recipient, error)            { return nil, errSkeleton }
func (v *View) Mailboxes(account store.AccountID) ([]*storepb.Mailbox, error) {
	return nil, errSkeleton
}
func (v *View) MailboxByName(account store.AccountID, name string) (*storepb.Mailbox, error) {
	return nil, errSkeleton
}
func (v *View) Mailbox(account store.AccountID, mailbox store.MailboxID) (*storepb.Mailbox, error) {
	return nil, errSkeleton
}
func (v *View) Entry(account store.AccountID, mailbox store.MailboxID, uid store.UID) (*storepb.Entry, error) {
	return nil, errSkeleton
}
func (v *View) Entries(account store.AccountID, mailbox store.MailboxID, from store.UID, f func(store.UID, *storepb.Entry) bool) error {
	return errSkeleton
}
func (v *View) ChangesSince(account store.AccountID, mailbox store.MailboxID, since store.ModSeq, f func(Change) bool) error {
	return errSkeleton
}
func (v *View) Email(id store.EmailID) (*storepb.Email, error)          { return nil, errSkeleton }
func (v *View) Refs(id store.EmailID) (*storepb.EmailRefs, error)       { return nil, errSkeleton }
func (v *View) Subscriptions(account store.AccountID) ([]string, error) { return nil, errSkeleton }
func (v *View) Usage(account store.AccountID) (*storepb.Usage, error)   { return nil, errSkeleton }
func (v *View) Setting(name string) (string, error)                     { return "", errSkeleton }
func (v *View) Settings() (map[string]string, error)                    { return nil, errSkeleton }
func (v *View) Cluster() (*storepb.ClusterRecord, error)                { return nil, errSkeleton }
func (v *View) Server(id store.ServerID) (*storepb.Server, error)       { return nil, errSkeleton }
func (v *View) Servers() ([]*storepb.Server, error)                     { return nil, errSkeleton }
func (v *View) Secret(name string) ([]byte, error)                      { return nil, errSkeleton }
func (v *View) Missing(server store.ServerID) ([]store.BodyID, error)   { return nil, errSkeleton }
func (v *View) IsMissing(server store.ServerID, id store.BodyID) (bool, error) {
	return false, errSkeleton
}
func (v *View) EachBody(f func(Body) error) error                            { return errSkeleton }
func (v *View) BodyEmail(id store.BodyID) (store.EmailID, error)             { return 0, errSkeleton }
func (v *View) Tombstones(before uint64, limit int) ([]store.EmailID, error) { return nil, errSkeleton }
func (v *View) Invite(hash []byte) (*storepb.Invite, error)                  { return nil, errSkeleton }
func (v *View) Incarnations() (map[[16]byte]*storepb.Incarnation, error)     { return nil, errSkeleton }
