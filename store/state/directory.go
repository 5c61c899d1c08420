package state

import (
	"encoding/binary"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Addresses in commands and keys are canonical: lower case, NFC, the domain in Unicode.

func domainOf(address string) string {
	return address[strings.LastIndexByte(address, '@')+1:]
}

func (b *batch) putDomain(op *storepb.PutDomain) (*storepb.Result, error) {
	d := op.GetDomain()
	if !validDomain(d.GetName()) || d.CatchAll != "" && !validAddress(d.CatchAll) {
		return refuse(store.ErrInvalid, "no proper domain, or no proper catch-all address"), nil
	}
	k, old := key(tabDomain, d.Name), &storepb.Domain{}
	found, err := load(b, k, old)
	if err != nil {
		return nil, err
	}
	if op.Create && found {
		return refuse(store.ErrExists, "the domain %s exists", d.Name), nil
	}
	if !op.Create && !found {
		return refuse(store.ErrNotFound, "there is no domain %s", d.Name), nil
	}
	if found {
		d.CreatedUnixMs = old.CreatedUnixMs
	}
	return &storepb.Result{}, b.save(k, d)
}

func (b *batch) removeDomain(op *storepb.RemoveDomain) (*storepb.Result, error) {
	if !validDomain(op.Name) {
		return refuse(store.ErrInvalid, "no proper domain"), nil
	}
	if found, err := has(b, key(tabDomain, op.Name)); err != nil || !found {
		return refuse(store.ErrNotFound, "there is no domain %s", op.Name), err
	}
	used := ""
	err := eachAddress(b, func(address string, _ []byte) bool {
		if domainOf(address) == op.Name {
			used = address
		}
		return used == ""
	})
	if err != nil {
		return nil, err
	}
	if used != "" {
		return refuse(store.ErrConflict, "the domain %s is not empty: remove %s and the others first", op.Name, used), nil
	}
	return &storepb.Result{}, b.Delete(key(tabDomain, op.Name))
}

// checkFree refuses an address that is taken or whose domain is not ours.
func (b *batch) checkFree(address string) (*storepb.Result, error) {
	if !validAddress(address) {
		return refuse(store.ErrInvalid, "no proper address"), nil
	}
	if found, err := has(b, key(tabDomain, domainOf(address))); err != nil || !found {
		return refuse(store.ErrNotFound, "the domain %s is not served here: add it first", domainOf(address)), err
	}
	if found, err := has(b, key(tabAddress, address)); err != nil || found {
		return refuse(store.ErrExists, "the address %s is taken", address), err
	}
	return nil, nil
}

// standardMailboxes are what a new account begins with (RFC 6154).
var standardMailboxes = []struct{ name, use string }{{inbox, ""}, {"Archive", "\\Archive"}, {"Drafts", "\\Drafts"}, {"Junk", "\\Junk"}, {"Sent", "\\Sent"}, {"Trash", "\\Trash"}}

func (b *batch) putAccount(op *storepb.PutAccount) (*storepb.Result, error) {
	a := proto.CloneOf(op.GetAccount())
	if a == nil || a.QuotaBytes < store.Unlimited || a.QuotaMessages < store.Unlimited {
		return refuse(store.ErrInvalid, "no proper account"), nil
	}
	if !validText(a.DisplayName, maxTextBytes) || len(op.Credentials) > maxCredentials {
		return refuse(store.ErrTooLarge, "an account over the limits: a name of %d bytes, %d credentials", len(a.DisplayName), len(op.Credentials)), nil
	}
	for _, c := range op.Credentials {
		if !validCredential(c) {
			return refuse(store.ErrInvalid, "no proper credential"), nil
		}
	}
	if !op.Create {
		old := &storepb.Account{}
		if found, err := load(b, key(tabAccount, a.Id), old); err != nil || !found {
			return refuse(store.ErrNotFound, "there is no such account"), err
		}
		if a.CredentialGeneration != 0 && a.CredentialGeneration != old.CredentialGeneration {
			return refuse(store.ErrConflict, "the account %s changed in the meantime", old.Address), nil
		}
		if a.Suspended && !old.Suspended {
			b.applied.Revoked = append(b.applied.Revoked, store.AccountID(a.Id))
		}
		a.Address, a.CreatedUnixMs, a.CredentialGeneration = old.Address, old.CreatedUnixMs, old.CredentialGeneration+1
		b.applied.Credentials = append(b.applied.Credentials, store.AccountID(a.Id))
		return &storepb.Result{Id: a.Id}, b.save(key(tabAccount, a.Id), a)
	}
	if res, err := b.checkFree(a.Address); res != nil || err != nil {
		return res, err
	}
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	cr.NextAccount++
	a.Id, a.CreatedUnixMs, a.CredentialGeneration = cr.NextAccount, b.cmd.TimeUnixMs, 1
	if err := b.saveCluster(cr); err != nil {
		return nil, err
	}
	if err := b.save(key(tabAccount, a.Id), a); err != nil {
		return nil, err
	}
	if err := b.Set(key(tabAddress, a.Address), binary.BigEndian.AppendUint64([]byte{'a'}, a.Id)); err != nil {
		return nil, err
	}
	for _, c := range op.Credentials {
		if err := b.save(key(tabCredential, a.Id, c.Id), c); err != nil {
			return nil, err
		}
	}
	for _, s := range standardMailboxes {
		if _, err := b.makeMailbox(a.Id, s.name, s.use); err != nil {
			return nil, err
		}
		if err := b.Set(key(tabSubscribed, a.Id, s.name), nil); err != nil {
			return nil, err
		}
	}
	return &storepb.Result{Id: a.Id}, nil
}

func (b *batch) removeAccount(op *storepb.RemoveAccount) (*storepb.Result, error) {
	a := &storepb.Account{}
	if found, err := load(b, key(tabAccount, op.Account), a); err != nil || !found {
		return refuse(store.ErrNotFound, "there is no such account"), err
	}
	var boxes []*storepb.Mailbox
	messages := uint64(0)
	if err := eachMailbox(b, a.Id, func(mb *storepb.Mailbox) bool {
		boxes = append(boxes, mb)
		messages += uint64(mb.Messages)
		return true
	}); err != nil {
		return nil, err
	}
	if messages > MaxMessages {
		return refuse(store.ErrTooLarge, "the account has %d messages, and at most %d may be left when it is removed", messages, MaxMessages), nil
	}
	for _, mb := range boxes {
		if err := b.dropMailbox(a.Id, mb); err != nil {
			return nil, err
		}
	}
	for _, table := range []byte{tabCredential, tabSubscribed, tabUsage} {
		if err := b.DeleteRange(key(table, a.Id), after(key(table, a.Id))); err != nil {
			return nil, err
		}
	}
	if err := b.Delete(key(tabAddress, a.Address)); err != nil {
		return nil, err
	}
	b.applied.Credentials = append(b.applied.Credentials, store.AccountID(a.Id))
	b.applied.Revoked = append(b.applied.Revoked, store.AccountID(a.Id))
	return &storepb.Result{}, b.Delete(key(tabAccount, a.Id))
}

// credentialsChanged raises the account's generation, so that no remembered password outlives the change.
func (b *batch) credentialsChanged(account uint64) (*storepb.Result, error) {
	a := &storepb.Account{}
	if found, err := load(b, key(tabAccount, account), a); err != nil || !found {
		return refuse(store.ErrNotFound, "there is no such account"), err
	}
	a.CredentialGeneration++
	b.applied.Credentials = append(b.applied.Credentials, store.AccountID(account))
	return nil, b.save(key(tabAccount, account), a)
}

func (b *batch) putCredential(op *storepb.PutCredential) (*storepb.Result, error) {
	c := op.GetCredential()
	if !validCredential(c) {
		return refuse(store.ErrInvalid, "no proper credential"), nil
	}
	found, err := has(b, key(tabCredential, op.Account, c.Id))
	if err != nil {
		return nil, err
	}
	if !found {
		if res, err := b.roomIn(key(tabCredential, op.Account), maxCredentials, "credentials"); res != nil || err != nil {
			return res, err
		}
	}
	if res, err := b.credentialsChanged(op.Account); res != nil || err != nil {
		return res, err
	}
	if found {
		b.applied.Revoked = append(b.applied.Revoked, store.AccountID(op.Account))
	}
	return &storepb.Result{}, b.save(key(tabCredential, op.Account, c.Id), c)
}

func (b *batch) removeCredential(op *storepb.RemoveCredential) (*storepb.Result, error) {
	if found, err := has(b, key(tabCredential, op.Account, op.Id)); op.Id == "" || err != nil || !found {
		return refuse(store.ErrNotFound, "there is no such credential"), err
	}
	if res, err := b.credentialsChanged(op.Account); res != nil || err != nil {
		return res, err
	}
	b.applied.Revoked = append(b.applied.Revoked, store.AccountID(op.Account))
	return &storepb.Result{}, b.Delete(key(tabCredential, op.Account, op.Id))
}

func (b *batch) putAlias(op *storepb.PutAlias) (*storepb.Result, error) {
	a := op.GetAlias()
	if len(a.GetTargets()) == 0 || len(a.Targets) > maxAliasTargets {
		return refuse(store.ErrInvalid, "an alias needs targets, at most %d", maxAliasTargets), nil
	}
	if !validText(a.Description, maxTextBytes) {
		return refuse(store.ErrTooLarge, "a description of %d bytes", len(a.Description)), nil
	}
	for _, t := range a.Targets {
		if !validAddress(t) {
			return refuse(store.ErrInvalid, "a target that is no address"), nil
		}
	}
	old := &storepb.Alias{}
	found, err := loadAlias(b, a.Address, old)
	if err != nil {
		return nil, err
	}
	if !op.Create && (!found || old.Group != a.Group) {
		return refuse(store.ErrNotFound, "there is no %s of that kind", a.Address), nil
	}
	if op.Create {
		if res, err := b.checkFree(a.Address); res != nil || err != nil {
			return res, err
		}
	}
	raw, err := marshal.Marshal(a)
	if err != nil {
		return nil, err
	}
	return &storepb.Result{}, b.Set(key(tabAddress, a.Address), append([]byte{'l'}, raw...))
}

func (b *batch) removeAlias(op *storepb.RemoveAlias) (*storepb.Result, error) {
	if found, err := loadAlias(b, op.Address, &storepb.Alias{}); err != nil || !found {
		return refuse(store.ErrNotFound, "there is no %s", op.Address), err
	}
	return &storepb.Result{}, b.Delete(key(tabAddress, op.Address))
}
