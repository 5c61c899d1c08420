package config

import (
	"strings"
	"testing"
	"time"
)

func TestEverySettingIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Settings() {
		if seen[s.Name] || !strings.Contains(s.Name, ".") || s.Doc == "" || s.Type == "" {
			t.Errorf("%+v", s)
		}
		seen[s.Name] = true
		if got, err := s.Normalize(s.Default); err != nil || got != s.Default {
			t.Errorf("%s: its default %q becomes %q, %v", s.Name, s.Default, got, err)
		}
		if found, err := FindSetting(s.Name); err != nil || found.Name != s.Name {
			t.Errorf("%s: found %q, %v", s.Name, found.Name, err)
		}
	}
}

func TestNormalizeSetting(t *testing.T) {
	for _, tc := range []struct{ name, in, want, err string }{
		{name: "account.quota_bytes", in: "52428800", want: "50MiB"},
		{name: "account.quota_bytes", in: " 25 mib ", want: "25MiB"},
		{name: "account.quota_bytes", in: "1MB", want: "1000000B"},
		{name: "account.quota_bytes", in: "2048TiB", err: "account.quota_bytes: 2048TiB is out of range: choose 0B to 1024TiB"},
		{name: "account.quota_bytes", in: "99999999999999999999", err: "is no size"},
		{name: "account.quota_bytes", in: "9999999999TiB", err: "is no size"},
		{name: "smtp.max_recipients", in: "99", err: "99 is out of range: choose 100 to 10000"},
		{name: "smtp.max_recipients", in: "many", err: `"many" is no whole number`},
		{name: "smtp.max_recipients", in: "500", want: "500"},
		{name: "smtp.max_errors", in: " 25 ,lmtp = 100,submission=50", want: "25, submission=50, lmtp=100"},
		{name: "smtp.max_errors", in: "25, smtp=25", want: "25"},
		{name: "smtp.max_errors", in: "25, smtp=0", err: "smtp.max_errors: 0 is out of range: choose 1 to 10000"},
		{name: "smtp.max_errors", in: "25, smtp=few", err: `"few" is no whole number: choose 1 to 10000`},
		{name: "smtp.max_errors", in: "25, imap=30", err: `"imap" is no listener for mail: choose smtp, submission, submissions, lmtp`},
		{name: "smtp.max_errors", in: "25, 30", err: `"30" has no listener: write it as in "25, submission=50"`},
		{name: "smtp.max_errors", in: "25,", err: `"" has no listener`},
		{name: "smtp.max_errors", in: "smtp=30", err: "begin with the number for all"},
		{name: "smtp.max_errors", in: "25, smtp=30, smtp=31", err: "smtp is named twice"},
		{name: "mailbox.undelete_window", in: "36h", want: "36h"},
		{name: "mailbox.undelete_window", in: "48h", want: "2d"},
		{name: "mailbox.undelete_window", in: "0", want: "0s"},
		{name: "mailbox.undelete_window", in: "90m", want: "1h30m"},
		{name: "mailbox.undelete_window", in: "-1h", err: "is no length of time"},
		{name: "mailbox.undelete_window", in: "99999999999d", err: "is no length of time"},
		{name: "smtp.vrfy_for_users", in: "On", want: "yes"},
		{name: "smtp.vrfy_for_users", in: "maybe", err: "neither yes nor no"},
		{name: "smtp.trusted_networks", in: " 192.0.2.0/24,2001:DB8::/32 , 198.51.100.7", want: "192.0.2.0/24, 2001:db8::/32, 198.51.100.7"},
		{name: "smtp.trusted_networks", in: "", want: ""},
		{name: "smtp.trusted_networks", in: "192.0.2.1/24", err: "did you mean 192.0.2.0/24?"},
		{name: "smtp.trusted_networks", in: "fe80::1%eth0", err: "is no network"},
		{name: "smtp.trusted_networks", in: "example.org", err: "is no network"},
		{name: "smtp.trusted_networks", in: strings.Repeat("192.0.2.1,", 257), err: "257 networks: choose 256 at most"},
		{name: "delivery.plus_separator", in: "-", want: "-"},
		{name: "delivery.plus_separator", in: "", want: ""},
		{name: "delivery.plus_separator", in: "@", err: "choose +, -, =, -- or nothing"},
	} {
		s, err := FindSetting(tc.name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Normalize(tc.in)
		if got != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s = %q: got %q, %v", tc.name, tc.in, got, err)
		}
	}
}

func TestFindSettingProposes(t *testing.T) {
	if _, err := FindSetting("smtp.max_recipient"); err == nil || !strings.Contains(err.Error(), `did you mean "smtp.max_recipients"?`) {
		t.Errorf("got %v", err)
	}
}

func TestSettingFromStoredValues(t *testing.T) {
	stored := map[string]string{"mailbox.undelete_window": "3d", "smtp.max_recipients": "7", "smtp.max_errors": "10, lmtp=90"}
	lookup := func(name string) (string, bool) { v, ok := stored[name]; return v, ok }
	if got := MailboxUndeleteWindow.From(lookup); got != 72*time.Hour {
		t.Errorf("stored: got %v", got)
	}
	if got := AuthArgon2Memory.From(lookup); got != 19<<20 {
		t.Errorf("not stored: got %d", got)
	}
	// Out of this version's range, as after going back to an older one: the default, rather than a limit that nobody tested.
	if got := SMTPMaxRecipients.From(lookup).Of("smtp"); got != 1000 {
		t.Errorf("out of range: got %d", got)
	}
	for listener, want := range map[string]int{"smtp": 10, "submission": 10, "submissions": 10, "lmtp": 90} {
		if got := SMTPMaxErrors.From(lookup).Of(listener); got != want {
			t.Errorf("%s: got %d, want %d", listener, got, want)
		}
	}
}

// Whatever is accepted is stored in a form that is read again as the same value.
func FuzzNormalizeSetting(f *testing.F) {
	for _, s := range Settings() {
		f.Add(s.Name, s.Default)
	}
	f.Add("account.quota_bytes", "1.5 GiB")
	f.Add("mailbox.undelete_window", "106751d")
	f.Add("auth.max_delay", "9223372036854775807ns")
	f.Add("smtp.max_errors", "25, lmtp=100,smtp=3")
	f.Fuzz(func(t *testing.T, name, value string) {
		s, err := FindSetting(name)
		if err != nil {
			return
		}
		stored, err := s.Normalize(value)
		if err != nil {
			return
		}
		if again, err := s.Normalize(stored); err != nil || again != stored {
			t.Fatalf("%s = %q is stored as %q, which becomes %q, %v", name, value, stored, again, err)
		}
	})
}
