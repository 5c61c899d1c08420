package tlspolicy_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/queue/route/tlspolicy"
)

const day = 24 * time.Hour

// tend is an hour's work on what is kept; renew: with the web.
func (s *stsSite) tend(t *testing.T, what string, renew bool, hits int32) {
	t.Helper()
	if err := s.sts.Tend(t.Context(), renew); err != nil || s.hits.Load() != hits {
		t.Errorf("%s: %v after %d fetches, want %d", what, err, s.hits.Load(), hits)
	}
}

func (s *stsSite) keep(t *testing.T, domain string, p tlspolicy.Kept) {
	t.Helper()
	if err := s.store.Save(t.Context(), domain, p); err != nil {
		t.Fatal(err)
	}
}

func (s *stsSite) kept(t *testing.T) map[string]tlspolicy.Kept {
	t.Helper()
	list, err := s.store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// RFC 8461 §3.3: a policy is renewed each day and before it expires, so that an attacker cannot wait for that.
func TestPoliciesAreRenewedWhileMailIsWritten(t *testing.T) {
	s := newSTSSite(t)
	s.serve(text(strings.Replace(examplePolicy, "604800", "31557600", 1)))
	s.expect(t, "first", tlspolicy.STSEnforce, 1)
	s.now.pass(23 * time.Hour)
	s.tend(t, "within a day", true, 1)
	s.now.pass(time.Hour)
	s.tend(t, "not the node that renews", false, 1)
	s.tend(t, "after a day", true, 2)
	s.tend(t, "once", true, 2)
	s.now.pass(25 * time.Hour)
	s.expect(t, "mail waits for no fetch", tlspolicy.STSEnforce, 2)
	s.tend(t, "the next day", true, 3)
	for range 29 { // the last mail was 29 days ago, then 30
		s.now.pass(day)
	}
	s.tend(t, "a month after the last mail", true, 4)
	s.now.pass(2 * day)
	s.tend(t, "longer than a month after", true, 4)
	s.expect(t, "mail again, which waits", tlspolicy.STSEnforce, 5)
}

// A policy that holds for hours is renewed when half of that has passed.
func TestShortPoliciesAreRenewedInTime(t *testing.T) {
	s := newSTSSite(t)
	s.serve(text(strings.Replace(examplePolicy, "604800", "14400", 1)))
	s.expect(t, "first", tlspolicy.STSEnforce, 1)
	s.now.pass(time.Hour)
	s.tend(t, "not yet", true, 1)
	s.now.pass(time.Hour)
	s.tend(t, "at half of its time", true, 2)
	s.now.pass(3*time.Hour + time.Minute)
	s.expect(t, "mail sees that nobody renewed it", tlspolicy.STSEnforce, 3)
}

// RFC 8461 §3.3: administrators should know of a policy that is in force and cannot be renewed.
func TestTroubleWithAPolicyInForceIsToldLoudly(t *testing.T) {
	s := newSTSSite(t)
	s.serve(status(500))
	s.expect(t, "no policy", tlspolicy.STSNone, 1)
	if strings.Contains(s.log.String(), "level=WARN") {
		t.Error(s.log.String())
	}
	s.serve(text(examplePolicy))
	s.now.pass(time.Hour)
	s.expect(t, "a policy", tlspolicy.STSEnforce, 2)
	s.serve(status(500))
	s.now.pass(day)
	s.tend(t, "no longer", true, 3)
	if !strings.Contains(s.log.String(), "level=WARN") || !strings.Contains(s.log.String(), "domain=example.test") {
		t.Errorf("the log says %q", s.log.String())
	}
	s.expect(t, "it holds", tlspolicy.STSEnforce, 3)
	s.announce("") // the record goes, the policy stays
	s.now.pass(day)
	s.tend(t, "without a record", true, 3)
	s.expect(t, "it still holds", tlspolicy.STSEnforce, 3)
}

func TestWhatHasExpiredIsForgotten(t *testing.T) {
	s := newSTSSite(t)
	s.keep(t, "old.test", tlspolicy.Kept{ID: "1", Policy: tlspolicy.STSPolicy{Mode: tlspolicy.STSEnforce, MaxAge: day}, Fetched: s.now.Now().Add(-day), Used: s.now.Now()})
	s.keep(t, "unreadable.test", tlspolicy.Kept{})
	s.keep(t, "good.test", tlspolicy.Kept{ID: "1", Policy: tlspolicy.STSPolicy{Mode: tlspolicy.STSEnforce, MaxAge: day}, Fetched: s.now.Now().Add(-day + 1)})
	s.tend(t, "tend", true, 0)
	if list := s.kept(t); len(list) != 1 || list["good.test"].ID != "1" {
		t.Errorf("kept: %+v", list)
	}
	broken := errors.New("broken")
	s.store.Fail(broken)
	if err := s.sts.Tend(t.Context(), true); !errors.Is(err, broken) {
		t.Errorf("without a store: %v", err)
	}
}

// Who has one domain can have any number below it, and must not push out the policies of others by them.
func TestKeptPoliciesAreBounded(t *testing.T) {
	s := newSTSSite(t)
	holds := func(used time.Duration) tlspolicy.Kept {
		return tlspolicy.Kept{ID: "1", Policy: tlspolicy.STSPolicy{Mode: tlspolicy.STSEnforce, MaxAge: 365 * day}, Fetched: s.now.Now().Add(-used), Used: s.now.Now().Add(-used)}
	}
	for i := range 60 {
		s.keep(t, fmt.Sprintf("d%d.test", i), holds(time.Duration(i)*time.Hour))
	}
	for i := range 150 {
		s.keep(t, fmt.Sprintf("a%d.attacker.test", i), holds(0))
	}
	s.tend(t, "tend", false, 0)
	list := s.kept(t)
	if len(list) != 90 {
		t.Errorf("%d are kept, want a tenth less than 100", len(list))
	}
	for i := range 60 {
		if domain := fmt.Sprintf("d%d.test", i); list[domain].ID == "" {
			t.Errorf("%s was pushed out", domain)
		}
	}
	for i := range 50 {
		s.keep(t, fmt.Sprintf("new%d.test", i), holds(0))
	}
	s.tend(t, "among equals", false, 0)
	list = s.kept(t)
	if len(list) != 90 || list["d0.test"].ID == "" || list["new1.test"].ID == "" || list["d59.test"].ID != "" {
		t.Errorf("%d are kept, not those that were used last", len(list))
	}
}

// Mail to many new domains is bounded without anybody who tends.
func TestNewPoliciesCountThemselves(t *testing.T) {
	s := newSTSSite(t)
	for i := range 250 {
		s.keep(t, fmt.Sprintf("d%d.test", i), tlspolicy.Kept{ID: "1", Policy: tlspolicy.STSPolicy{Mode: tlspolicy.STSEnforce, MaxAge: 365 * day}, Fetched: s.now.Now().Add(-day)})
	}
	for i := range 100 {
		if err := s.store.Remove(t.Context(), "example.test"); err != nil {
			t.Fatal(err)
		}
		s.expect(t, "new", tlspolicy.STSEnforce, int32(i+1))
	}
	if n := len(s.kept(t)); n != 90 {
		t.Errorf("%d are kept", n)
	}
}

// What nobody needs is not written onto the disks of all nodes.
func TestHugePoliciesAreNotKept(t *testing.T) {
	s := newSTSSite(t)
	s.serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, examplePolicy)
		for i := range 300 {
			_, _ = fmt.Fprintf(w, "mx: mail%d.example.test\n", i)
		}
	})
	s.expect(t, "used", tlspolicy.STSEnforce, 1)
	if list := s.kept(t); len(list) != 0 {
		t.Errorf("kept: %d", len(list))
	}
}

// What a program of the time before Used kept is renewed as long as it would have been used.
func TestPoliciesOfOlderProgramsAreTended(t *testing.T) {
	s := newSTSSite(t)
	s.keep(t, "example.test", tlspolicy.Kept{ID: "1", Policy: tlspolicy.STSPolicy{Mode: tlspolicy.STSTesting, MaxAge: 60 * day}, Fetched: s.now.Now().Add(-29 * day)})
	s.keep(t, "other.test", tlspolicy.Kept{ID: "1", Policy: tlspolicy.STSPolicy{Mode: tlspolicy.STSTesting, MaxAge: 60 * day}, Fetched: s.now.Now().Add(-31 * day)})
	s.tend(t, "renewed", true, 1)
	s.expect(t, "the new one", tlspolicy.STSEnforce, 1)
	if s.zone.Asked("TXT", "_mta-sts.other.test") != 0 {
		t.Error("asked for the policy of a domain that nobody writes to")
	}
}
