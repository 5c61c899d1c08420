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
	MinPassword     = 8    // characters of a password
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
func accountAddress(address string) (smtp.Address, error) {
	a, err := canonical(address)
	if err != nil {
		return a, err
	}
	if base(a).Canonical() != a.Canonical() {
		return a, fmt.Errorf("address %s: what stands behind + names a mailbox, it cannot be part of an address here: %w", a, store.ErrInvalid)
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

// detailSeparator is what state.View.Resolve splits at, too.
const detailSeparator = "+"

// base is the address without its detail (plus-addressing, RFC 5233).
func base(a smtp.Address) smtp.Address {
	b, _, _ := a.SplitDetail(detailSeparator)
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

// newPassword checks a password that a person chose.
func newPassword(s string) error {
	switch {
	case !utf8.ValidString(s):
		return fmt.Errorf("password: not UTF-8: %w", store.ErrInvalid)
	case utf8.RuneCountInString(s) < MinPassword:
		return fmt.Errorf("password: fewer than %d characters: %w", MinPassword, store.ErrInvalid)
	case len(s) > MaxPasswordBytes:
		return fmt.Errorf("password: more than %d bytes: %w", MaxPasswordBytes, store.ErrInvalid)
	case strings.ContainsRune(s, 0):
		return fmt.Errorf("password: it holds a NUL, which logins cannot carry: %w", store.ErrInvalid)
	}
	return nil
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
