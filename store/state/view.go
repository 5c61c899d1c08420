package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/kv"
	"github.com/quorumail/quorumail/store/storepb"
)

// View is the state at one moment. Close it soon: it keeps old data on disk. Reads of what does not exist answer store.ErrNotFound.
type View struct {
	kv.Snapshot
	of *generation
	m  *Machine
}

// View takes a view. A restore does not wait for it: it goes on to show the state that was replaced.
func (m *Machine) View() *View {
	m.mu.RLock()
	defer m.mu.RUnlock()
	m.db.users.Add(1)
	return &View{m.db.Snapshot(), m.db, m}
}

// StoreMetrics are figures of the store that holds the state. Their counts begin anew when a checkpoint replaces it.
func (m *Machine) StoreMetrics() kv.Metrics {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.db.Metrics()
}

// Close gives the view up.
func (v *View) Close() {
	err := v.Snapshot.Close()
	if err = errors.Join(err, v.of.release()); err != nil {
		v.m.cfg.Logger.Warn("close a view of the state", "pkg", "state", "err", err)
	}
}

func must(r kv.Reader, k []byte, v proto.Message) error {
	found, err := load(r, k, v)
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return err
}

// each walks the keys that begin with prefix; f gets what follows it, valid until it returns.
func each(r kv.Reader, prefix []byte, f func(rest, value []byte) (bool, error)) error {
	it, err := r.Iter(prefix, after(prefix))
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		more, err := f(it.Key()[len(prefix):], it.Value())
		if err != nil || !more {
			return err
		}
	}
	return it.Err()
}

func eachMailbox(r kv.Reader, account uint64, f func(*storepb.Mailbox) bool) error {
	return each(r, key(tabMailbox, account), func(_, raw []byte) (bool, error) {
		mb := &storepb.Mailbox{}
		if err := proto.Unmarshal(raw, mb); err != nil {
			return false, fmt.Errorf("decode a mailbox: %w", err)
		}
		return f(mb), nil
	})
}

func eachEntry(r kv.Reader, account, mailbox uint64, uids store.UIDRange, f func(store.UID, *storepb.Entry) bool) error {
	prefix := key(tabEntry, account, mailbox)
	end := after(prefix)
	if uids.Last < 1<<32-1 {
		end = entryKey(account, mailbox, uids.Last+1)
	}
	it, err := r.Iter(entryKey(account, mailbox, uids.First), end)
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		e := &storepb.Entry{}
		if err := proto.Unmarshal(it.Value(), e); err != nil {
			return fmt.Errorf("decode an entry: %w", err)
		}
		if !f(store.UID(binary.BigEndian.Uint32(it.Key()[len(prefix):])), e) {
			return nil
		}
	}
	return it.Err()
}

func eachAddress(r kv.Reader, f func(address string, value []byte) bool) error {
	return each(r, key(tabAddress), func(rest, raw []byte) (bool, error) { return f(string(rest), raw), nil })
}

func loadAlias(r kv.Reader, address string, a *storepb.Alias) (bool, error) {
	raw, err := r.Get(key(tabAddress, address))
	if errors.Is(err, kv.ErrNotFound) || err == nil && raw[0] != 'l' {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, proto.Unmarshal(raw[1:], a)
}

// Position is how far the view's state is.
func (v *View) Position() (*storepb.LogPosition, error) { return readPosition(v) }

// Domain reads a domain.
func (v *View) Domain(name string) (*storepb.Domain, error) {
	d := &storepb.Domain{}
	return d, must(v, key(tabDomain, name), d)
}

// Domains lists all domains.
func (v *View) Domains() (out []*storepb.Domain, err error) {
	err = each(v, key(tabDomain), func(_, raw []byte) (bool, error) {
		d := &storepb.Domain{}
		out = append(out, d)
		return true, proto.Unmarshal(raw, d)
	})
	return out, err
}

// Account reads an account.
func (v *View) Account(id store.AccountID) (*storepb.Account, error) {
	a := &storepb.Account{}
	return a, must(v, key(tabAccount, uint64(id)), a)
}

// AccountByAddress reads the account of exactly that canonical address.
func (v *View) AccountByAddress(address string) (*storepb.Account, error) {
	raw, err := v.Get(key(tabAddress, address))
	if errors.Is(err, kv.ErrNotFound) || err == nil && raw[0] != 'a' {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return v.Account(store.AccountID(binary.BigEndian.Uint64(raw[1:])))
}

// Accounts walks the accounts from an id on, until f says no.
func (v *View) Accounts(from store.AccountID, f func(*storepb.Account) bool) error {
	return each(v, key(tabAccount), func(_, raw []byte) (bool, error) {
		a := &storepb.Account{}
		if err := proto.Unmarshal(raw, a); err != nil {
			return false, fmt.Errorf("decode an account: %w", err)
		}
		return store.AccountID(a.Id) < from || f(a), nil
	})
}

// Credentials lists an account's credentials.
func (v *View) Credentials(id store.AccountID) (out []*storepb.Credential, err error) {
	err = each(v, key(tabCredential, uint64(id)), func(_, raw []byte) (bool, error) {
		c := &storepb.Credential{}
		out = append(out, c)
		return true, proto.Unmarshal(raw, c)
	})
	return out, err
}

// Alias reads an alias or group.
func (v *View) Alias(address string) (*storepb.Alias, error) {
	a := &storepb.Alias{}
	found, err := loadAlias(v, address, a)
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return a, err
}

// Aliases walks the aliases and groups from an address on, until f says no.
func (v *View) Aliases(from string, f func(*storepb.Alias) bool) error {
	return each(v, key(tabAddress), func(rest, raw []byte) (bool, error) {
		if raw[0] != 'l' || string(rest) < from {
			return true, nil
		}
		a := &storepb.Alias{}
		if err := proto.Unmarshal(raw[1:], a); err != nil {
			return false, fmt.Errorf("decode an alias: %w", err)
		}
		return f(a), nil
	})
}

// Recipient is a mailbox behind an address, or an address elsewhere to which an alias passes mail on.
type Recipient struct {
	Account   store.AccountID
	Address   string          // the account's, or the one elsewhere
	Mailbox   store.MailboxID // 0: INBOX
	Detail    string          // what stood behind the separator (RFC 5233)
	Remote    bool            // elsewhere: there is no account
	Suspended bool            // the account is: its mail waits until it is not
}

// maxRecipients bounds what one address leads to.
const maxRecipients = 1000

// Resolve lists who gets the mail of a canonical address: its account, its alias's or group's targets, the same without the detail
// that a separator (the setting delivery.plus_separator) sets off, or the domain's catch-all. Each account stands there once; loops
// are cut.
func (v *View) Resolve(address string) ([]Recipient, error) {
	separator, err := v.Setting(store.SettingPlusSeparator)
	if errors.Is(err, store.ErrNotFound) {
		separator = "+"
	} else if err != nil {
		return nil, err
	}
	r := resolver{v: v, separator: separator, seen: map[string]bool{}, have: map[store.AccountID]bool{}}
	if err := r.resolve(address, ""); err != nil {
		return nil, err
	}
	if len(r.out) == 0 {
		return nil, fmt.Errorf("%s: %w", address, store.ErrNotFound)
	}
	return r.out, nil
}

type resolver struct {
	v         *View
	separator string
	seen      map[string]bool
	have      map[store.AccountID]bool
	out       []Recipient
}

func (r *resolver) resolve(address, detail string) error {
	if r.seen[address] {
		return nil
	}
	if len(r.seen) >= maxRecipients {
		return fmt.Errorf("an address that leads to more than %d: %w", maxRecipients, store.ErrTooLarge)
	}
	r.seen[address] = true
	d, err := r.v.Domain(domainOf(address))
	if errors.Is(err, store.ErrNotFound) {
		if len(r.seen) > 1 { // an alias's target elsewhere
			r.out = append(r.out, Recipient{Address: address, Detail: detail, Remote: true})
		}
		return nil
	}
	if err != nil {
		return err
	}
	if found, err := r.exact(address, detail); err != nil || found {
		return err
	}
	if local := address[:len(address)-len(d.Name)-1]; r.separator != "" {
		if base, detail, ok := strings.Cut(local, r.separator); ok && base != "" {
			if found, err := r.exact(base+"@"+d.Name, detail); err != nil || found {
				return err
			}
		}
	}
	if d.CatchAll != "" {
		return r.resolve(d.CatchAll, "")
	}
	return nil
}

func (r *resolver) exact(address, detail string) (bool, error) {
	a, err := r.v.AccountByAddress(address)
	if err == nil {
		if !r.have[store.AccountID(a.Id)] {
			r.have[store.AccountID(a.Id)] = true
			r.out = append(r.out, Recipient{Account: store.AccountID(a.Id), Address: a.Address, Detail: detail, Suspended: a.Suspended})
		}
		return true, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	alias, err := r.v.Alias(address)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, t := range alias.Targets {
		if err := r.resolve(t, detail); err != nil {
			return false, err
		}
	}
	return true, nil
}

// Mailboxes lists an account's mailboxes.
func (v *View) Mailboxes(a store.AccountID) (out []*storepb.Mailbox, err error) {
	err = eachMailbox(v, uint64(a), func(mb *storepb.Mailbox) bool { out = append(out, mb); return true })
	return out, err
}

// Mailbox reads a mailbox.
func (v *View) Mailbox(a store.AccountID, id store.MailboxID) (*storepb.Mailbox, error) {
	mb := &storepb.Mailbox{}
	return mb, must(v, key(tabMailbox, uint64(a), uint64(id)), mb)
}

// MailboxByName reads the mailbox of that name.
func (v *View) MailboxByName(a store.AccountID, name string) (*storepb.Mailbox, error) {
	name, ok := CanonicalName(name)
	if !ok {
		return nil, store.ErrNotFound
	}
	id, found, err := mailboxID(v, uint64(a), name)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, store.ErrNotFound
	}
	return v.Mailbox(a, store.MailboxID(id))
}

// Subscriptions lists the names that the account subscribed, in order; some may name no mailbox.
func (v *View) Subscriptions(a store.AccountID) (out []string, err error) {
	err = each(v, key(tabSubscribed, uint64(a)), func(rest, _ []byte) (bool, error) { out = append(out, string(rest)); return true, nil })
	return out, err
}

// Entry reads one message's place in a mailbox.
func (v *View) Entry(a store.AccountID, m store.MailboxID, uid store.UID) (*storepb.Entry, error) {
	e := &storepb.Entry{}
	return e, must(v, entryKey(uint64(a), uint64(m), uid), e)
}

// Entries walks a mailbox from a UID on, in UID order, until f says no.
func (v *View) Entries(a store.AccountID, m store.MailboxID, from store.UID, f func(store.UID, *storepb.Entry) bool) error {
	return eachEntry(v, uint64(a), uint64(m), store.UIDRange{First: from, Last: 1<<32 - 1}, f)
}

// ChangeKind is what happened to a message.
type ChangeKind byte

// Kinds of change.
const (
	ChangeNew      ChangeKind = changeNew
	ChangeFlags    ChangeKind = changeFlags
	ChangeExpunged ChangeKind = changeExpunged
)

// Change is the newest change of a message.
type Change struct {
	UID    store.UID
	ModSeq store.ModSeq
	Kind   ChangeKind
}

// ChangesSince walks the messages that changed after modseq, in the order of their newest change, until f says no.
func (v *View) ChangesSince(a store.AccountID, m store.MailboxID, modseq store.ModSeq, f func(Change) bool) error {
	prefix := key(tabChange, uint64(a), uint64(m))
	it, err := v.Iter(changeKey(uint64(a), uint64(m), uint64(modseq)+1, 0), after(prefix))
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		k := it.Key()[len(prefix):]
		if !f(Change{store.UID(binary.BigEndian.Uint32(k[8:])), store.ModSeq(binary.BigEndian.Uint64(k)), ChangeKind(it.Value()[0])}) {
			return nil
		}
	}
	return it.Err()
}

// Email reads a message's content record.
func (v *View) Email(id store.EmailID) (*storepb.Email, error) {
	e := &storepb.Email{}
	return e, must(v, key(tabEmail, uint64(id)), e)
}

// Usage reads what an account uses.
func (v *View) Usage(a store.AccountID) (*storepb.Usage, error) {
	u := &storepb.Usage{}
	_, err := load(v, key(tabUsage, uint64(a)), u)
	return u, err
}

// Setting reads a setting of the cluster; store.ErrNotFound when it has its default.
func (v *View) Setting(name string) (string, error) {
	raw, err := v.Get(key(tabSetting, name))
	if errors.Is(err, kv.ErrNotFound) {
		err = store.ErrNotFound
	}
	return string(raw), err
}

// Settings reads all settings that do not have their default.
func (v *View) Settings() (map[string]string, error) {
	out := map[string]string{}
	err := each(v, key(tabSetting), func(rest, raw []byte) (bool, error) { out[string(rest)] = string(raw); return true, nil })
	return out, err
}

// Server reads what a server registered.
func (v *View) Server(id store.ServerID) (*storepb.Server, error) {
	s := &storepb.Server{}
	return s, must(v, key(tabServer, string(id)), s)
}

// IsMissing tells whether a server is not known to hold a body.
func (v *View) IsMissing(server store.ServerID, id store.BodyID) (bool, error) {
	return has(v, missingKey(string(server), id[:]))
}

// Cluster reads the cluster's record.
func (v *View) Cluster() (*storepb.ClusterRecord, error) {
	cr := &storepb.ClusterRecord{Version: firstVersion, Epoch: 1}
	_, err := load(v, key(tabCluster), cr)
	return cr, err
}

// Servers lists the servers that registered and were not removed.
func (v *View) Servers() ([]*storepb.Server, error) {
	all, err := v.EverServers()
	return slices.DeleteFunc(all, (*storepb.Server).GetRemoved), err
}

// EverServers lists the servers that ever registered. Of a removed one there is little more than its id.
func (v *View) EverServers() (out []*storepb.Server, err error) {
	err = each(v, key(tabServer), func(_, raw []byte) (bool, error) {
		s := &storepb.Server{}
		out = append(out, s)
		return true, proto.Unmarshal(raw, s)
	})
	return out, err
}

// Secret reads a secret of the cluster.
func (v *View) Secret(name string) ([]byte, error) {
	raw, err := v.Get(key(tabSecret, name))
	if errors.Is(err, kv.ErrNotFound) {
		err = store.ErrNotFound
	}
	return raw, err
}

// BodyEmail is the email that a body is of; store.ErrNotFound when nothing refers to the body, or did and is not swept.
func (v *View) BodyEmail(id store.BodyID) (store.EmailID, error) {
	raw, err := v.Get(key(tabBody, id[:]))
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return 0, store.ErrNotFound
	case err != nil:
		return 0, err
	case len(raw) != 8:
		return 0, fmt.Errorf("the email of body %v: %d bytes: %w", id, len(raw), store.ErrInvalid)
	}
	return store.EmailID(binary.BigEndian.Uint64(raw)), nil
}

// Missing lists up to limit bodies that a server is not known to hold.
func (v *View) Missing(server store.ServerID, limit int) (out []store.BodyID, err error) {
	err = each(v, missingKey(string(server), nil), func(rest, _ []byte) (bool, error) {
		id, err := store.BodyIDFromBytes(rest)
		out = append(out, id)
		return len(out) < limit, err
	})
	return out, err
}

// EachBody walks all live bodies in the order of their ids. An error of f ends the walk and is returned.
func (v *View) EachBody(f func(store.BodyID, store.EmailID) error) error {
	return v.EachBodyFrom(store.BodyID{}, f)
}

// EachBodyFrom is EachBody from an id on, which need not be a live body's.
func (v *View) EachBodyFrom(from store.BodyID, f func(store.BodyID, store.EmailID) error) error {
	table := key(tabBody)
	it, err := v.Iter(key(tabBody, from[:]), after(table))
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		id, err := store.BodyIDFromBytes(it.Key()[len(table):])
		if err != nil {
			return err
		}
		if len(it.Value()) != 8 {
			return fmt.Errorf("the email of body %v: %d bytes: %w", id, len(it.Value()), store.ErrInvalid)
		}
		if err := f(id, store.EmailID(binary.BigEndian.Uint64(it.Value()))); err != nil {
			return err
		}
	}
	return it.Err()
}

// Tombstones lists up to limit emails without references since before the tick.
func (v *View) Tombstones(before uint64, limit int) (out []store.EmailID, err error) {
	err = each(v, key(tabTombstone), func(rest, _ []byte) (bool, error) {
		if binary.BigEndian.Uint64(rest) >= before {
			return false, nil
		}
		out = append(out, store.EmailID(binary.BigEndian.Uint64(rest[8:])))
		return len(out) < limit, nil
	})
	return out, err
}

// keysOf lists up to limit keys of [from, end).
func keysOf(r kv.Reader, from, end []byte, limit int) (keys [][]byte, err error) {
	it, err := r.Iter(from, end)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for ok := it.First(); ok && len(keys) < limit; ok = it.Next() {
		keys = append(keys, bytes.Clone(it.Key()))
	}
	return keys, it.Err()
}
