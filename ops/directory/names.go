package directory

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// Limits of what administrators may write. Over them: store.ErrInvalid.
const (
	MaxNameBytes    = 256  // of a display name, a label, a description
	MaxTargets      = 1000 // of an alias or a group
	MaxAppPasswords = 50   // of an account
)

// canonical reads an address as an administrator writes it.
func canonical(address string) (smtp.Address, error) {
	a, err := smtp.ParseAddress(strings.TrimSpace(address))
	if err != nil {
		return a, fmt.Errorf("address %q: %w: %w", address, err, store.ErrInvalid)
	}
	return a, nil
}

// accountAddress reads an address that an account or an alias can have: without a detail, which belongs to whoever sends.
func (d *Directory) accountAddress(address string) (smtp.Address, error) {
	a, err := canonical(address)
	if err != nil {
		return a, err
	}
	if d.base(a).Canonical() != a.Canonical() {
		return a, fmt.Errorf("address %s: what stands behind the separator belongs to whoever sends, it cannot be part of an address here: %w", a, store.ErrInvalid)
	}
	return a, nil
}

func canonicalDomain(name string) (string, error) {
	canonical, err := smtp.ParseDomain(strings.TrimSpace(name))
	if err != nil {
		return "", fmt.Errorf("domain %q: %w: %w", name, err, store.ErrInvalid)
	}
	return canonical, nil
}

// base is the address without its detail (plus-addressing, RFC 5233).
func (d *Directory) base(a smtp.Address) smtp.Address {
	b, _, _ := a.SplitDetail(d.secrets.tuning.Load().plusSeparator)
	return b
}

// domainOf is the domain of a canonical address.
func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

// text checks a name, label or description.
func text(what, s string) (string, error) {
	s = norm.NFC.String(strings.TrimSpace(s))
	if len(s) > MaxNameBytes {
		return "", fmt.Errorf("%s: %d bytes, no more than %d are kept: %w", what, len(s), MaxNameBytes, store.ErrInvalid)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return "", fmt.Errorf("%s: it has control characters or is not UTF-8: %w", what, store.ErrInvalid)
	}
	return s, nil
}

// eachAccount runs f on every account.
func eachAccount(v *state.View, f func(*storepb.Account) error) error {
	var failed error
	err := v.Accounts(0, func(a *storepb.Account) bool {
		failed = f(a)
		return failed == nil
	})
	return errors.Join(err, failed)
}

// eachAlias runs f on every alias and group.
func eachAlias(v *state.View, f func(*storepb.Alias) error) error {
	var failed error
	err := v.Aliases("", func(a *storepb.Alias) bool {
		failed = f(a)
		return failed == nil
	})
	return errors.Join(err, failed)
}
