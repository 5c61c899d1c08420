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

// The quorum is lost while a message is being stored: whether it was is not known, and the client does not wait for long.
func TestQuorumLostWhileAppending(t *testing.T) {
	ts := startServer(t, nil)
	c := ts.login()
	ts.store.hold.Store(true)
	c.send("a APPEND INBOX {8+}\r\nA: 1\r\n\r\n")
	down := fmt.Errorf("no quorum: %w", store.ErrUnavailable)
	// Only once the command has begun: a client of a node that is not ready is answered before.
	waitFor(t, func() bool { return ts.store.adding.Load() > 0 })
	ts.store.notReady.Store(&down)
	c.expect("a NO [UNAVAILABLE] ...may have been done...")
}

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
