package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumail/quorumail/ops/dev"
)

// loginOver opens a connection, logs in, and closes it politely: what a client does that polls for mail.
func loginOver(protocol string, n dev.Node, a dev.Account) error {
	address := n.IMAP
	if protocol == "smtp" {
		address = n.Submission
	}
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	return loginOn(conn, protocol, a)
}

// loginOn is loginOver on a connection, which it closes.
func loginOn(conn net.Conn, protocol string, a dev.Account) error {
	defer conn.Close()
	r := bufio.NewReader(conn)
	if err := enter(conn, r, protocol, a); err != nil {
		return err
	}
	if protocol == "smtp" {
		return converse(conn, r, [][2]string{{"QUIT", "221 "}})
	}
	return converse(conn, r, [][2]string{{"b LOGOUT", "b OK"}})
}

// enter logs in on a new connection.
func enter(conn net.Conn, r *bufio.Reader, protocol string, a dev.Account) error {
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if protocol == "smtp" {
		plain := base64.StdEncoding.EncodeToString([]byte("\x00" + a.Address + "\x00" + a.Password))
		return converse(conn, r, [][2]string{{"", "220 "}, {"EHLO localhost", "250 "}, {"AUTH PLAIN " + plain, "235 "}})
	}
	return converse(conn, r, [][2]string{{"", "* OK"}, {fmt.Sprintf("a LOGIN %q %q", a.Address, a.Password), "a OK"}})
}

// converse sends lines and waits for the beginning of the answer to each; an empty line is not sent.
func converse(conn net.Conn, r *bufio.Reader, steps [][2]string) error {
	for _, s := range steps {
		if s[0] != "" {
			if _, err := fmt.Fprintf(conn, "%s\r\n", s[0]); err != nil {
				return err
			}
		}
		for line := ""; !strings.HasPrefix(line, s[1]); {
			var err error
			if line, err = r.ReadString('\n'); err != nil {
				return err
			}
			if strings.Contains(line, " NO ") || strings.Contains(line, " BAD ") || strings.HasPrefix(line, "5") || strings.HasPrefix(line, "4") {
				return fmt.Errorf("answer %q", line)
			}
		}
	}
	return nil
}

// BenchmarkLogins measures whole logins (connect, log in, log out) at a cluster of three real nodes, spread over all of them, with the
// memory for right passwords and without it.
func BenchmarkLogins(b *testing.B) {
	bin, err := binary()
	if err != nil {
		b.Fatal(err)
	}
	c := &devCluster{t: b, dir: b.TempDir()}
	c.run(bin, 3, 0)
	b.Cleanup(c.stop)
	for _, remember := range []string{"5m", "0s"} {
		if out, err := exec.Command(c.Bin, "set", "auth.remember_logins", remember, "--config", filepath.Join(c.dir, "n1", "node.toml")).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		// The nodes read their settings again within half a second; the warm-up below takes longer than that without the memory.
		time.Sleep(time.Second)
		for _, protocol := range []string{"imap", "smtp"} {
			for _, clients := range []int{1, 16, 64} {
				b.Run(fmt.Sprintf("remember=%s/%s/clients=%d", remember, protocol, clients), func(b *testing.B) {
					for _, n := range c.Nodes {
						if err := loginOver(protocol, n, c.Accounts[0]); err != nil {
							b.Fatal(err)
						}
					}
					var left atomic.Int64
					left.Store(int64(b.N))
					before, err := c.spent(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					b.ResetTimer()
					var wg sync.WaitGroup
					for w := range clients {
						wg.Go(func() {
							for i := w; left.Add(-1) >= 0; i++ {
								if err := loginOver(protocol, c.Nodes[i%3], c.Accounts[0]); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					wg.Wait()
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
					// Beside the rate, which the machine's other work lowers: what the three nodes themselves need.
					after, err := c.spent(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(1e6*(after.CPUSeconds-before.CPUSeconds)/float64(b.N), "cpu-µs/login")
				})
			}
		}
	}
}

func devAccount(address, password string) dev.Account {
	return dev.Account{Address: address, Password: password}
}
