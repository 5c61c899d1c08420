package queue

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/queue/dsn"
	"github.com/quorumail/quorumail/queue/remote"
	"github.com/quorumail/quorumail/queue/route"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// RFC 8689 §3: "TLS-Required: No" asks that what the recipient's domain says of TLS be ignored.
func TestSenderWhoWantsDeliveryWhateverTheTLS(t *testing.T) {
	enforced := func(_ context.Context, _ route.Plan, r *remote.Route) error {
		r.Hosts[0].TLS = remote.TLSVerify
		return nil
	}
	unnamed := func(_ context.Context, _ route.Plan, r *remote.Route) error {
		r.Hosts = r.Hosts[:1]
		return nil
	}
	broken := func(context.Context, route.Plan, *remote.Route) error { return errors.New("no answer") }
	nothing := func(context.Context, route.Plan, *remote.Route) error { return nil }
	for _, one := range []struct {
		name, header string
		requireTLS   bool
		protect      func(context.Context, route.Plan, *remote.Route) error
		secured      bool // by what the domain says, or put off for it
		opened       bool
	}{
		{"wants it", "TLS-Required: No\r\n", false, enforced, false, true},
		{"wants it, in other letters", "tls-required :\r\n no \r\n", false, enforced, false, true},
		{"of hosts that are not named", "TLS-Required: No\r\n", false, unnamed, false, true},
		{"of a policy that cannot be had", "TLS-Required: No\r\n", false, broken, false, true},
		{"says nothing", "Subject: s\r\n", false, enforced, true, true},
		{"says another thing", "TLS-Required: Yes\r\n", false, enforced, true, true},
		{"says two things", "TLS-Required: No\r\nTLS-Required: No\r\n", false, enforced, true, true},
		{"in the body", "Subject: s\r\n\r\nTLS-Required: No\r\n", false, broken, true, true},
		{"with REQUIRETLS", "TLS-Required: No\r\n", true, enforced, true, false},
		{"where it changes nothing", "TLS-Required: No\r\n", false, nothing, false, false},
	} {
		t.Run(one.name, func(t *testing.T) {
			opened := false
			m := &Message{QueueMessage: &storepb.QueueMessage{Envelope: &storepb.Envelope{RequireTls: one.requireTLS}}, Open: func(context.Context) (io.ReadCloser, error) {
				opened = true
				return io.NopCloser(strings.NewReader("Return-Path: <an@here.test>\r\n" + one.header + "\r\nhi\r\n")), nil
			}}
			plan, _ := twoHosts(false)
			r, err := (&Mail{Protect: one.protect}).secured(t.Context(), plan, m)
			if got := err != nil || isSecured(r, plan); got != one.secured || opened != one.opened {
				t.Errorf("secured %v (%v), opened %v", got, err, opened)
			}
		})
	}
}

func TestMessageWhoseHeaderCannotBeReadWaits(t *testing.T) {
	plan, _ := twoHosts(false)
	s := &Mail{Protect: func(context.Context, route.Plan, *remote.Route) error { return errors.New("no answer") }}
	bad := errors.New("disk")
	m := &Message{QueueMessage: &storepb.QueueMessage{}, Open: func(context.Context) (io.ReadCloser, error) { return nil, bad }}
	if _, err := s.secured(t.Context(), plan, m); !errors.Is(err, bad) {
		t.Error(err)
	}
}

// RFC 8689 §5: a notice about a message with REQUIRETLS asks for TLS as well, and holds no more than the header.
func TestNoticeAboutAMessageThatRequiresTLS(t *testing.T) {
	for _, require := range []bool{true, false} {
		bubble(t, func(t *testing.T, w *world) {
			var got []*storepb.Envelope
			w.sender.set(func(ctx context.Context, m *Message, e *storepb.QueueEntry) Outcome {
				if m.EnvelopeFrom != "" {
					return unknownUser(ctx, m, e)
				}
				w.sender.mu.Lock()
				defer w.sender.mu.Unlock()
				got = append(got, m.GetEnvelope())
				return Outcome{Result: store.AttemptDelivered}
			})
			w.start("a", nil)
			w.accept(mail{id: "q1", from: "x@near.test", queued: elsewhere("x@far.test"), envelope: &storepb.Envelope{Ret: "FULL", RequireTls: require}})
			elapse(time.Minute)
			w.sender.mu.Lock()
			defer w.sender.mu.Unlock()
			if len(got) != 1 || got[0].GetRequireTls() != require {
				t.Fatalf("the notice's envelope: %v", got)
			}
			if whole := strings.Contains(w.sender.texts[0], "\r\nhello\r\n"); whole == require {
				t.Errorf("REQUIRETLS %v: the whole message comes back: %v", require, whole)
			}
		})
	}
}

func TestWhatComesBack(t *testing.T) {
	for _, one := range []struct {
		e    *storepb.Envelope
		want dsn.Ret
	}{{nil, dsn.RetUnsaid}, {&storepb.Envelope{Ret: "FULL"}, dsn.RetFull}, {&storepb.Envelope{Ret: "HDRS"}, dsn.RetHeaders},
		{&storepb.Envelope{Ret: "FULL", RequireTls: true}, dsn.RetHeaders}, {&storepb.Envelope{RequireTls: true}, dsn.RetHeaders}} {
		if got := retOf(one.e); got != one.want {
			t.Errorf("%v: %v, want %v", one.e, got, one.want)
		}
	}
}
