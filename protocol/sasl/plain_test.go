package sasl

import (
	"errors"
	"strings"
	"testing"
)

func TestDecodePlain(t *testing.T) {
	// RFC 4616 §4's examples.
	for in, want := range map[string]Plain{
		"\x00tim\x00tanstaaftanstaaf": {"", "tim", "tanstaaftanstaaf"},
		"Ursel\x00Kurt\x00xipj3plmq":  {"Ursel", "Kurt", "xipj3plmq"},
		"\x00bình\x00mật khẩu":        {"", "bình", "mật khẩu"},
	} {
		if got, err := DecodePlain([]byte(in)); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "tim", "\x00tim", "\x00\x00secret", "\x00tim\x00", "\x00tim\x00secret\x00", "\x00tim\x00se\x00cret", "\x00t\xffm\x00secret",
		"\x00" + strings.Repeat("u", MaxUserBytes+1) + "\x00secret", strings.Repeat("u", MaxUserBytes+1) + "\x00u\x00secret", "\x00u\x00" + strings.Repeat("p", MaxPasswordBytes+1)} {
		if got, err := DecodePlain([]byte(in)); !errors.Is(err, ErrResponse) {
			t.Errorf("%.40q: got %+v, %v", in, got, err)
		}
	}
}

func TestLogin(t *testing.T) {
	type step struct {
		response, challenge string
		absent, done, bad   bool
	}
	for name, steps := range map[string][]step{
		"asked for both":  {{absent: true, challenge: "Username:"}, {response: "tim", challenge: "Password:"}, {response: "secret", done: true}, {response: "more", bad: true}},
		"user at once":    {{response: "tim", challenge: "Password:"}, {response: "secret", done: true}},
		"empty user":      {{absent: true, challenge: "Username:"}, {response: "", bad: true}},
		"empty password":  {{response: "tim", challenge: "Password:"}, {response: "", bad: true}},
		"zero byte":       {{response: "t\x00m", bad: true}},
		"not text":        {{response: "t\xffm", bad: true}},
		"long user":       {{response: strings.Repeat("u", MaxUserBytes+1), bad: true}},
		"long password":   {{response: "tim", challenge: "Password:"}, {response: strings.Repeat("p", MaxPasswordBytes+1), bad: true}},
		"no second start": {{absent: true, challenge: "Username:"}, {absent: true, bad: true}},
	} {
		var l Login
		for i, s := range steps {
			response := []byte(s.response)
			if s.absent {
				response = nil
			}
			challenge, done, err := l.Next(response)
			if string(challenge) != s.challenge || done != s.done || errors.Is(err, ErrResponse) != s.bad {
				t.Errorf("%s, step %d: got %q, %v, %v", name, i, challenge, done, err)
			}
		}
		if last := steps[len(steps)-1]; last.done && (l.User != "tim" || l.Password != "secret") {
			t.Errorf("%s: got %+v", name, l)
		}
	}
}

func FuzzDecodePlain(f *testing.F) {
	f.Add([]byte("\x00tim\x00tanstaaftanstaaf"))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := DecodePlain(in)
		if err == nil && p.Identity+"\x00"+p.User+"\x00"+p.Password != string(in) {
			t.Errorf("%q: %+v", in, p)
		}
	})
}
