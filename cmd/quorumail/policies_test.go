package main

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/quorumail/quorumail/queue/route/routetest"
	"github.com/quorumail/quorumail/queue/route/tlspolicy"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

func TestPoliciesAreKeptInTheState(t *testing.T) {
	s := newStateAlone(t)
	p, ctx := policyStore{s}, t.Context()
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	want := tlspolicy.Kept{ID: "7", Policy: tlspolicy.STSPolicy{Mode: tlspolicy.STSEnforce, MX: []string{"*.far.test"}, MaxAge: time.Hour}, Fetched: at, Used: at.Add(time.Minute)}
	if _, found, err := p.Load(ctx, "far.test"); found || err != nil {
		t.Errorf("before: %t, %v", found, err)
	}
	if err := p.Save(ctx, "far.test", want); err != nil {
		t.Fatal(err)
	}
	if got, found, err := p.Load(ctx, "far.test"); err != nil || !found || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %t, %v", got, found, err)
	}
	if list, err := p.List(ctx); err != nil || !reflect.DeepEqual(list, map[string]tlspolicy.Kept{"far.test": want}) {
		t.Errorf("the list is %+v, %v", list, err)
	}
	if err := p.Remove(ctx, "far.test"); err != nil {
		t.Fatal(err)
	}
	if list, err := p.List(ctx); err != nil || len(list) != 0 {
		t.Errorf("afterwards: %+v, %v", list, err)
	}
}

// What programs kept before they knew when a policy was used holds on; what cannot be read is forgotten, and nothing else.
func TestPoliciesOfOlderProgramsHold(t *testing.T) {
	s := newStateAlone(t)
	p := policyStore{s}
	for name, value := range map[string]string{
		"mta-sts/far.test":  `{"ID":"7","Policy":{"Mode":"enforce","MX":["*.far.test"],"MaxAge":604800000000000},"Fetched":"2026-11-30T11:00:00.5Z"}`,
		"mta-sts/junk.test": `{"ID":7`,
		"other":             "secret",
	} {
		s.do(&storepb.Command{Op: &storepb.Command_PutSecret{PutSecret: &storepb.PutSecret{Name: name, Value: []byte(value)}}})
	}
	sts, err := tlspolicy.NewSTS(tlspolicy.STSConfig{Resolver: routetest.Resolver(t, routetest.New()), Store: p, Now: func() time.Time { return s.now }})
	if err != nil {
		t.Fatal(err)
	}
	if err := sts.Tend(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]tlspolicy.STSMode{"far.test": tlspolicy.STSEnforce, "junk.test": tlspolicy.STSNone} {
		if got, err := sts.Policy(t.Context(), domain); err != nil || got.Mode != want {
			t.Errorf("%s: got %+v, %v", domain, got, err)
		}
	}
	v := s.View()
	defer v.Close()
	if _, err := v.Secret("mta-sts/junk.test"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("junk: %v", err)
	}
	if raw, err := v.Secret("other"); err != nil || string(raw) != "secret" {
		t.Errorf("another's secret: %q, %v", raw, err)
	}
}
