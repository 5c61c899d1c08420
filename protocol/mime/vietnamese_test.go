package mime

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestVietnameseCharsets(t *testing.T) {
	const want = "Tiền thưởng, Đặng Ữ"
	for name, raw := range map[string]string{
		"viscii":       "Ti\xabn th\xdf\xb7ng, \xd0\xa3ng \xff",
		"TCVN5712-1":   "Ti\xd2n th\xad\xebng, \xa7\xc6ng \x06",
		"x-viet-tcvn":  "Ti\xaa\xb0n th\xad\xac\xb1ng, \xa7\xa8\xb4ng \xa6\xb2", // marks of their own
		"windows-1258": "Ti\xea\xccn th\xfd\xf5\xd2ng, \xd0\xe3\xf2ng \xdd\xde",
	} {
		if got := norm.NFC.String(DecodeCharset(name, []byte(raw))); got != want {
			t.Errorf("%s: %q", name, got)
		}
		streamed, err := io.ReadAll(iotest.OneByteReader(charsetReader(name, iotest.OneByteReader(strings.NewReader(raw)))))
		if err != nil || norm.NFC.String(string(streamed)) != want {
			t.Errorf("%s, streamed: %q, %v", name, streamed, err)
		}
		if !KnownCharset(name) {
			t.Errorf("%s is not known", name)
		}
	}
}

// The C library knows the same letters.
func TestVietnameseCharsetsAgreeWithIconv(t *testing.T) {
	if _, err := exec.LookPath("iconv"); err != nil {
		t.Skip("iconv is not there")
	}
	for _, name := range []string{"VISCII", "TCVN"} {
		for b := range 256 {
			cmd := exec.Command("iconv", "-f", name, "-t", "UTF-8")
			cmd.Stdin = bytes.NewReader([]byte{byte(b)})
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s %#x: %v", name, b, err)
			}
			got := DecodeCharset(name, []byte{byte(b)})
			if got != string(out) || utf8.RuneCountInString(got) != 1 {
				t.Errorf("%s %#x: %q, iconv has %q", name, b, got, out)
			}
		}
	}
}
