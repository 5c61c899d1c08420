package dsn

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// FuzzBuild: whatever others wrote, the notice has three parts, as many groups of fields as there are recipients and one, and lines that can be
// sent; the original comes back as it was.
func FuzzBuild(f *testing.F) {
	f.Add("Họp", "<1@b>", "env", "rfc822;a@b", "5.1.1", "mx.example.org", "550 5.1.1 no\nsuch user", "bình@b", "A: b\r\n\r\nx", uint8(1), uint8(1))
	f.Add("\r\nX: y", "<a b>", "\x00", "utf-8;bình@b", "9", "[::1]", "--=_x--", "a@b", "Return-Path: <>\r\n x\r\nA: \xff\r\n", uint8(2), uint8(2))
	f.Add("", "", "", ";", "", "", strings.Repeat("w", 2000), `"a b"@c`, "\n\n", uint8(3), uint8(0))
	f.Fuzz(func(t *testing.T, subject, id, envid, orcpt, status, remote, diagnostic, final, original string, kind, ret uint8) {
		r := failure(t)
		to, err := smtp.ParseAddress(final)
		if err != nil {
			return
		}
		r.Kind, r.Ret = Failed+Kind(kind)%DoubleBounce, Ret(ret%3)
		r.Subject, r.MessageID, r.EnvID, r.Original = subject, id, envid, content(original)
		if kind > 127 {
			r.To = to
		}
		r.Recipients[0] = Recipient{Final: to, Original: orcpt, Status: status, RemoteMTA: remote, Diagnostic: diagnostic}
		notice := build(t, r)
		checkWire(t, notice)
		_, parts := partsOf(t, notice)
		if len(parts) != 3 || strings.Count(parts[1].text, "\r\n\r\n") != 1 || !utf8.ValidString(parts[0].text) {
			t.Fatalf("%+q", parts)
		}
		if parts[2].kind == "message/rfc822" || parts[2].kind == "message/global" {
			if back := parts[2].text; !strings.HasSuffix(original, back) || len(original)-len(back) > 0 && !strings.EqualFold(original[:min(12, len(original))], "return-path:") {
				t.Fatalf("%q came back as %q", original, back)
			}
		}
	})
}
