package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/protocol/mime"
	"github.com/quorumail/quorumail/queue"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

func (c *officeLine) dkim(args ...string) []admin.DKIMKeys {
	c.t.Helper()
	return as[[]admin.DKIMKeys](c.t, c.good("", append(append([]string{"dkim"}, args...), "--json")...))
}

// states are those of a domain's pairs, by name.
func states(list []admin.DKIMKeys) string {
	var out []string
	for _, k := range list {
		out = append(out, k.Keys+" "+k.State)
	}
	return strings.Join(out, ", ")
}

// selectors are those that sign a message of a domain's.
func (c *officeLine) selectors(s *dkimSigners, domain string) (out []string) {
	c.t.Helper()
	signer, err := s.of(domain)
	if err != nil {
		c.t.Fatal(err)
	}
	if signer == nil {
		return nil
	}
	fields, err := signer.Sign(c.t.Context(), func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("From: an@" + domain + "\r\n\r\nx\r\n")), nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range strings.Split(string(fields), "s=")[1:] {
		selector, _, _ := strings.Cut(f, ";")
		out = append(out, strings.TrimSpace(selector))
	}
	return out
}

func TestDKIMKeysFromTheFirstToTheLast(t *testing.T) {
	c := newOfficeLine(t)
	c.account("an@example.test")
	signers := &dkimSigners{view: c.View, secrets: c.office.secrets}
	c.bad(exitFailed, "domain add", "", "dkim", "create", "elsewhere.test")
	c.bad(exitFailed, "dkim create example.test", "", "dkim", "show", "example.test")
	c.bad(exitFailed, "dkim create example.test", "", "dkim", "rotate", "example.test")
	if got := c.selectors(signers, "example.test"); got != nil {
		t.Errorf("without keys, %v sign", got)
	}
	made := c.dkim("create", "Example.TEST")
	if states(made) != "qm202611a signs" || len(made[0].Records) != 2 || made[0].Records[0].Name != "qm202611a-rsa._domainkey.example.test" || !strings.HasPrefix(made[0].Records[1].Value, "v=DKIM1; k=ed25519; p=") {
		t.Errorf("made %+v", made)
	}
	if got := fmt.Sprint(c.selectors(signers, "example.test")); got != "[qm202611a-rsa qm202611a-ed]" {
		t.Errorf("%s sign", got)
	}
	c.bad(exitFailed, "dkim rotate example.test", "", "dkim", "create", "example.test")

	if got := states(c.dkim("rotate", "example.test", "--wait")); got != "qm202611a signs, qm202611b waits" {
		t.Errorf("new keys that wait: %s", got)
	}
	if got := fmt.Sprint(c.selectors(signers, "example.test")); got != "[qm202611a-rsa qm202611a-ed]" {
		t.Errorf("%s sign while the new keys wait", got)
	}
	if got := states(c.dkim("activate", "example.test")); got != "qm202611a retired, qm202611b signs" {
		t.Errorf("activated: %s", got)
	}
	if got := fmt.Sprint(c.selectors(signers, "example.test")); got != "[qm202611b-rsa qm202611b-ed]" {
		t.Errorf("%s sign", got)
	}
	if got := states(c.dkim("rotate", "example.test")); got != "qm202611a retired, qm202611b retired, qm202611c signs" {
		t.Errorf("rotated: %s", got)
	}
	text := c.good("", "dkim", "show", "example.test")
	for _, want := range []string{"; example.test, keys qm202611a, made 2026-11-30: retired; ", "qm202611c-ed._domainkey.example.test. IN TXT ( \"v=DKIM1; k=ed25519; p=", ": sign\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	c.bad(exitUsage, "--yes", "", "dkim", "remove", "example.test")
	if out := c.good("", "dkim", "remove", "example.test", "--keys", "qm202611a", "--yes"); !strings.Contains(out, "keys qm202611a: removed") {
		t.Errorf("remove: %q", out)
	}
	c.bad(exitFailed, "quorumail dkim show", "", "dkim", "remove", "example.test", "--keys", "qm202611a", "--yes")
	c.good("", "dkim", "remove", "example.test", "--yes")
	if got := c.dkim("show"); len(got) != 0 {
		t.Errorf("left: %s", states(got))
	}
	if got := c.selectors(signers, "example.test"); got != nil {
		t.Errorf("after their removal, %v sign", got)
	}
	// Records of the first keys may still be remembered by others: no new keys have their name.
	if got := states(c.dkim("create", "example.test")); got != "qm202611d signs" {
		t.Errorf("made again: %s", got)
	}
}

// What is done with keys is written down at all nodes, with what it is about, and stays when they are removed.
func TestDKIMChangesAreInTheLog(t *testing.T) {
	c := newOfficeLine(t)
	c.account("an@example.test")
	step := func(args ...string) {
		c.now = c.now.Add(time.Minute)
		c.good("", args...)
	}
	step("dkim", "create", "example.test")
	step("policy", "add", "--id", "r1", "--action", "block", "--sender", "x@y.test")
	step("dkim", "rotate", "example.test", "--wait")
	step("dkim", "activate", "example.test")
	step("dkim", "activate", "example.test") // nothing to do, nothing to tell
	step("dkim", "remove", "example.test", "--keys", "qm202611a", "--yes")
	var got []string
	for _, e := range as[[]admin.AuditEvent](t, c.good("", "policy", "log", "--json")) {
		if e.Node != "n1" || e.Who != who() {
			t.Errorf("%+v", e)
		}
		got = append(got, e.Text)
	}
	want := []string{"dkim example.test: keys qm202611a removed", "dkim example.test: keys qm202611a retired", "dkim example.test: keys qm202611b activated",
		"dkim example.test: keys qm202611b made to wait", "rule r1: block sender  x@y.test both", "dkim example.test: keys qm202611a made"}
	slices.Sort(got[1:3]) // in the same moment
	slices.Sort(want[1:3])
	if !slices.Equal(got, want) {
		t.Errorf("the log is %q, want %q", got, want)
	}
	if got := as[[]admin.AuditEvent](t, c.good("", "policy", "log", "--limit", "1", "--json")); len(got) != 1 || got[0].Text != want[0] {
		t.Errorf("the newest: %+v", got)
	}
	v := c.m.View()
	defer v.Close()
	if raw, err := v.Secret("dkim/example.test/qm202611a"); err != nil || strings.Contains(string(raw), "sealed") || strings.Contains(string(raw), "v=DKIM1") {
		t.Errorf("of the removed keys there stays %s (%v)", raw, err)
	}
}

// What stays of removed keys is bounded, and so is what a domain has.
func TestRemovedDKIMKeysAreForgotten(t *testing.T) {
	c := newOfficeLine(t)
	c.account("an@example.test")
	for range maxRemovedDKIM + 8 { // more than there are letters
		c.now = c.now.Add(time.Minute)
		c.dkim("create", "example.test")
		c.good("", "dkim", "remove", "example.test", "--yes")
	}
	v := c.m.View()
	defer v.Close()
	pairs, err := everDKIM(v, "example.test")
	if err != nil || len(pairs) > maxRemovedDKIM+1 {
		t.Errorf("%d records stay (%v)", len(pairs), err)
	}
	for n, want := range map[int]string{0: "a", 25: "z", 26: "aa", 27: "ab"} {
		var others []*dkimPair
		for range n {
			others = append(others, &dkimPair{name: freshPairName(others, c.now)})
		}
		if got := freshPairName(others, c.now); got != "qm202611"+want {
			t.Errorf("after %d names %s", n, got)
		}
	}
}

func TestDKIMSaysHowLongRecordsMustStay(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	k := admin.DKIMKeys{Domain: "example.test", Keys: "qm202611a", State: admin.DKIMRetired, Until: now.Add(time.Hour)}
	if got := dkimState(k, now); !strings.HasPrefix(got, "retired; keep these records until ") {
		t.Error(got)
	}
	if got := dkimState(k, now.Add(2*time.Hour)); got != "retired; remove these records, and then: quorumail dkim remove example.test --keys qm202611a" {
		t.Error(got)
	}
}

// The replicated state holds nothing with which others could sign; and a key is opened only as the one that it is.
func TestPrivateKeysAreSealed(t *testing.T) {
	c := newOfficeLine(t)
	c.account("an@example.test")
	c.dkim("create", "example.test")
	v := c.m.View()
	defer v.Close()
	raw, err := v.Secret("dkim/example.test/qm202611a")
	if err != nil {
		t.Fatal(err)
	}
	pairs, err := readDKIM(v, "example.test")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := pairs[0].open(c.office.secrets)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range keys {
		if bytes.Contains(raw, k.Private) || bytes.Equal(pairs[0].Keys[i].Sealed, k.Private) {
			t.Errorf("key %s stands there as it is", k.Selector)
		}
	}
	if _, err := c.office.secrets.open("dkim/other.test/qm202611a/qm202611a-rsa", pairs[0].Keys[0].Sealed); err == nil {
		t.Error("a key was opened as that of another domain")
	}
	other, err := newKeyMaterial(randomKey())
	if err != nil {
		t.Fatal(err)
	}
	c.office.secrets.key.Store(other)
	if _, err := pairs[0].open(c.office.secrets); !errors.Is(err, errOtherSecretsKey) {
		t.Errorf("under another key: %v", err)
	}
	if domains, err := unopenedDKIM(v, c.office.secrets); err != nil || fmt.Sprint(domains) != "[example.test]" {
		t.Errorf("the domains that cannot sign: %v (%v)", domains, err)
	}
	if out := c.good("", "dkim", "show"); !strings.Contains(out, "CANNOT SIGN: open secret dkim/example.test/") {
		t.Errorf("show:\n%s", out)
	}
	c.office.secrets.key.Store(nil)
	if _, err := (&dkimSigners{view: c.View, secrets: c.office.secrets}).of("example.test"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without a key: %v", err)
	}
	c.bad(exitTryAgain, "secrets.key", "", "dkim", "rotate", "example.test")
}

func TestDamagedSealIsNotOpened(t *testing.T) {
	k, err := newKeyMaterial(randomKey())
	if err != nil {
		t.Fatal(err)
	}
	sealed := k.seal("x", []byte("secret"))
	if got, err := k.open("x", sealed); err != nil || string(got) != "secret" {
		t.Fatalf("opened: %q, %v", got, err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := k.open("x", bad); err == nil {
			t.Errorf("byte %d changed, and it was opened", i)
		}
		if _, err := k.open("x", sealed[:i]); err == nil {
			t.Errorf("cut to %d bytes, and it was opened", i)
		}
	}
}

func TestOnlyOwnMailIsSigned(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for name, tt := range map[string]struct {
		m    *storepb.QueueMessage
		want bool
	}{
		"a user's":        {&storepb.QueueMessage{Account: 7, Client: "192.0.2.7"}, true},
		"a notice":        {&storepb.QueueMessage{}, true},
		"a printer's":     {&storepb.QueueMessage{Client: "10.1.2.3"}, true},
		"a stranger's":    {&storepb.QueueMessage{Client: "192.0.2.7"}, false},
		"of nobody knows": {&storepb.QueueMessage{Client: "?"}, false},
	} {
		if got := ownMail(&queue.Message{QueueMessage: tt.m}, trusted); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestTheAuthorsDomainSigns(t *testing.T) {
	for from, want := range map[string]string{
		"An <an@Example.TEST>": "example.test", "an@example.test, binh@example.test": "example.test", "an@example.test, x@other.test": "", "": "", "an@xn--mller-kva.example": "müller.example",
	} {
		s, err := mime.Summarize(strings.NewReader("From: " + from + "\r\n\r\nx\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := authorDomain(&queue.Message{Summary: s.Marshal()}); got != want {
			t.Errorf("%q: %q, want %q", from, got, want)
		}
	}
}
