package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"github.com/quorumail/quorumail/ops/dev"
)

// carriable leaves out of the corpus what SMTP cannot carry: NUL (RFC 5321 §4.5.2 allows none in mail). Lines end in CRLF. Files that differ by their
// line ends only are one message then, which is delivered once, however often it is sent: one of them stays.
func carriable(t *testing.T) map[string][]byte {
	t.Helper()
	out, seen := map[string][]byte{}, map[string]bool{}
	for name, raw := range corpus(t) {
		msg := crlf(raw)
		if bytes.IndexByte(raw, 0) < 0 && !seen[string(msg)] {
			out[name], seen[string(msg)] = msg, true
		}
	}
	return out
}

// spill writes messages into a folder, one file each, and returns it.
func spill(t *testing.T, messages map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, raw := range messages {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// collect reads a folder of messages that a tool wrote.
func collect(t *testing.T, pattern string) [][]byte {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, raw)
	}
	return out
}

// sameMessages demands that a node showed exactly what was sent, each below trace fields that are ours, or exactly. Order does not matter:
// tools have their own.
func sameMessages(t *testing.T, what string, got [][]byte, sent map[string][]byte, exact bool) {
	t.Helper()
	if len(got) != len(sent) {
		t.Errorf("%s: %d messages, want %d", what, len(got), len(sent))
	}
	strange := 0
	left := maps.Clone(sent)
	for _, g := range got {
		// One message may be the end of another: the longest that fits is meant.
		best := ""
		for name, want := range left {
			fits := bytes.Equal(g, want) || !exact && bytes.HasSuffix(g, want) && onlyTrace(g[:len(g)-len(want)])
			if fits && (best == "" || len(want) > len(left[best])) {
				best = name
			}
		}
		if best != "" {
			delete(left, best)
		} else if strange++; strange <= 3 {
			t.Errorf("%s: a message came back that is none of those sent: %.300q", what, g)
		}
	}
	if len(left) > 0 {
		t.Errorf("%s: missing: %v", what, slices.Sorted(maps.Keys(left)))
	}
}

// onlyTrace tells whether text is nothing but trace header fields (RFC 5321 §4.4).
func onlyTrace(text []byte) bool {
	for _, line := range strings.Split(strings.TrimSuffix(string(text), "\r\n"), "\r\n") {
		if !strings.HasPrefix(line, "Return-Path:") && !strings.HasPrefix(line, "Received:") && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
			return false
		}
	}
	return len(text) > 0
}

// TestCorpusThroughRealTools sends every message with each tool at node 1, and reads it with each tool at nodes 2 and 3.
func TestCorpusThroughRealTools(t *testing.T) {
	messages := carriable(t)
	c := startCluster(t, 3, 8)
	box := 2
	take := func() dev.Account { box++; return c.Accounts[box-1] }
	dir := spill(t, messages)
	t.Run("SMTP by curl", func(t *testing.T) {
		needTool(t, "curl")
		to := take()
		for name := range messages {
			runTool(t, nil, "curl", "-sS", "smtp://"+c.Nodes[0].SMTP, "--mail-from", "sender@example.net", "--mail-rcpt", to.Address, "-T", filepath.Join(dir, name))
		}
		readByAll(t, c, to, messages, false)
	})
	t.Run("SMTP by smtplib", func(t *testing.T) {
		needTool(t, "python3")
		to := take()
		runTool(t, strings.NewReader(fmt.Sprintf(`
import smtplib, os
h, p = %q.split(":")
s = smtplib.SMTP(h, int(p))
for name in sorted(os.listdir(%q)):
    s.sendmail("sender@example.net", [%q], open(os.path.join(%q, name), "rb").read())
s.quit()
`, c.Nodes[0].SMTP, dir, to.Address, dir)), "python3", "-")
		readByAll(t, c, to, messages, false)
	})
	t.Run("APPEND by curl", func(t *testing.T) {
		needTool(t, "curl")
		user := take()
		for name := range messages {
			runTool(t, nil, "curl", "-sS", "imap://"+c.Nodes[0].IMAP+"/INBOX", "--user", user.Address+":"+user.Password, "-T", filepath.Join(dir, name))
		}
		readByAll(t, c, user, messages, true)
	})
	t.Run("APPEND by imaplib", func(t *testing.T) {
		needTool(t, "python3")
		user := take()
		// imaplib's append changes bare line ends; its command does not.
		raw := corpus(t)
		maps.DeleteFunc(raw, func(_ string, m []byte) bool { return bytes.IndexByte(m, 0) >= 0 })
		runTool(t, strings.NewReader(fmt.Sprintf(`
import imaplib, os
h, p = %q.split(":")
c = imaplib.IMAP4(h, int(p)); c.login(%q, %q)
for name in sorted(os.listdir(%q)):
    c.literal = open(os.path.join(%q, name), "rb").read()
    typ, data = c._simple_command("APPEND", "INBOX")
    assert typ == "OK", (name, typ, data)
c.logout()
`, c.Nodes[0].IMAP, user.Address, user.Password, spill(t, raw), spill(t, raw))), "python3", "-")
		// mbsync keeps messages with bare line ends differently on disk; the others show them exactly.
		for _, n := range c.Nodes[1:] {
			sameMessages(t, "imaplib at "+n.Name, byImaplib(t, n, user), raw, true)
			sameMessages(t, "curl at "+n.Name, byCurl(t, n, user), raw, true)
		}
	})
	t.Run("APPEND by mbsync", func(t *testing.T) {
		needTool(t, "mbsync")
		user := take()
		near := t.TempDir()
		for _, sub := range []string{"INBOX/cur", "INBOX/new", "INBOX/tmp"} {
			if err := os.MkdirAll(filepath.Join(near, sub), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		i := 0
		for _, raw := range messages {
			i++
			if err := os.WriteFile(filepath.Join(near, "INBOX", "cur", fmt.Sprintf("%d.local.host:2,S", i)), bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		mbsync(t, c.Nodes[0], user, near)
		for _, n := range c.Nodes[1:] {
			for tool, got := range map[string][][]byte{"curl": byCurl(t, n, user), "imaplib": byImaplib(t, n, user), "mbsync": byMbsync(t, n, user)} {
				for i := range got {
					got[i] = withoutTUID(got[i])
				}
				sameMessages(t, tool+" at "+n.Name, got, messages, true)
			}
		}
	})
}

// readByAll reads a mailbox with each tool at nodes 2 and 3.
func readByAll(t *testing.T, c *devCluster, user dev.Account, sent map[string][]byte, exact bool) {
	t.Helper()
	for _, n := range c.Nodes[1:] {
		sameMessages(t, "curl at "+n.Name, byCurl(t, n, user), sent, exact)
		sameMessages(t, "imaplib at "+n.Name, byImaplib(t, n, user), sent, exact)
		if _, err := exec.LookPath("mbsync"); err == nil {
			sameMessages(t, "mbsync at "+n.Name, byMbsync(t, n, user), sent, exact)
		}
	}
}

func byCurl(t *testing.T, n dev.Node, user dev.Account) [][]byte {
	t.Helper()
	needTool(t, "curl")
	reader := login(t, n.IMAP, user)
	defer reader.Close()
	if _, err := reader.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	found, err := reader.UIDSearch(&imap.SearchCriteria{}, nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	// One process for all: it logs in once.
	args := []string{"-sS", "--user", user.Address + ":" + user.Password}
	for _, uid := range found.AllUIDs() {
		args = append(args, fmt.Sprintf("imap://%s/INBOX;UID=%d", n.IMAP, uid), "-o", filepath.Join(out, fmt.Sprint(uid)))
	}
	if len(found.AllUIDs()) > 0 {
		runTool(t, nil, "curl", args...)
	}
	return collect(t, filepath.Join(out, "*"))
}

func byImaplib(t *testing.T, n dev.Node, user dev.Account) [][]byte {
	t.Helper()
	needTool(t, "python3")
	out := t.TempDir()
	runTool(t, strings.NewReader(fmt.Sprintf(`
import imaplib, os
h, p = %q.split(":")
c = imaplib.IMAP4(h, int(p)); c.login(%q, %q)
assert c.select("INBOX", readonly=True)[0] == "OK"
for uid in c.uid("SEARCH", "ALL")[1][0].split():
    typ, data = c.uid("FETCH", uid.decode(), "(BODY.PEEK[])")
    assert typ == "OK"
    open(os.path.join(%q, uid.decode()), "wb").write(data[0][1])
c.logout()
`, n.IMAP, user.Address, user.Password, out)), "python3", "-")
	return collect(t, filepath.Join(out, "*"))
}

var tuid = regexp.MustCompile(`(?m)^X-TUID: .{12}\r?\n`)

// withoutTUID takes out the header field by which mbsync finds again what it stored.
func withoutTUID(raw []byte) []byte {
	return tuid.ReplaceAll(raw, nil)
}

// byMbsync mirrors a mailbox. Its Maildir has bare LF.
func byMbsync(t *testing.T, n dev.Node, user dev.Account) [][]byte {
	t.Helper()
	needTool(t, "mbsync")
	dir := t.TempDir()
	mbsync(t, n, user, dir)
	var out [][]byte
	for _, raw := range collect(t, filepath.Join(dir, "INBOX", "*", "*")) {
		if !bytes.Contains(raw, []byte("\n")) || bytes.HasPrefix(raw, []byte("1 ")) {
			continue // mbsync's own files
		}
		out = append(out, bytes.ReplaceAll(withoutTUID(raw), []byte("\n"), []byte("\r\n")))
	}
	return out
}

// mbsync brings an INBOX and a Maildir together.
func mbsync(t *testing.T, n dev.Node, user dev.Account, dir string) {
	t.Helper()
	host, port, _ := strings.Cut(n.IMAP, ":")
	rc := fmt.Sprintf("FSync no\n\nIMAPAccount q\nHost %s\nPort %s\nUser %s\nPass %s\nSSLType None\nAuthMechs LOGIN\n\nIMAPStore far\nAccount q\n\nMaildirStore near\nPath %s/\nInbox %s/INBOX\nSubFolders Verbatim\n\nChannel q\nFar :far:\nNear :near:\nCreate Both\nExpunge Both\nSyncState %s/state\n",
		host, port, user.Address, user.Password, dir, dir, dir)
	path := filepath.Join(dir, "mbsyncrc")
	if err := os.WriteFile(path, []byte(rc), 0o600); err != nil {
		t.Fatal(err)
	}
	runTool(t, nil, "mbsync", "-c", path, "-a")
}
