package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/cluster/transport"
	"github.com/quorumail/quorumail/ops/dev"
)

// lone is a node that a test starts by itself, outside of what dev knows.
type lone struct {
	t      testing.TB
	bin    string
	config string
	dir    string
	cmd    *exec.Cmd
	out    bytes.Buffer
	done   chan error
}

// newLone writes a configuration like that of the cluster's first node, with ports of its own.
func (c *devCluster) newLone(name string) *lone {
	c.t.Helper()
	raw, err := os.ReadFile(c.configOf(0))
	if err != nil {
		c.t.Fatal(err)
	}
	dir := c.t.TempDir()
	text := regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllStringFunc(string(raw), portMap(c.t))
	text = strings.ReplaceAll(text, filepath.Join(c.dir, c.Nodes[0].Name, "data"), filepath.Join(dir, "data"))
	text = strings.ReplaceAll(text, `"`+c.Nodes[0].Name+`"`, `"`+name+`"`)
	l := &lone{t: c.t, bin: c.Bin, config: filepath.Join(dir, "node.toml"), dir: filepath.Join(dir, "data")}
	if err := os.WriteFile(l.config, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		l.kill()
		if c.t.Failed() {
			c.t.Logf("what %s said:\n%s", name, l.out.String())
		}
	})
	return l
}

// portMap gives each address a free port, the same each time.
func portMap(t testing.TB) func(string) string {
	known, taken := map[string]string{}, map[string]bool{}
	return func(old string) string {
		for known[old] == "" {
			// Below what the kernel gives to outgoing connections: none of those shall sit on it while the node is down.
			address := fmt.Sprintf("127.0.0.1:%d", 20000+mathrand.IntN(10000))
			if taken[address] {
				continue
			}
			l, err := net.Listen("tcp", address)
			if err != nil {
				continue
			}
			known[old], taken[address] = address, true
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return known[old]
	}
}

func (l *lone) start(args ...string) {
	l.t.Helper()
	l.cmd = exec.Command(l.bin, append([]string{"serve", "--config", l.config}, args...)...)
	l.cmd.Stdout, l.cmd.Stderr = &l.out, &l.out
	if err := l.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.done = make(chan error, 1)
	go func() { l.done <- l.cmd.Wait() }()
}

func (l *lone) kill() {
	if l.done == nil {
		return
	}
	_ = l.cmd.Process.Signal(syscall.SIGKILL)
	<-l.done
	l.done = nil
}

// refused starts the node, which must end with an error that says text.
func (l *lone) refused(token, text string) {
	l.t.Helper()
	l.start("--join", token)
	select {
	case err := <-l.done:
		l.done = nil
		if err == nil || !strings.Contains(l.out.String(), text) {
			l.t.Errorf("it ended with %v, and does not say %q:\n%s", err, text, l.out.String())
		}
	case <-time.After(60 * time.Second):
		l.t.Fatalf("it was let in, or tries on:\n%s", l.out.String())
	}
	l.out.Reset()
}

func (c *devCluster) command(i int, args ...string) string {
	c.t.Helper()
	out, err := exec.CommandContext(c.t.Context(), c.Bin, append(args, "--config", c.configOf(i))...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// member is how node i sees the member of that name.
func (c *devCluster) member(i int, name string) (voter, alive, ready, found bool) {
	st, _ := c.statusOf(i)
	for _, m := range st.Members {
		if m.Name == name {
			return m.Voter, m.Alive, m.Ready, true
		}
	}
	return false, false, false, false
}

func TestInvites(t *testing.T) {
	c := startCluster(t, 1, 0)
	token := c.command(0, "invite")
	n := c.newLone("n2")
	t.Run("damaged", func(t *testing.T) {
		n.refused("rubbish", "no invite token")
		n.refused(token[:len(token)-7]+"???", "no invite token")
		n.refused(reworked(t, token, func(i *invite) { i.Pin = i.Pin[2:] }), "damaged")
		n.refused(reworked(t, token, func(i *invite) { i.Addresses = nil }), "no invite token")
	})
	t.Run("of another cluster", func(t *testing.T) {
		n.refused(reworked(t, token, func(i *invite) { i.Pin = strings.Repeat("ab", 32) }), "not the cluster that the invite names")
	})
	t.Run("with a guessed secret", func(t *testing.T) {
		n.refused(reworked(t, token, func(i *invite) { i.Secret = "guess" }), "unknown, used or expired")
	})
	t.Run("killed while it joins", func(t *testing.T) {
		// At whatever moment it dies, it goes on with the same invite, which is good for it only.
		n.start("--join", token)
		c.until("it has asked", func() bool {
			_, err := os.Stat(filepath.Join(n.dir, joinFile))
			return err == nil
		})
		n.kill()
		n.start("--join", token)
		c.until("it votes and can take mail", func() bool { voter, alive, ready, _ := c.member(0, "n2"); return voter && alive && ready })
		if _, err := os.Stat(filepath.Join(n.dir, joinFile)); !os.IsNotExist(err) {
			t.Errorf("what it took to join is still there: %v", err)
		}
	})
	t.Run("used", func(t *testing.T) {
		c.newLone("n3").refused(token, "unknown, used or expired")
	})
	t.Run("a node of another address restarts there", func(t *testing.T) {
		n.kill()
		raw, err := os.ReadFile(n.config)
		if err != nil {
			t.Fatal(err)
		}
		moved := regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllStringFunc(string(raw), portMap(t))
		if err := os.WriteFile(n.config, []byte(moved), 0o600); err != nil {
			t.Fatal(err)
		}
		address := regexp.MustCompile(`advertise = "([^"]+)"`).FindStringSubmatch(moved)[1]
		n.start()
		// Two voters of two: without it nothing is committed, not even its address. It is reached because it reaches the other one.
		c.until("the membership has its new address", func() bool {
			st, _ := c.statusOf(0)
			for _, m := range st.Members {
				if m.Name == "n2" && m.Address == address && m.Alive {
					return true
				}
			}
			return false
		})
	})
}

// Who has no invite costs no entry of the log, however often it asks, and keeps nobody out who has one.
func TestStrangersWriteNoLog(t *testing.T) {
	c := startCluster(t, 1, 0)
	i, pin, err := parseToken(c.command(0, "invite"))
	if err != nil {
		t.Fatal(err)
	}
	_, csr, err := transport.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(secret, address string) (res joinResponse) {
		t.Helper()
		id := newIdentity(false)
		raw, err := json.Marshal(joinRequest{Secret: secret, ID: string(id.ID), Name: "x", Address: address, DataIncarnation: id.DataIncarnation, CSR: csr, MaxVersion: 1})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := cluster.Join(t.Context(), i.Addresses[0], pin, raw)
		if err == nil {
			err = json.Unmarshal(answer, &res)
		}
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	const tries = 300
	before, ok := c.statusOf(0)
	if !ok {
		t.Fatal("no status")
	}
	denied, unheard := 0, 0
	for k := range tries {
		switch res := ask(fmt.Sprint("guess ", k), "127.0.0.1:1"); {
		case res.Final && strings.Contains(res.Error, "unknown, used or expired"):
			denied++
		case !res.Final && res.Error == errTooManyTries.Error():
			unheard++
		default:
			t.Fatalf("a stranger hears %+v", res)
		}
	}
	if denied < strangerBurst || unheard == 0 {
		t.Errorf("of %d tries %d were looked into, %d were too many", tries, denied, unheard)
	}
	after, ok := c.statusOf(0)
	if !ok || after.Last-before.Last > tries/2 { // the cluster's own clock writes some
		t.Errorf("the log went from entry %d to %d", before.Last, after.Last)
	}
	if res := ask(i.Secret, i.Addresses[0]); !res.Final || !strings.Contains(res.Error, "remove it first") {
		t.Errorf("at the address of a member: %+v", res)
	}
	if res := ask(i.Secret, "127.0.0.1:1"); len(res.Cert) == 0 {
		t.Errorf("with the invite, which the last answer has not used up: %+v", res)
	}
}

// reworked changes what a token says.
func reworked(t *testing.T, token string, change func(*invite)) string {
	t.Helper()
	i, _, err := parseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	change(&i)
	raw, err := json.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
}

// B5: a node whose disk is lost is replaced by one with another id, which then holds every message, byte for byte.
func TestB5LostDiskIsReplaced(t *testing.T) {
	c := startCluster(t, 3, 0)
	an := c.Accounts[0]
	session := login(t, c.Nodes[0].IMAP, an)
	for i := range 12 {
		noise := make([]byte, 100<<(i%4*3)) // 100 bytes to 50 KiB that do not compress: in the command, and beside the log
		_, _ = rand.Read(noise)
		msg := fmt.Appendf(nil, "Subject: %d\r\n\r\n%s\r\n", i, base64.StdEncoding.EncodeToString(noise))
		if _, err := appendMessage(session, "INBOX", msg); err != nil {
			t.Fatal(err)
		}
	}
	want := fetchAll(t, session)
	lost := 2
	if c.leader() == lost {
		lost = 1
	}
	name, alive := c.Nodes[lost].Name, slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == lost })
	c.kill(lost)
	data := filepath.Join(c.dir, name, "data")
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	c.until("the crash is noticed", func() bool { _, alive, _, found := c.member(alive[0], name); return found && !alive })
	token := c.command(alive[1], "invite")
	n := &lone{t: t, bin: c.Bin, config: c.configOf(lost), dir: data}
	t.Cleanup(n.kill)
	n.refused(token, "remove it first") // what is meant for the lost one would come to it
	if out := c.command(alive[0], "node", "remove", name); !strings.Contains(out, "is removed") {
		t.Errorf("node remove says %q", out)
	}
	if _, _, _, found := c.member(alive[1], name); found {
		t.Error("it is still a member")
	}
	n.start("--join", token)
	c.until("the new one votes and can take mail", func() bool { voter, up, ready, _ := c.member(alive[0], name); return voter && up && ready })
	st, _ := c.statusOf(lost)
	if st.Missing > 0 {
		t.Errorf("it votes and lacks %d bodies", st.Missing)
	}
	// Without one of the old ones it must know everything by itself.
	c.kill(alive[1])
	c.until("two of three go on", func() bool {
		s, err := tryLogin(c.Nodes[lost].IMAP, an)
		if err != nil {
			return false
		}
		defer s.Close()
		_, err = s.Select("INBOX", nil).Wait()
		return err == nil
	})
	got := fetchAll(t, login(t, c.Nodes[lost].IMAP, an))
	if len(got) != len(want) {
		t.Fatalf("%d messages of %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("message %d is another one", i+1)
		}
	}
	if out, err := exec.Command(c.Bin, "check", "--config", c.configOf(lost)).CombinedOutput(); err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}
}

func tryLogin(address string, a dev.Account) (*imapclient.Client, error) {
	s, err := imapclient.DialInsecure(address, nil)
	if err != nil {
		return nil, err
	}
	if err := s.Login(a.Address, a.Password).Wait(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}
