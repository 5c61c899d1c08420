package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/protocol/dkim"
	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// Keys for DKIM come in pairs, an RSA and an Ed25519 one, which are made and retired together. A pair is one secret of the replicated state, so
// that there never is half of one: "dkim/DOMAIN/PAIR", in JSON, the private keys sealed. What administrators did with a pair stands in its record,
// so that it is written with what it tells of, and is at all nodes; of a pair that was removed the record stays, without keys, for the log, and so that
// no new keys get the name of old ones, whose records others may still remember.

const (
	dkimPrefix = "dkim/"
	// dkimKeep is how long the records of retired keys must stay in the DNS: mail that they signed may be on its way for as long as servers
	// try, commonly 5 days.
	dkimKeep = 7 * 24 * time.Hour
	// maxDKIMPairs bounds those of a domain.
	maxDKIMPairs = 20
	// maxRemovedDKIM bounds the records that stay of removed pairs of a domain.
	maxRemovedDKIM = 20
)

// dkimPair is the record of a pair.
type dkimPair struct {
	State         string       `json:"state"` // admin.DKIMSigns and so on
	MadeUnixMs    int64        `json:"made"`
	RetiredUnixMs int64        `json:"retired,omitempty"`
	RemovedUnixMs int64        `json:"removed,omitempty"`
	Keys          []dkimSecret `json:"keys"`
	Log           []dkimEvent  `json:"log,omitempty"` // the oldest first; a pair has few

	domain, name string
}

// dkimEvent is what an administrator did with a pair.
type dkimEvent struct {
	UnixMs int64  `json:"at"`
	Server string `json:"server"`
	Who    string `json:"who"`
	What   string `json:"what"` // made, made to wait, activated, retired, removed
}

// dkimSecret is one key of a pair. What stands in the DNS is no secret, and is told without the cluster's key.
type dkimSecret struct {
	Selector  string         `json:"selector"`
	Algorithm dkim.Algorithm `json:"algorithm"`
	Record    string         `json:"record"` // its value
	Sealed    []byte         `json:"sealed"` // under the secret's name and the selector
}

func dkimName(domain, pair string) string { return dkimPrefix + domain + "/" + pair }

func (p *dkimPair) sealName(selector string) string {
	return dkimName(p.domain, p.name) + "/" + selector
}

// readDKIM reads the pairs of a domain, or of all, in the order in which they were made.
func readDKIM(v *state.View, domain string) ([]*dkimPair, error) {
	pairs, err := everDKIM(v, domain)
	return slices.DeleteFunc(pairs, (*dkimPair).removed), err
}

func (p *dkimPair) removed() bool { return p.RemovedUnixMs != 0 }

// everDKIM is readDKIM with those that were removed.
func everDKIM(v *state.View, domain string) ([]*dkimPair, error) {
	prefix := dkimPrefix
	if domain != "" {
		prefix = dkimName(domain, "")
	}
	found, err := v.SecretNames(prefix)
	if err != nil {
		return nil, fmt.Errorf("list the DKIM keys: %w", err)
	}
	var pairs []*dkimPair
	for _, name := range found {
		raw, err := v.Secret(name)
		if err != nil {
			return nil, fmt.Errorf("read the DKIM keys %s: %w", name, err)
		}
		p, err := parseDKIM(name, raw)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

func parseDKIM(name string, raw []byte) (*dkimPair, error) {
	p := &dkimPair{}
	if err := json.Unmarshal(raw, p); err != nil {
		return nil, fmt.Errorf("read the DKIM keys %s: %w", name, err)
	}
	p.domain, p.name, _ = strings.Cut(strings.TrimPrefix(name, dkimPrefix), "/")
	return p, nil
}

// newDKIMPair makes a pair for a domain, under a name that none of its others has.
func newDKIMPair(k *secretsKey, domain string, others []*dkimPair, now time.Time) (*dkimPair, error) {
	p := &dkimPair{State: admin.DKIMSigns, MadeUnixMs: now.UnixMilli(), domain: domain}
	ascii, err := smtp.ASCIIDomain(domain)
	if err != nil {
		return nil, fmt.Errorf("domain %s: %w: %w", domain, err, store.ErrInvalid)
	}
	p.name = freshPairName(others, now)
	for _, g := range []struct {
		suffix   string
		generate func(domain, selector string) (dkim.Key, error)
	}{{"-rsa", dkim.GenerateRSA}, {"-ed", dkim.GenerateEd25519}} {
		key, err := g.generate(ascii, p.name+g.suffix)
		if err != nil {
			return nil, fmt.Errorf("make a DKIM key: %w", err)
		}
		record, err := key.Record()
		if err != nil {
			return nil, fmt.Errorf("make the record of a DKIM key: %w", err)
		}
		sealed, err := k.seal(p.sealName(key.Selector), key.Private)
		if err != nil {
			return nil, fmt.Errorf("seal a DKIM key: %w", err)
		}
		p.Keys = append(p.Keys, dkimSecret{Selector: key.Selector, Algorithm: key.Algorithm, Record: record.Value, Sealed: sealed})
	}
	return p, nil
}

// freshPairName tells when a pair was made, which helps who cleans up a zone years later.
func freshPairName(others []*dkimPair, now time.Time) string {
	month := now.UTC().Format("qm200601")
	for n := 0; ; n++ {
		name := month + string(rune('a'+n%26))
		if n >= 26 {
			name = month + string(rune('a'+n/26-1)) + string(rune('a'+n%26))
		}
		if !slices.ContainsFunc(others, func(p *dkimPair) bool { return p.name == name }) {
			return name // others are bounded
		}
	}
}

// open gives the keys with which the pair signs.
func (p *dkimPair) open(k *secretsKey) ([]dkim.Key, error) {
	ascii, err := smtp.ASCIIDomain(p.domain)
	if err != nil {
		return nil, fmt.Errorf("domain %s: %w", p.domain, err)
	}
	var keys []dkim.Key
	for _, s := range p.Keys {
		private, err := k.open(p.sealName(s.Selector), s.Sealed)
		if err != nil {
			return nil, err
		}
		keys = append(keys, dkim.Key{Domain: ascii, Selector: s.Selector, Algorithm: s.Algorithm, Private: private})
	}
	return keys, nil
}

// putDKIM keeps a pair in the replicated state, with what was done and by whom.
func (o *office) putDKIM(ctx context.Context, p *dkimPair, what, who string) error {
	create := len(p.Log) == 0 && strings.HasPrefix(what, "made")
	p.Log = append(p.Log, dkimEvent{UnixMs: o.now().UnixMilli(), Server: o.self, Who: who, What: what})
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	_, err = o.store.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_PutSecret{PutSecret: &storepb.PutSecret{Name: dkimName(p.domain, p.name), Value: raw, Create: create}}
	})
	if err != nil {
		return fmt.Errorf("keep the DKIM keys %s of %s: %w", p.name, p.domain, err)
	}
	return nil
}

// dkimSigners finds who signs the mail of a domain. It remembers what it opened for as long as the replicated state has the same.
type dkimSigners struct {
	view    func() *state.View
	secrets *secretsKey

	mu   sync.Mutex
	last map[string]dkimSigner // by domain; guarded by mu
}

// dkimSigner is a signer with what it was made from.
type dkimSigner struct {
	from   []byte
	signer *dkim.Signer
}

// of is the signer for a domain, nil when it has no keys that sign. An error that wraps store.ErrUnavailable passes: this node does not have the
// cluster's key yet.
func (s *dkimSigners) of(domain string) (*dkim.Signer, error) {
	v := s.view()
	defer v.Close()
	pairs, err := readDKIM(v, domain)
	if err != nil {
		return nil, err
	}
	pairs = slices.DeleteFunc(pairs, func(p *dkimPair) bool { return p.State != admin.DKIMSigns })
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(pairs) == 0 {
		delete(s.last, domain)
		return nil, nil
	}
	from, err := json.Marshal(pairs)
	if err != nil {
		return nil, err
	}
	if known, ok := s.last[domain]; ok && bytes.Equal(known.from, from) {
		return known.signer, nil
	}
	signer, err := s.make(pairs)
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", domain, err)
	}
	if s.last == nil {
		s.last = map[string]dkimSigner{}
	}
	s.last[domain] = dkimSigner{from, signer}
	return signer, nil
}

func (s *dkimSigners) make(pairs []*dkimPair) (*dkim.Signer, error) {
	var keys []dkim.Key
	for _, p := range pairs {
		opened, err := p.open(s.secrets)
		if err != nil {
			return nil, err
		}
		keys = append(keys, opened...)
	}
	return dkim.NewSigner(keys...)
}

// unopened are warnings of secrets that were sealed under another key than this cluster has: it was restored without the right one.
func (n *node) unopened() (out []string) {
	v := n.replica.View()
	defer v.Close()
	domains, err := unopenedDKIM(v, &n.secrets)
	if err != nil {
		out = append(out, err.Error())
	}
	if len(domains) > 0 {
		out = append(out, fmt.Sprintf("the DKIM keys of %s were sealed under another %s, and their mail is not signed: make new ones (quorumail dkim rotate DOMAIN), or restore the backup again with --secrets-key FILE",
			strings.Join(domains, ", "), secretsKeyFile))
	}
	if list := n.flow.noPassword.Load(); list != nil && len(*list) > 0 && n.secrets.key.Load() != nil {
		out = append(out, fmt.Sprintf("the passwords of the routes for %s were sealed under another %s: set them anew (quorumail route set DOMAIN), or restore the backup again with --secrets-key FILE",
			strings.Join(*list, ", "), secretsKeyFile))
	}
	return out
}

// unopenedDKIM are the domains whose mail would be signed if the keys were sealed under this cluster's key.
func unopenedDKIM(v *state.View, k *secretsKey) (domains []string, err error) {
	pairs, err := readDKIM(v, "")
	for _, p := range pairs {
		if p.State != admin.DKIMSigns || slices.Contains(domains, p.domain) {
			continue
		}
		if _, err := p.open(k); err != nil && !errors.Is(err, store.ErrUnavailable) {
			domains = append(domains, p.domain)
		}
	}
	return domains, err
}
