package remote

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/quorumail/quorumail/queue/remote/remotetest"
)

// startSink runs Postfix's smtp-sink with options, and returns the folder where it puts each message into a file.
func startSink(t *testing.T, options ...string) (netip.AddrPort, string) {
	bin := remotetest.Program(t, "smtp-sink", "postfix")
	dir, addr := remotetest.Folder(t), freePort(t)
	args := append(options, "-d", filepath.Join(dir, "m."), addr.String(), "100")
	if os.Getuid() == 0 {
		remotetest.Give(t, dir, "nobody")
		args = append([]string{"-u", "nobody"}, args...)
	}
	cmd := exec.Command(bin, args...)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	await(t, "smtp-sink", listening(addr))
	return addr, dir
}

func sunk(t *testing.T, dir string) (all []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "m.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(raw))
	}
	return all
}

func sinkRoute(addr netip.AddrPort) Route {
	return Route{Key: "sink", Hosts: []Host{{Name: "sink.example.test", Addrs: []netip.AddrPort{addr}}}}
}

// TestManyMessagesToOneServer: each arrives once, over a few connections.
func TestManyMessagesToOneServer(t *testing.T) {
	for _, options := range [][]string{{}, {"-p"}, {"-e"}} {
		t.Run(strings.Join(options, ""), func(t *testing.T) {
			addr, dir := startSink(t, options...)
			c := newClient(t, Config{Hostname: "client.example"})
			var wg sync.WaitGroup
			for worker := range 8 {
				wg.Go(func() {
					for i := range 25 {
						id := fmt.Sprintf("%d-%d", worker, i)
						msg := Message{ID: id, From: address(t, "s@client.example"), Open: opens("Message-ID: <" + id + "@x>\r\n\r\n" + strings.Repeat(".\r\n", 500))}
						rcpts := []Recipient{{Address: address(t, "a@example.test")}, {Address: address(t, "b@example.test")}}
						for _, r := range c.Deliver(context.Background(), sinkRoute(addr), msg, rcpts) {
							if r.Status != Delivered {
								t.Errorf("%s: %s", id, shownResult(r))
							}
						}
					}
				})
			}
			wg.Wait()
			all := sunk(t, dir)
			if len(all) != 200 {
				t.Fatalf("%d messages, want 200", len(all))
			}
			for _, one := range all {
				if strings.Count(one, "\n.\n") != 250 && strings.Count(one, "\n.") != 500 {
					t.Errorf("not what was sent: %d dots", strings.Count(one, "\n."))
				}
			}
		})
	}
}

// TestConvertedForAServerWithout8BITMIME: nothing else than ASCII arrives.
func TestConvertedForAServerWithout8BITMIME(t *testing.T) {
	addr, dir := startSink(t, "-8")
	c := newClient(t, Config{Hostname: "client.example"})
	raw := "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + strings.Repeat("Xin chào các bạn\r\n", 10_000)
	msg := Message{ID: "m", From: address(t, "s@client.example"), Open: opens(raw)}
	r := c.Deliver(context.Background(), sinkRoute(addr), msg, []Recipient{{Address: address(t, "a@example.test")}})[0]
	if r.Status != Delivered {
		t.Fatal(shownResult(r))
	}
	all := sunk(t, dir)
	if len(all) != 1 || strings.Count(all[0], "\nXin ch=C3=A0o c=C3=A1c b=E1=BA=A1n\n") == 0 {
		t.Fatalf("%d messages, not what was sent", len(all))
	}
	for i := range len(all[0]) {
		if all[0][i] >= 0x80 {
			t.Fatalf("byte %#x arrived", all[0][i])
		}
	}
}

// TestSinkThatHangsUpAfterTheMessage leaves an unknown outcome.
func TestSinkThatHangsUpAfterTheMessage(t *testing.T) {
	addr, _ := startSink(t, "-q", ".")
	c := newClient(t, Config{Hostname: "client.example"})
	msg := Message{ID: "m", From: address(t, "s@client.example"), Open: opens("Subject: s\r\n\r\nhi\r\n")}
	r := c.Deliver(context.Background(), sinkRoute(addr), msg, []Recipient{{Address: address(t, "a@example.test")}})[0]
	if r.Status != Deferred || !r.Unknown {
		t.Fatal(shownResult(r))
	}
}
