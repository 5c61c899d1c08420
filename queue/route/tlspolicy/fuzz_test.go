package tlspolicy

import (
	"strings"
	"testing"
	"time"
)

// FuzzSTSPolicy: what is read has a mode, patterns that are domains, and an age within bounds; the same with the other line end.
func FuzzSTSPolicy(f *testing.F) {
	for _, s := range []string{"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n", "version:STSv1\nmode:none\nmax_age:0", "a:b", "version: STSv1\nmode: testing\nmx: bücher.test\nmax_age: 99999999999"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := ParseSTSPolicy(raw)
		if err != nil {
			return
		}
		if p.MaxAge < 0 || p.MaxAge > maxSTSSeconds*time.Second || len(p.MX) == 0 && p.Mode != STSNone {
			t.Fatalf("%q: %+v", raw, p)
		}
		for _, pattern := range p.MX {
			if again, err := stsPatterns([]string{pattern}); err != nil || again[0] != pattern {
				t.Fatalf("%q: pattern %q", raw, pattern)
			}
			if host := strings.Replace(pattern, "*", "a", 1); !p.Match(host) && len(host) <= 255 {
				t.Fatalf("%q: %q does not match", raw, host)
			}
		}
	})
}

// FuzzSTSRecord: an ID is one of at most 32 letters and digits that stands in the record.
func FuzzSTSRecord(f *testing.F) {
	for _, s := range []string{"v=STSv1; id=20160831085700Z;", "v=STSv1;id=1", "v=STSv1; x=;", "v=STSv1;;id=a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := STSRecord([]string{"other", s})
		if ok && (len(id) < 1 || len(id) > 32 || !strings.Contains(s, "id="+id) || !strings.HasPrefix(s, "v=STSv1;")) {
			t.Fatalf("%q: %q", s, id)
		}
	})
}
