package smtpd

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// bdat sends a message of BODY=BINARYMIME.
func (c *client) bdat(message, pattern string) {
	c.t.Helper()
	c.say("MAIL FROM:<x@remote.example> BODY=BINARYMIME", "250*")
	c.say("RCPT TO:<alice@example.test>", "250*")
	c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(message), message))
	c.expect(pattern)
}

func lines64(s string) string {
	text := base64.StdEncoding.EncodeToString([]byte(s))
	var b strings.Builder
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	return b.String() + text + "\r\n"
}

func TestBinaryContentBecomesBase64(t *testing.T) {
	every := make([]byte, 0, 300)
	for i := range 300 {
		every = append(every, byte(i))
	}
	nasty := string(every) + "\n.\r\r\n--other\r\n-- \r\n\x00\r\n"
	const b = "Content-Transfer-Encoding: binary\r\n"
	const b64 = "Content-Transfer-Encoding: base64\r\n"
	const eight = "Content-Transfer-Encoding: 8bit\r\n"
	for name, tt := range map[string]struct{ in, want string }{
		"one part":       {"Subject: x\r\n" + b + "\r\n" + nasty, "Subject: x\r\n" + b64 + "\r\n" + lines64(nasty)},
		"empty":          {b + "\r\n", b64 + "\r\n"},
		"no binary part": {"Subject: x\r\n\r\ntext\r\n--x\r\n", "Subject: x\r\n\r\ntext\r\n--x\r\n"},
		"two parts": {"Content-Type: multipart/mixed;\r\n boundary=\"o o\"\r\n" + b + "\r\npreamble\r\n--o o\r\n" + b + "\r\n" + nasty + "\r\n--o o  \r\n\r\ntext\r\n--o o--\r\nepilogue\r\n",
			"Content-Type: multipart/mixed;\r\n boundary=\"o o\"\r\n" + eight + "\r\npreamble\r\n--o o\r\n" + b64 + "\r\n" + lines64(nasty) + "--o o  \r\n\r\ntext\r\n--o o--\r\nepilogue\r\n"},
		"an empty part": {"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + b + "\r\n--o--\r\n",
			"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + b64 + "\r\n--o--\r\n"},
		"a part without a body": {"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + b + "--o--\r\n",
			"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + b + "--o--\r\n"},
		"nested": {"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n" + b + "\r\nSubject: y\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n" + b + "\r\nA\nB\r\n--o--\r\n",
			"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n" + eight + "\r\nSubject: y\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n" + b64 + "\r\n" + lines64("A\nB") + "--o--\r\n"},
		"cut off": {"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + b + "\r\nA\r\n", "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + b64 + "\r\n" + lines64("A\r\n")},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in))} {
				if got, err := io.ReadAll(newTextual(r)); err != nil || string(got) != tt.want {
					t.Errorf("got\n%q\nwant\n%q\n%v", got, tt.want, err)
				}
			}
			r := start(t, MX, nil)
			c := r.hello()
			c.bdat(tt.in, "250 2.6.0*")
			m := r.one()
			if !bytes.HasSuffix(m.raw, []byte("+0100\r\n"+tt.want)) || m.msg.Envelope.Binary || m.msg.Envelope.EightBit {
				t.Errorf("stored %q, %v", m.raw, m.msg.Envelope)
			}
		})
	}
}

// The key of a message that is sent again is of what the client sent.
func TestResendKeyOfBinaryContent(t *testing.T) {
	r := start(t, MX, nil)
	c := r.hello()
	message := "Message-ID: <m@x>\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00"
	c.bdat(message, "250*")
	digest := sha256.Sum256([]byte(message))
	want := sha256.Sum256([]byte("quorumail resend 1\x00x@remote.example\x00<m@x>\x00" + string(digest[:])))
	if got := r.one().msg.ResendKey; !bytes.Equal(got, want[:]) {
		t.Errorf("%x, want %x", got, want)
	}
}

// Where a part is not said to be binary, what is no line end is refused as ever; a trusted client's is not guessed at.
func TestBinaryContentInATextIsRefused(t *testing.T) {
	for _, change := range []func(*Config){nil, loopbackTrusted} {
		c := start(t, MX, change).hello()
		c.bdat("Subject: x\r\n\r\na\nb\r\n", "550 5.6.0*")
		c.bdat("Content-Transfer-Encoding: binary\nX: y\r\n\r\na\r\n", "550 5.6.0*")
		c.bdat(strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 100)+"Content-Transfer-Encoding: binary\r\n\r\nx", "250*")
	}
}

// FuzzTextual brings any content: what is left of it holds no lone line ends unless they were outside of binary parts, and no byte more than base64
// takes.
func FuzzTextual(f *testing.F) {
	for _, s := range []string{"Content-Transfer-Encoding: binary\r\n\r\n\x00", "Content-Type: multipart/x; boundary=a\r\n\r\n--a\r\nContent-Transfer-Encoding: binary\r\n\r\n\n\r\n--a--\r\n",
		"Content-Type: message/rfc822\r\n\r\nContent-Transfer-Encoding: binary\r\n\r\nx", "\r\n", "", "a", "--a\r\n", "0\r\n\r\n0"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, err := io.ReadAll(newTextual(bytes.NewReader(in)))
		if err != nil {
			return
		}
		single, err := io.ReadAll(newTextual(iotest.OneByteReader(bytes.NewReader(in))))
		if err != nil || !bytes.Equal(whole, single) {
			t.Fatalf("%q: %q at once, %q by bytes, %v", in, whole, single, err)
		}
		if len(whole) > 2*len(in)+2 {
			t.Fatalf("%d bytes become %d", len(in), len(whole))
		}
		if !bytes.Contains(bytes.ToLower(in), []byte("binary")) && !bytes.Equal(whole, in) {
			t.Fatalf("%q becomes %q", in, whole)
		}
	})
}
