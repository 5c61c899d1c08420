package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/dev"
)

// TestOfficeOnRealNodes: what one node is told, the other does; keys are opened by a node that joined; and a restored cluster has them again.
func TestOfficeOnRealNodes(t *testing.T) {
	s := newSink(t)
	c := startClusterWith(t, 2, 1, elsewhere(t, s, "elsewhere.test", "slow.test"))
	first, second := c.at(t, 0), c.at(t, 1)
	an := c.Accounts[0]
	send := func(id, to string) {
		t.Helper()
		if err := submit(c.Nodes[0], an, []string{to}, fmt.Sprintf("From: %s\nSubject: %s\nMessage-ID: <%s@example.test>\n\nHello.\n", an.Address, id, id)); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("DKIM", func(t *testing.T) {
		await(t, "the keys", func() bool { _, _, err := second.run("", "dkim", "create", "example.test"); return err == nil })
		await(t, "the first node to open the keys", func() bool { return !strings.Contains(first.good("", "dkim", "show"), "CANNOT SIGN") })
		send("m1", "ok@elsewhere.test")
		await(t, "the signed message", func() bool { return s.copies("ok@elsewhere.test", "<m1@example.test>") == 1 })
		if n := len(s.all()[0].header.Values("Dkim-Signature")); n != 2 {
			t.Errorf("it has %d signatures, want 2:\n%s", n, s.all()[0].raw)
		}
	})
	t.Run("queue", func(t *testing.T) { officeQueue(t, s, an, second, func() { send("m2", "r@slow.test") }) })
	t.Run("routes and aliases", func(t *testing.T) {
		second.good("", "route", "set", "nowhere.test", "--reject", "Nobody lives there")
		await(t, "the refusal at the first node", func() bool {
			err := submit(c.Nodes[0], an, []string{"x@nowhere.test"}, "From: "+an.Address+"\n\nx\n")
			return err != nil && strings.Contains(err.Error(), "Nobody lives there")
		})
		first.bad(exitFailed, "Nobody lives there", "", "alias", "add", "out@example.test", "x@nowhere.test")
		second.good("", "alias", "add", "out@example.test", "ok@elsewhere.test")
		send("m3", "out@example.test")
		await(t, "the message that an alias passes on", func() bool { return s.copies("ok@elsewhere.test", "<m3@example.test>") == 1 })
		first.good("a secret\n", "route", "set", "partner.test", "--smarthost", "mail.partner.test", "--user", "u", "--password-stdin")
	})
	t.Run("backup", func(t *testing.T) { officeBackup(t, c, first) })
}

// officeQueue follows a message that another site does not want yet.
func officeQueue(t *testing.T, s *sink, an dev.Account, node commandLine, send func()) {
	s.setBusy("slow.test", true)
	send()
	var entries []admin.QueueEntry
	await(t, "the first attempt", func() bool {
		entries = as[queueJSON](t, node.good("", "queue", "list", "--domain", "slow.test", "--reason", "NOT NOW", "--json")).Entries
		return len(entries) == 1
	})
	if e := entries[0]; e.Recipient != "r@slow.test" || e.Sender != an.Address || e.Code != 451 || e.Owner != "n1" {
		t.Errorf("it waits as %+v", e)
	}
	if out := node.good("", "status"); !strings.Contains(out, "\nqueues: in: 0, local: 0, remote: 1; held, of these: 0\n") {
		t.Errorf("status:\n%s", out)
	}
	id := entries[0].QueueID
	node.good("", "queue", "hold", id)
	s.setBusy("slow.test", false)
	if out := node.good("", "queue", "flush"); !strings.HasPrefix(out, "0 entries") {
		t.Errorf("what is held is tried: %s", out)
	}
	node.good("", "queue", "release", "--held")
	await(t, "what was released", func() bool { return s.copies("r@slow.test", "<m2@example.test>") == 1 })
	var kinds []string
	await(t, "the end of the story", func() bool {
		kinds = nil
		for _, e := range as[[]admin.Trace](t, node.good("", "trace", "<m2@example.test>", "--json"))[0].Events {
			kinds = append(kinds, e.Kind)
		}
		return slices.Contains(kinds, "delivered")
	})
	if want := []string{"accepted", "deferred", "held", "released", "delivered"}; !slices.Equal(kinds, want) {
		t.Errorf("the story is %v, want %v", kinds, want)
	}
	node.bad(exitFailed, "quorumail trace "+id, "", "queue", "retry", id)
}

// officeBackup restores a backup with the key for secrets, without, and with a wrong one.
func officeBackup(t *testing.T, c *devCluster, node commandLine) {
	dir := filepath.Join(t.TempDir(), "backup")
	if out := node.good("", "backup", dir); !strings.Contains(out, secretsKeyFile) {
		t.Errorf("it does not say what is not in it:\n%s", out)
	}
	key := filepath.Join(c.dir, c.Nodes[1].Name, "data", secretsKeyFile)
	wrong := filepath.Join(t.TempDir(), "wrong.key")
	if err := os.WriteFile(wrong, randomKey(), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := func() (commandLine, string) {
		data := t.TempDir()
		file := filepath.Join(t.TempDir(), "node.toml")
		text := fmt.Sprintf("name = \"r1\"\nhostname = \"r1.example.test\"\ndata_dir = %q\n\n[cluster]\nadvertise = \"127.0.0.1:7400\"\n", data)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return commandLine{t, file}, data
	}
	with, data := fresh()
	with.bad(exitFailed, "name the right file", "", "restore", dir, "--secrets-key", wrong)
	if _, err := os.Stat(filepath.Join(data, identityFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a node after all (%v)", err)
	}
	if out := with.good("", "restore", dir, "--secrets-key", key); strings.Contains(out, "not restored") {
		t.Errorf("with the key:\n%s", out)
	}
	old, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(data, secretsKeyFile)); err != nil || string(got) != string(old) {
		t.Errorf("the restored node has another key (%v)", err)
	}
	without, _ := fresh()
	if out := without.good("", "restore", dir); !strings.Contains(out, "the DKIM key qm") || !strings.Contains(out, "the password of the route for partner.test") || !strings.Contains(out, "--secrets-key FILE") {
		t.Errorf("without the key:\n%s", out)
	}
}
