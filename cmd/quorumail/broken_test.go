//go:build broken

package main

import (
	"fmt"
	"testing"

	"github.com/emersion/go-imap/v2"

	"github.com/quorumail/quorumail/jepsen/disk/faultfs"
	"github.com/quorumail/quorumail/store/broken"
)

// whatStays delivers a few messages to a node, small and large, cuts its power, and counts those that it acknowledged and still shows whole.
func whatStays(t *testing.T, switched broken.Switch) (small, large int) {
	t.Helper()
	t.Setenv("QUORUMAIL_BROKEN", string(switched))
	r := newRig(t, seedOf(t), "wal", 1, 1)
	n := r.nodes[0]
	n.stop()
	n.start()
	n.ready()
	w := newWriter(r.accounts[0], n.rng)
	for i := range brokenMessages {
		size := 100
		if i%2 == 1 {
			size = 60_000
		}
		msg := fmt.Appendf(nil, "Subject: %d\r\n\r\n", i)
		for len(msg) < size {
			msg = fmt.Appendf(msg, "%016x\r\n", n.rng.Uint64())
		}
		if err := deliver(n.smtp(), "sender@example.net", w.account.Address, msg); err != nil {
			t.Fatal(err)
		}
	}
	n.kill()
	if _, err := n.disk.Crash(faultfs.KeepNone); err != nil {
		t.Fatal(err)
	}
	n.mount()
	n.start()
	n.ready()
	c, err := dialIMAP(n.imap(), w.account)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sel, err := c.Select("INBOX", nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	for i := range sel.NumMessages {
		section := &imap.FetchItemBodySection{Peek: true}
		got, err := c.Fetch(imap.SeqSetNum(i+1), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{section}}).Collect()
		switch {
		case err != nil || len(got) != 1:
		case len(got[0].FindBodySection(section)) > 50_000:
			large++
		default:
			small++
		}
	}
	return small, large
}

const brokenMessages = 6

func TestPowerLossBitesABrokenNode(t *testing.T) {
	for _, tt := range []struct {
		off          broken.Switch
		small, large bool // stay
	}{{"", true, true}, {broken.FsyncLog, false, false}, {broken.FsyncBody, true, false}} {
		t.Run(string(tt.off), func(t *testing.T) {
			small, large := whatStays(t, tt.off)
			t.Logf("%d small and %d large messages of %d stay", small, large, brokenMessages)
			if (small == brokenMessages/2) != tt.small || (large == brokenMessages/2) != tt.large {
				t.Errorf("want all of them: small %v, large %v", tt.small, tt.large)
			}
		})
	}
}
