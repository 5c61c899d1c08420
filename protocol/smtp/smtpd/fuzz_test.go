package smtpd

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// spoken is a connection whose client has said all that it will say.
type spoken struct {
	in *bytes.Reader

	mu     sync.Mutex
	out    bytes.Buffer
	closed chan struct{}
	once   sync.Once
}

func (s *spoken) Read(b []byte) (int, error) { return s.in.Read(b) }

func (s *spoken) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(b)
}

func (s *spoken) Close() error                     { s.once.Do(func() { close(s.closed) }); return nil }
func (s *spoken) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25} }
func (s *spoken) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (s *spoken) SetDeadline(time.Time) error      { return nil }
func (s *spoken) SetReadDeadline(time.Time) error  { return nil }
func (s *spoken) SetWriteDeadline(time.Time) error { return nil }

// FuzzSession plays clients that say anything, alternately at a server that takes no repairs and at one that makes them (LMTP). No message
// is stored that was not answered with 250 2.6.0, or the other way round; none holds a line end that is not CRLF (RFC 5321 §2.3.8), nor a
// recipient that nobody named; each answer is a line of a reply.
func FuzzSession(f *testing.F) {
	const begin = "MAIL FROM:<x@remote.example>\r\nRCPT TO:<alice@example.test>\r\n"
	for _, s := range []string{
		begin + "DATA\r\na: b\r\n\r\n..x\r\n.\r\nQUIT\r\n",
		begin + "DATA\r\na: b\n.\nMAIL FROM:<>\r\n\r\n.\r\nRSET\r\nNOOP\r\n",
		begin + "DATA\r\n\r.\r\r\n.\r\nHELP\r\nVRFY x\r\n",
		begin + "BDAT 6\r\na: b\r\nBDAT 3 LAST\r\n\r\nx" + begin + "BDAT 4\r\nabcdRSET\r\nBDAT 0 LAST\r\n",
		begin + "RCPT TO:<\"a b\"@example.test>\r\nRCPT TO:<@x:bob@example.test>\r\nDATA\r\n.\r\n",
		"MAIL FROM:<> SMTPUTF8 BODY=8BITMIME SIZE=9\r\nRCPT TO:<j\xc3\xb6rg@example.test>\r\nDATA\r\nx\r\n.\r\nEHLO d\r\n",
		"AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=\r\nSTARTTLS\r\nNOOP\r\n",
		"MAIL FROM:<x@remote.example> BODY=BINARYMIME\r\nRCPT TO:<alice@example.test> NOTIFY=SUCCESS\r\nDATA\r\nBDAT 40 LAST\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\n\r",
		begin + begin + "DATA\r\n.\r\n.\r\nBDAT 99999999999999999999\r\nx",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, lmtp bool) {
		mode, hello := MX, "EHLO c\r\n"
		if lmtp {
			mode, hello = LMTP, "LHLO c\r\n"
		}
		fs := &fakeStore{codes: map[uint64]uint32{}}
		out := converse(t, mode, fs, hello+string(in))
		accepted := 0
		for _, line := range strings.Split(strings.TrimSuffix(out, "\r\n"), "\r\n") {
			if len(line) < 4 || strings.Trim(line[:3], "0123456789") != "" || line[3] != ' ' && line[3] != '-' || strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("%q is answered %q", in, line)
			}
			if strings.HasPrefix(line, "250 2.6.0 ") {
				accepted++
			}
		}
		stored := fs.stored()
		if accepted != len(stored) && !lmtp || lmtp && accepted < len(stored) {
			t.Fatalf("%q: %d messages stored, %d accepted: %q", in, len(stored), accepted, out)
		}
		for _, m := range stored {
			if bare := strings.ReplaceAll(string(m.raw), "\r\n", ""); strings.ContainsAny(bare, "\r\n\x00") || !bytes.HasSuffix(m.raw, []byte("\r\n")) {
				t.Fatalf("%q is stored as %q", in, m.raw)
			}
			if len(m.msg.Targets) == 0 {
				t.Fatalf("%q is stored for nobody", in)
			}
		}
	})
}

// converse runs a server for one client and returns what it was answered.
func converse(t *testing.T, mode Mode, fs *fakeStore, in string) string {
	dir := &fakeDirectory{}
	srv, err := New(Config{Mode: mode, Hostname: "mx.example.test", Store: fs, Resolver: dir, Auth: dir, NewSummarizer: func() Summarizer { return &fakeSummary{} },
		Limits: Limits{Counts: Counts{MessageBytes: 2000}}})
	if err != nil {
		t.Fatal(err)
	}
	conn := &spoken{in: bytes.NewReader([]byte(in)), closed: make(chan struct{})}
	l := newFeed(conn.LocalAddr())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	l.put(conn)
	<-conn.closed
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	conn.mu.Lock()
	defer conn.mu.Unlock()
	return conn.out.String()
}
