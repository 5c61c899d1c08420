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

func FuzzDecodePlain(f *testing.F) {
	f.Add([]byte("\x00tim\x00tanstaaftanstaaf"))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := DecodePlain(in)
		if err == nil && p.Identity+"\x00"+p.User+"\x00"+p.Password != string(in) {
			t.Errorf("%q: %+v", in, p)
		}
	})
}
