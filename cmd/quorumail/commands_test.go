package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/store"
)

// commandLine runs commands in this process against one real node.
type commandLine struct {
	t      *testing.T
	config string
}

func (c commandLine) run(stdin string, args ...string) (stdout, stderr string, err error) {
	root := rootCommand()
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(append(args, "--config", c.config))
	err = root.ExecuteContext(c.t.Context())
	return out.String(), errs.String(), err
}

// good runs a command that must succeed, and returns what it prints.
func (c commandLine) good(stdin string, args ...string) string {
	c.t.Helper()
	out, errs, err := c.run(stdin, args...)
	if err != nil {
		c.t.Fatalf("quorumail %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return out
}

// bad runs a command that must fail with this exit code and an error that contains text.
func (c commandLine) bad(code int, text, stdin string, args ...string) {
	c.t.Helper()
	_, _, err := c.run(stdin, args...)
	if err == nil || exitCode(err) != code || !strings.Contains(err.Error(), text) {
		c.t.Errorf("quorumail %s: exit code %d, %v; want %d, and %q", strings.Join(args, " "), exitCode(err), err, code, text)
	}
}

func as[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if strings.Count(text, "\n") != 1 {
		t.Errorf("JSON of more than one line: %q", text)
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func TestCommands(t *testing.T) {
	d := startCluster(t, 1, 0)
	c := commandLine{t, d.Config}
	t.Run("domains", c.domains)
	t.Run("accounts", func(t *testing.T) { commandLine{t, c.config}.accounts(d) })
	t.Run("app passwords", func(t *testing.T) { commandLine{t, c.config}.appPasswords(d) })
	t.Run("aliases and groups", func(t *testing.T) { commandLine{t, c.config}.aliases() })
	t.Run("settings", func(t *testing.T) { commandLine{t, c.config}.settings() })
	t.Run("log level", func(t *testing.T) { commandLine{t, c.config}.logLevel(d) })
	t.Run("usage", func(t *testing.T) { commandLine{t, c.config}.usage() })
	t.Run("configuration", func(t *testing.T) { commandLine{t, c.config}.configuration() })
}

func (c commandLine) domains(t *testing.T) {
	c.t = t
	c.good("", "domain", "add", "xn--mller-kva.example", "--suspended")
	c.bad(exitFailed, "already exists", "", "domain", "add", "müller.example")
	c.bad(exitFailed, "invalid", "", "domain", "add", "no domain")
	got := as[admin.Domain](t, c.good("", "domain", "show", "MÜLLER.example", "--json"))
	if got != (admin.Domain{Name: "müller.example", Suspended: true}) {
		t.Errorf("domain %+v", got)
	}
	c.good("", "domain", "set", "müller.example", "--suspended=false", "--catch-all", "an@example.test")
	if out := c.good("", "domain", "list"); !strings.Contains(out, "müller.example  0         active  an@example.test\n") {
		t.Errorf("list:\n%s", out)
	}
	c.bad(exitUsage, "--yes", "", "domain", "remove", "müller.example")
	c.good("", "domain", "remove", "müller.example", "--yes")
	c.bad(exitFailed, "not found", "", "domain", "show", "müller.example")
	c.bad(exitFailed, "remove an@example.test", "", "domain", "remove", "example.test", "-y")
}

func (c commandLine) accounts(d *devCluster) {
	t := c.t
	node := d.Nodes[0]
	c.good("a good password\n", "account", "add", "chi@example.test", "--password-stdin", "--name", "Lê Thị Chi 東京", "--quota", "5GiB")
	c.bad(exitFailed, "already exists", "a good password\n", "account", "add", "CHI@example.test")
	c.bad(exitFailed, "add it first", "a good password\n", "account", "add", "chi@elsewhere.test")
	c.bad(exitFailed, "fewer than 10", "short\n", "account", "add", "dung@example.test")
	c.bad(exitFailed, "held no password", "", "account", "add", "dung@example.test")
	c.bad(exitUsage, `"none" or "default"`, "x\n", "account", "add", "dung@example.test", "--quota", "much")
	c.bad(exitUsage, "say what to change", "", "account", "set", "chi@example.test")
	if err := loginOver("imap", node, devAccount("chi@example.test", "a good password")); err != nil {
		t.Errorf("log in: %v", err)
	}
	c.good("another-password\n", "account", "passwd", "chi@example.test", "--password-stdin")
	for _, protocol := range []string{"imap", "smtp"} {
		if err := loginOver(protocol, node, devAccount("chi@example.test", "another-password")); err != nil {
			t.Errorf("log in by %s: %v", protocol, err)
		}
	}
	got := as[admin.Account](t, c.good("", "account", "show", "chi@example.test", "--json"))
	if got.Name != "Lê Thị Chi 東京" || got.QuotaBytes != 5<<30 || got.LimitBytes != 5<<30 || got.Suspended {
		t.Errorf("account %+v", got)
	}
	if out := c.good("", "account", "show", "chi@example.test"); !strings.Contains(out, "bytes:     0 B of 5 GiB (its own quota)\n") || !strings.Contains(out, "messages:  0 of no limit (the cluster's default)\n") {
		t.Errorf("show:\n%s", out)
	}
	c.good("", "account", "set", "chi@example.test", "--suspended", "--quota", "none", "--quota-messages", "1000")
	got = as[admin.Account](t, c.good("", "account", "show", "chi@example.test", "--json"))
	if !got.Suspended || got.QuotaBytes != store.Unlimited || got.LimitBytes != 0 || got.LimitMessages != 1000 || got.Name != "Lê Thị Chi 東京" {
		t.Errorf("account %+v", got)
	}
	if err := loginOver("imap", node, devAccount("chi@example.test", "a good password")); err == nil {
		t.Error("the old password was taken")
	}
	if err := loginOver("imap", node, devAccount("chi@example.test", "another-password")); err == nil {
		t.Error("a suspended account was let in")
	}
	if err := deliver(node.SMTP, "x@example.net", "chi@example.test", []byte("Subject: x\r\n\r\nx\r\n")); err != nil {
		t.Errorf("mail for a suspended account: %v", err)
	}
	if out := c.good("", "status"); !strings.Contains(out, "\nqueues: in: 0, local: 1, remote: 0") {
		t.Errorf("the mail of a suspended account does not wait:\n%s", out)
	}
	c.good("", "account", "set", "chi@example.test", "--suspended=false")
	await(t, "what waited while the account was suspended", func() bool {
		return as[admin.Account](t, c.good("", "account", "show", "chi@example.test", "--json")).Messages == 1
	})
	list := as[[]admin.Account](t, c.good("", "account", "list", "--json"))
	if len(list) != 3 || list[2].Address != "chi@example.test" || list[2].Messages != 1 {
		t.Errorf("list %+v", list)
	}
	c.bad(exitUsage, "and its 1 messages", "", "account", "remove", "chi@example.test")
	c.good("", "account", "remove", "chi@example.test", "--yes")
	c.bad(exitFailed, "not found", "", "account", "show", "chi@example.test")
	c.bad(exitFailed, "not found", "", "account", "remove", "chi@example.test", "--yes")
}

func (c commandLine) appPasswords(d *devCluster) {
	t := c.t
	if out := c.good("", "account", "app-password", "list", "an@example.test", "--json"); out != "[]\n" {
		t.Errorf("none yet: %q", out)
	}
	p := as[admin.AppPassword](t, c.good("", "account", "app-password", "add", "an@example.test", "điện thoại", "--json"))
	if p.Label != "điện thoại" || p.Password == "" || p.ID == "" || p.Created.IsZero() {
		t.Errorf("made %+v", p)
	}
	if err := loginOver("imap", d.Nodes[0], devAccount("an@example.test", p.Password)); err != nil {
		t.Errorf("log in: %v", err)
	}
	list := as[[]admin.AppPassword](t, c.good("", "account", "app-password", "list", "an@example.test", "--json"))
	if len(list) != 1 || list[0].ID != p.ID || list[0].Password != "" {
		t.Errorf("list %+v", list)
	}
	c.bad(exitFailed, "not found", "", "account", "app-password", "remove", "an@example.test", "nothing", "--yes")
	c.good("", "account", "app-password", "remove", "an@example.test", p.ID, "--yes")
	if err := loginOver("imap", d.Nodes[0], devAccount("an@example.test", p.Password)); err == nil {
		t.Error("a removed app password was taken")
	}
}

func (c commandLine) aliases() {
	t := c.t
	c.good("", "alias", "add", "info@example.test", "an@example.test", "--description", "for the web site")
	c.bad(exitFailed, "already exists", "", "alias", "add", "info@example.test", "binh@example.test")
	c.bad(exitFailed, "neither an account", "", "alias", "set", "info@example.test", "nobody@example.test")
	c.good("", "group", "add", "team@example.test", "an@example.test", "info@example.test")
	c.good("", "group", "set", "team@example.test", "--add", "binh@example.test", "--remove", "AN@example.test")
	got := as[admin.Alias](t, c.good("", "group", "show", "team@example.test", "--json"))
	if !got.Group || strings.Join(got.Targets, " ") != "info@example.test binh@example.test" {
		t.Errorf("group %+v", got)
	}
	c.bad(exitFailed, "is no target", "", "group", "set", "team@example.test", "--remove", "an@example.test")
	c.good("", "alias", "set", "info@example.test", "--description", "")
	if out := c.good("", "alias", "list"); out != "ADDRESS            TARGETS          DESCRIPTION\ninfo@example.test  an@example.test\n" {
		t.Errorf("list:\n%s", out)
	}
	if out := c.good("", "group", "list", "--json"); len(as[[]admin.Alias](t, out)) != 1 {
		t.Errorf("groups %s", out)
	}
	c.bad(exitFailed, "not found", "", "alias", "remove", "team@example.test", "--yes")
	c.bad(exitUsage, "say what to change", "", "group", "set", "team@example.test")
	c.good("", "group", "remove", "team@example.test", "--yes")
	c.good("", "alias", "remove", "info@example.test", "--yes")
	if out := c.good("", "alias", "list", "--json"); out != "[]\n" {
		t.Errorf("none left: %q", out)
	}
}

func (c commandLine) settings() {
	t := c.t
	all := as[[]admin.Setting](t, c.good("", "set", "--json"))
	if len(all) != len(config.Settings()) {
		t.Errorf("%d settings listed of %d", len(all), len(config.Settings()))
	}
	for _, s := range all {
		if s.Set || s.Value != s.Default || s.Doc == "" || s.Type == "" {
			t.Errorf("setting %+v", s)
		}
	}
	if out := c.good("", "set", "account.quota_bytes", "1024 kib"); out != "account.quota_bytes = 1MiB\n" {
		t.Errorf("set: %q", out)
	}
	if got := as[admin.Account](t, c.good("", "account", "show", "an@example.test", "--json")); got.QuotaBytes != 0 || got.LimitBytes != 1<<20 {
		t.Errorf("account %+v", got)
	}
	if got := as[admin.Setting](t, c.good("", "set", "account.quota_bytes", "--json")); !got.Set || got.Value != "1MiB" || got.Default != "0B" {
		t.Errorf("show %+v", got)
	}
	c.bad(exitFailed, `did you mean "account.quota_bytes"?`, "", "set", "account.quota_byte", "1MiB")
	c.bad(exitFailed, "is no size: write a whole number with its unit", "", "set", "account.quota_bytes", "much")
	c.bad(exitFailed, "out of range: choose 100 to 10000", "", "set", "smtp.max_recipients", "1")
	c.bad(exitUsage, "--reset goes with one name", "", "set", "--reset")
	c.good("", "set", "account.quota_bytes", "--reset")
	if out := c.good("", "set", "delivery.plus_separator", ""); out != "delivery.plus_separator = \"\"\n" {
		t.Errorf("set to nothing: %q", out)
	}
	c.good("", "set", "delivery.plus_separator", "--reset")
	if out := c.good("", "set"); !strings.HasPrefix(out, "NAME ") || !strings.Contains(out, "\naccount.quota_bytes ") {
		t.Errorf("table:\n%s", out)
	}
}

func (c commandLine) logLevel(d *devCluster) {
	t := c.t
	if out := c.good("", "admin", "log-level", "--json"); out != "{\"level\":\"info\"}\n" {
		t.Errorf("level %s", out)
	}
	c.good("", "admin", "log-level", "debug")
	c.good("", "admin", "log-level", "WARN")
	if out := c.good("", "admin", "log-level"); out != "level:  warn\n" {
		t.Errorf("level %q", out)
	}
	c.bad(exitFailed, "choose debug, info, warn or error", "", "admin", "log-level", "loud")
	c.good("", "admin", "log-level", "info")
	if raw, err := os.ReadFile(filepath.Join(d.dir, "n1", "log")); err != nil || !bytes.Contains(raw, []byte("the log level was changed")) {
		t.Errorf("the change is not in the log: %v", err)
	}
}

func (c commandLine) usage() {
	c.bad(exitUsage, `did you mean "account"?`, "", "acount")
	c.bad(exitUsage, `did you mean "list"?`, "", "account", "lst")
	c.bad(exitUsage, "account add ADDRESS", "", "account", "add")
	c.bad(exitUsage, "unknown flag: --pasword", "", "account", "add", "x@example.test", "--pasword", "x")
	elsewhere := commandLine{c.t, filepath.Join(c.t.TempDir(), "node.toml")}
	elsewhere.bad(exitFailed, "config show --defaults", "", "account", "list")
	if err := os.WriteFile(elsewhere.config, []byte("name = \"n1\"\nhostname = \"n1.example.test\"\ndata_dir = \"data\"\n"), 0o600); err != nil {
		c.t.Fatal(err)
	}
	elsewhere.bad(exitTryAgain, "the node has never run", "", "account", "list")
	if out := c.good("", "account"); !strings.Contains(out, "Available Commands:") {
		c.t.Errorf("help:\n%s", out)
	}
}

func (c commandLine) configuration() {
	t := c.t
	if out := c.good("", "config", "check"); !strings.HasSuffix(out, "node.toml: good\n") {
		t.Errorf("check: %q", out)
	}
	inForce := c.good("", "config", "show")
	if !strings.Contains(inForce, "insecure_loopback_auth = true\n") || !strings.Contains(inForce, "max_connections = 10000\n") {
		t.Errorf("show:\n%s", inForce)
	}
	path := filepath.Join(t.TempDir(), "node.toml")
	defaults := c.good("", "config", "show", "--defaults")
	if err := os.WriteFile(path, []byte(defaults+"bogus = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.bad(exitFailed, fmt.Sprintf("node.toml:%d: delivery.bogus: unknown key", strings.Count(defaults, "\n")+1), "", "config", "check", path)
}

func TestTablesAreAlignedOnTheScreen(t *testing.T) {
	var b bytes.Buffer
	// A combining accent takes no column, a CJK letter two.
	if err := printTable(&b, [][]string{{"NAME", "X"}, {"e\u0301", "1"}, {"東京", "2"}, {"abc", ""}}); err != nil {
		t.Fatal(err)
	}
	if want := "NAME  X\ne\u0301     1\n東京  2\nabc\n"; b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestExitCodes(t *testing.T) {
	for code, err := range map[int]error{0: nil, exitFailed: store.ErrNotFound, exitUsage: usageError{errors.New("x")}, exitTryAgain: fmt.Errorf("x: %w", store.ErrUnknownOutcome)} {
		if got := exitCode(err); got != code {
			t.Errorf("%v: %d, want %d", err, got, code)
		}
	}
}
