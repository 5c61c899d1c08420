package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/quorumail/quorumail/ops/admin"
)

func TestPolicyRules(t *testing.T) {
	c := newOfficeLine(t)
	id := as[admin.Rule](t, c.good("", "policy", "add", "--action", "block", "--client", "192.0.2.0/24", "--json")).ID
	if len(id) != 5 {
		t.Errorf("the rule's id is %q", id)
	}
	c.good("", "policy", "add", "--id", "bonus", "--action", "hold", "--header", "Subject", "--contains", "tiền thưởng", "--direction", "in", "--note", "spam of the week")
	c.good("", "policy", "add", "--id", "friend", "--action", "allow", "--sender", "*@friend.test", "--position", "1")
	c.bad(exitFailed, "bad rule: client \"192.0.2.0/99\"", "", "policy", "add", "--action", "block", "--client", "192.0.2.0/99")
	c.bad(exitFailed, "a note is one line", "", "policy", "add", "--action", "block", "--client", "192.0.2.0/24", "--note", "a\nb")
	c.bad(exitFailed, "expected allow, block, hold, tag or defer", "", "policy", "add", "--action", "burn", "--sender", "x@y.test")
	c.bad(exitFailed, "policy set", "", "policy", "add", "--id", "bonus", "--action", "block", "--sender", "x@y.test")
	c.bad(exitUsage, "looks at one thing", "", "policy", "add", "--action", "block", "--sender", "x@y.test", "--client", "192.0.2.1")
	c.bad(exitUsage, "go together", "", "policy", "add", "--action", "block", "--header", "Subject")
	c.bad(exitUsage, "a rule needs --action", "", "policy", "add", "--action", "block")
	c.bad(exitUsage, "say what to change", "", "policy", "set", "bonus")
	c.bad(exitFailed, "quorumail policy list", "", "policy", "set", "none", "--disabled")

	list := as[[]admin.Rule](t, c.good("", "policy", "list", "--json"))
	if len(list) != 3 || list[0].ID != "friend" || list[1].ID != id || list[2].ID != "bonus" || list[2].ChangedBy != who() {
		t.Errorf("in their order: %+v", list)
	}
	c.good("", "policy", "set", "bonus", "--action", "tag", "--disabled")
	if r := as[[]admin.Rule](t, c.good("", "policy", "list", "--json"))[2]; r.Action != "tag" || !r.Disabled || r.Pattern != "tiền thưởng" || r.Direction != "in" {
		t.Errorf("changed: %+v", r)
	}
	table := c.good("", "policy", "list")
	if !strings.HasPrefix(table, "ID ") || !strings.Contains(table, "tag (disabled)  in         header Subject  tiền thưởng") {
		t.Errorf("the table is\n%s", table)
	}
	c.good("", "policy", "remove", id, "--yes")
	c.bad(exitFailed, "not found", "", "policy", "remove", id, "--yes")

	log := as[[]admin.AuditEvent](t, c.good("", "policy", "log", "--json"))
	if len(log) != 5 || log[0].Text != "rule "+id+" removed" || log[0].Node != "n1" || log[0].Who != who() {
		t.Errorf("log: %+v", log)
	}
	if last := as[[]admin.AuditEvent](t, c.good("", "policy", "log", "--limit", "1", "--json")); len(last) != 1 || last[0] != log[0] {
		t.Errorf("the newest: %+v", last)
	}
}

const bonusMail = "From: x@there.test\r\nSubject: =?UTF-8?B?VGnhu4FuIHRoxrDhu59uZw==?=\r\n\r\nHello\r\n"

func TestPolicyTestSaysWhatWouldHappen(t *testing.T) {
	c := newOfficeLine(t)
	c.good("", "policy", "add", "--id", "bonus", "--action", "block", "--subject", "tien thuong", "--reply", "No lotteries here")
	c.good("", "policy", "add", "--id", "off", "--action", "block", "--body", "hello", "--disabled")
	c.good("", "policy", "add", "--id", "net", "--action", "hold", "--client", "192.0.2.0/24", "--direction", "in")
	file := filepath.Join(t.TempDir(), "letter.eml")
	if err := os.WriteFile(file, []byte(bonusMail), 0o600); err != nil {
		t.Fatal(err)
	}
	got := as[verdictJSON](t, c.good("", "policy", "test", file, "--client", "192.0.2.9", "--from", "x@there.test", "--to", "an@example.test", "--json"))
	if got.Verdict != "reject" || got.Reply != "No lotteries here" || len(got.Matches) != 2 || got.Matches[0].ID != "bonus" || got.Matches[0].Excerpt != "Tiền thưởng" || !got.Matches[1].Counts {
		t.Errorf("verdict %+v", got)
	}
	c.good("", "policy", "add", "--id", "friend", "--action", "allow", "--sender", "x@there.test", "--position", "1")
	text := c.good(bonusMail, "policy", "test", "-", "--from", "x@there.test")
	if !strings.Contains(text, "no, allowed before") || !strings.Contains(text, "verdict: accept\n") {
		t.Errorf("allowed:\n%s", text)
	}
	if out := c.good("Subject: hello\r\n\r\nhello\r\n", "policy", "test", "-", "--client", "192.0.2.9", "--direction", "out"); out != "no rule matches\nverdict: accept\n" {
		t.Errorf("nothing to say: %q", out)
	}
	c.good("", "policy", "set", "friend", "--disabled")
	c.good("", "policy", "add", "--id", "mark", "--action", "tag", "--sender", "*@there.test")
	if out := c.good(bonusMail, "policy", "test", "-", "--from", "x@there.test"); !strings.HasSuffix(out, "verdict: reject, with the reply: No lotteries here\n") {
		t.Errorf("nothing is put on top of what is refused:\n%s", out)
	}
	c.bad(exitUsage, "is a folder", "", "policy", "test", t.TempDir())
	c.bad(exitUsage, "standard input has no message", "", "policy", "test", "-")
	c.bad(exitUsage, "write 192.0.2.7", bonusMail, "policy", "test", "-", "--client", "192.0.2")
	c.bad(exitFailed, "no such file", "", "policy", "test", filepath.Join(t.TempDir(), "none.eml"))
	c.bad(exitUsage, "in or out", bonusMail, "policy", "test", "-", "--direction", "up")
}

// A pipe with a name, as a shell makes of <(zcat letter.gz), can be read only once.
func TestPolicyTestReadsAPipe(t *testing.T) {
	c := newOfficeLine(t)
	c.good("", "policy", "add", "--action", "block", "--subject", "tien thuong")
	c.good("", "policy", "add", "--action", "block", "--body", "hello")
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(pipe, []byte(bonusMail), 0o600) }()
	if got := as[verdictJSON](t, c.good("", "policy", "test", pipe, "--json")); len(got.Matches) != 2 {
		t.Errorf("verdict %+v", got)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// What a rule looks for may have white space of any kind; the table stays one.
func TestPolicyListIsOneLineARule(t *testing.T) {
	c := newOfficeLine(t)
	c.good("", "policy", "add", "--action", "block", "--body", "dòng 1\ndòng 2")
	if out := c.good("", "policy", "list"); strings.Count(out, "\n") != 2 {
		t.Errorf("the table is\n%s", out)
	}
}

func TestRoutes(t *testing.T) {
	c := newOfficeLine(t)
	c.account("an@example.test")
	c.good("the smarthost's secret\n", "route", "set", "*", "--smarthost", "mail.isp.test:587", "--tls", "verify", "--user", "site", "--password-stdin")
	c.good("", "route", "set", "*.INVALID", "--reject", "There is no such domain")
	c.good("", "route", "set", "partner.test", "--mx", "--tls", "encrypt")
	list := as[[]admin.Route](t, c.good("", "route", "list", "--json"))
	if len(list) != 3 || list[0].Domain != "*" || list[0].Hosts != "mail.isp.test:587" || !list[0].Password || list[0].User != "site" || list[1].Domain != "*.invalid" || list[2].Kind != "mx" {
		t.Errorf("routes %+v", list)
	}
	// The password is nowhere to be seen: not in what is listed, not in the log, not in the replicated state.
	shown := c.good("", "route", "list") + c.good("", "route", "list", "--json") + c.good("", "policy", "log", "--json")
	v := c.m.View()
	records, err := v.Routes()
	v.Close()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(shown+string(records[0].Password), "smarthost's secret") {
		t.Errorf("the password is shown:\n%s", shown)
	}
	if got, err := c.office.secrets.open("route/*", records[0].Password); err != nil || string(got) != "the smarthost's secret" {
		t.Errorf("opened it is %q (%v)", got, err)
	}
	c.bad(exitFailed, "without TLS", "x\n", "route", "set", "b.test", "--smarthost", "mail.isp.test", "--tls", "none", "--user", "site", "--password-stdin")
	c.bad(exitFailed, "is of this site", "", "route", "set", "example.test", "--discard")
	c.bad(exitFailed, "no codes", "", "route", "set", "b.test", "--reject", "550 5.7.1 go away")
	c.bad(exitFailed, "write example.org", "", "route", "set", "b c", "--discard")
	c.bad(exitFailed, "TLS", "", "route", "set", "b.test", "--mx", "--tls", "maybe")
	c.bad(exitUsage, "say where the mail goes", "", "route", "set", "b.test", "--mx", "--discard")
	c.bad(exitUsage, "goes with --user", "x\n", "route", "set", "b.test", "--mx", "--password-stdin")
	c.good("", "route", "remove", "*.invalid", "--yes")
	c.bad(exitFailed, "not found", "", "route", "remove", "*.invalid", "--yes")
}

func TestAliasToAnotherSystemSaysSo(t *testing.T) {
	c := newOfficeLine(t)
	c.account("an@example.test")
	if out := c.good("", "alias", "add", "info@example.test", "an@example.test", "an@elsewhere.test"); out != "info@example.test: made\npasses mail on to other systems: an@elsewhere.test\n" {
		t.Errorf("add: %q", out)
	}
	if out := c.good("", "alias", "set", "info@example.test", "--remove", "an@elsewhere.test"); out != "info@example.test: changed\n" {
		t.Errorf("set: %q", out)
	}
}
