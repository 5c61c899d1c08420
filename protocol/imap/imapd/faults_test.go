package imapd

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
)

// A login at a node that is not ready does not wait, and nobody looks at the password.
func TestLoginWhileNotReady(t *testing.T) {
	ts := startServer(t, func(c *Config) {
		c.Auth = AuthFunc(func(context.Context, netip.Addr, string, string) (Identity, error) {
			t.Error("the password was looked at")
			return Identity{}, store.ErrDenied
		})
	})
	down := fmt.Errorf("no quorum: %w", store.ErrUnavailable)
	ts.store.notReady.Store(&down)
	c := ts.dial()
	c.expect("* OK ...")
	for range 5 {
		c.send("a LOGIN x y")
		c.expect("a NO [UNAVAILABLE] ...")
	}
}

// In IDLE at a node that is cut off no news would ever come: the client is sent elsewhere.
func TestIdleEndsWhereTheNodeIsCutOff(t *testing.T) {
	ts := startServer(t, func(c *Config) { c.Limits.IdleNews = 20 * time.Millisecond })
	c := ts.login()
	c.ok("a SELECT INBOX")
	c.send("b IDLE")
	c.expect("+ idling")
	c.expect("* OK Still here")
	down := fmt.Errorf("no quorum: %w", store.ErrUnavailable)
	ts.store.notReady.Store(&down)
	for {
		line, err := c.line()
		if err != nil {
			t.Fatalf("no BYE: %v", err)
		}
		if strings.HasPrefix(line, "* BYE [UNAVAILABLE]") {
			break
		}
	}
	c.expect("EOF")
}

// A stranger that sends a byte now and then holds a connection no longer than one that is silent.
func TestTricklingStrangerIsCut(t *testing.T) {
	ts := startServer(t, func(c *Config) { c.Limits.NotAuthenticated = 300 * time.Millisecond })
	c := ts.dial()
	c.expect("* OK ...")
	stop, trickled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(trickled)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if _, err := c.conn.Write([]byte("a")); err != nil {
					return
				}
			}
		}
	}()
	c.expect("* BYE ...")
	close(stop)
	<-trickled
}

// What a stranger can make the server hold is little; after the login it is more.
func TestStrangersSendLittle(t *testing.T) {
	ts := startServer(t, nil)
	c := ts.dial()
	c.expect("* OK ...")
	c.send("a LOGIN {20000}")
	c.expect("a NO [TOOBIG] ...")
	c.send("b LOGIN an@example.test secret")
	c.expect("b OK ...")
	c.send(fmt.Sprintf("c CREATE {20000+}\r\n%s", strings.Repeat("x", 20000)))
	c.expect("c BAD ...")
	d := ts.dial()
	d.expect("* OK ...")
	d.send("a NOOP " + strings.Repeat("x", 20000))
	d.expect("* BYE ...")
}

// What another node acknowledged counts here, also where this node learns of it only behind a read barrier.
func TestNamesAreRefusedBehindABarrierOnly(t *testing.T) {
	ts := startServer(t, nil)
	c := ts.login()
	elsewhere := func(f func(*fakeState)) {
		ts.store.mu.Lock()
		defer ts.store.mu.Unlock()
		ts.store.catchUp = func() { f(&ts.store.state) }
	}
	elsewhere(func(st *fakeState) { st.create("made", "") })
	c.appendMessage("made", "A: 1\r\n\r\n")
	elsewhere(func(st *fakeState) { delete(st.boxes, store.MailboxID(st.byName("made").mb.Id)) })
	c.ok("a CREATE made")
	elsewhere(func(st *fakeState) { st.create("other", "") })
	c.ok("b RENAME other another")
	elsewhere(func(st *fakeState) { st.create("third", "") })
	c.ok("c DELETE third")

	c.appendMessage("made", "A: 1\r\n\r\n")
	c.ok("d SELECT made")
	elsewhere(func(st *fakeState) {
		box := st.byName("made")
		e := box.entries[1]
		box.count(e, -1)
		e.Flags |= uint32(store.FlagDeleted)
		box.put(1, e, box.mb.HighestModseq+1)
	})
	if got := c.ok("e EXPUNGE"); got[0] != "* 1 EXPUNGE" {
		t.Errorf("EXPUNGE answered %q", got)
	}
}

// RFC 9051 §6.3.6: RENAME makes the superiors of the new name, and puts nothing below itself.
func TestRename(t *testing.T) {
	ts := startServer(t, nil)
	c := ts.login()
	c.ok("a CREATE a/b")
	c.ok("b RENAME a new/deep/a")
	for _, name := range []string{"new", "new/deep", "new/deep/a", "new/deep/a/b"} {
		c.ok("c STATUS " + name + " (MESSAGES)")
	}
	for _, cmd := range []string{"RENAME new/deep/a new/deep/a/c", "RENAME new INBOX", "RENAME new/deep/a/b new/deep", "RENAME nothing there"} {
		c.send("d " + cmd)
		c.expect("d NO ...")
	}
	c.ok("e RENAME INBOX INBOX/old") // INBOX stays, so that it may
	c.ok("f STATUS INBOX/old (MESSAGES)")
}

// RFC 3501 §5.1: INBOX in any case; names compare in NFC, whatever a client types, also in patterns.
func TestNamesInPatterns(t *testing.T) {
	ts := startServer(t, nil)
	c := ts.login()
	c.ok("a CREATE INBOX/Sub")
	c.ok("b CREATE {7+}\r\nHo\xcc\xa3p/x") // "Họp" in NFD
	for _, tt := range []struct{ pattern, want string }{
		{"inb%", "* LIST (\\HasChildren) \"/\" INBOX"},
		{"iNbOx/%", "* LIST (\\HasNoChildren) \"/\" INBOX/Sub"},
		{"{5+}\r\nHo\xcc\xa3%", "* LIST (\\HasChildren) \"/\" H&Hs0-p"},
		{"H&Hs0-p/%", "* LIST (\\HasNoChildren) \"/\" H&Hs0-p/x"},
	} {
		if got := c.ok("c LIST \"\" " + tt.pattern); len(got) != 2 || got[0] != tt.want {
			t.Errorf("LIST %q gave %q", tt.pattern, got)
		}
	}
}

// RFC 9051 §6.4.6: .SILENT leaves no doubt about flags that another client changed meanwhile: what came of both changes is told last.
func TestSilentStoreAfterAnothersChange(t *testing.T) {
	ts := startServer(t, nil)
	a, b := ts.login(), ts.login()
	a.appendMessage("INBOX", "A: 1\r\n\r\n")
	a.ok("a SELECT INBOX")
	b.ok("b SELECT INBOX")
	b.ok("c STORE 1 +FLAGS (\\Flagged)")
	got := a.ok("d STORE 1 +FLAGS.SILENT (\\Seen)")
	if len(got) != 3 || got[0] != `* 1 FETCH (UID 1 FLAGS (\Flagged \Recent))` || got[1] != `* 1 FETCH (UID 1 FLAGS (\Flagged \Seen \Recent))` {
		t.Errorf("answered %q", got)
	}
	if got := a.ok("e STORE 1 -FLAGS.SILENT (\\Seen)"); len(got) != 1 {
		t.Errorf("without another's change: %q", got)
	}
}
