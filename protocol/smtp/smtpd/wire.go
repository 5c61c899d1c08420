package smtpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// The longest lines with their CRLF. RFC 4954 §4.3: 12288 bytes for AUTH, which is also well over the 512 of RFC 5321 §4.5.3.1.4 and what
// SMTPUTF8 (RFC 6531 §3.4) adds to it.
const maxCommandBytes = 12288 + 2

// How long, and for how much, a connection that this side ends waits for the client's end.
const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// wire is one client's connection. It reads the client's lines, hands commands on to go-smtp, and bodies to the session. See the package
// comment for why.
//
// The library's goroutine for this connection is the only reader, except within LMTP's DATA, where the session's is while the library's
// waits for it. Writers: the library's goroutine.
type wire struct {
	srv    *Server
	log    *slog.Logger
	id     string // names the connection in logs
	remote netip.Addr
	since  time.Time
	base   context.Context // the server's, without its cancellation; the library's interfaces carry no context

	br   *bufio.Reader
	conn net.Conn // the transport: TCP, or TLS over it
	tls  *tls.ConnectionState

	// Reading.
	pending   []byte       // of a line, not yet taken by the library
	line      []byte       // backs pending
	bdat      *chunks      // the message that comes by BDAT, or whose BDAT the library refused
	replay    []byte       // a command that was read within a body, and is the next one
	readErr   error        // sticky
	path      smtp.Address // of the last MAIL or RCPT, as the client wrote it
	pathASCII bool         // it was written without UTF-8
	binary    bool         // the last MAIL said BODY=BINARYMIME
	plainHelo bool         // the client said HELO, not EHLO
	endBody   bool         // the library is owed the end of a body that it did not see
	current   *side
	linger    bool // this side ends the connection

	counts     Counts   // that hold for it now
	session    *session // of the library's server that serves it now
	trusted    bool     // a client of a trusted network
	commands   int      // but for RCPT, since the last message that was taken
	unknown    int      // commands that were not recognised
	binaryMail bool     // the message under way is of BODY=BINARYMIME; set by the session

	wmu       sync.Mutex
	bw        *bufio.Writer
	skip      bool   // the next reply is the second greeting: drop it
	override  string // stands in for the next 250 reply
	hidden354 bool   // DATA stands for BDAT: its 354 is not sent
	muted     bool   // nothing the library says is sent
	challenge bool   // the last reply was 334: the next line is no command
	errors    int    // 4xx and 5xx replies since the last message that was taken
	partial   []byte // of a line that the library has not written to its end: it writes long ones in pieces

	mu        sync.Mutex
	waiting   bool      // for a command, with nothing begun
	commandBy time.Time // when the command that is waited for must have come
	goodbye   string    // unless "": end at the next command, with this reply
	closing   bool      // end at the next command, the reply is said already
	authed    bool      // STARTTLS is refused from now on
	deadline  time.Time // of the body under way; zero between bodies
	greetAt   time.Time // until then the client has to be silent; zero: it may speak
	expired   bool      // the client is waited for no longer, whatever it is at
	closed    bool
}

func newWire(srv *Server, base context.Context, conn net.Conn) *wire {
	w := &wire{srv: srv, base: base, conn: conn, since: time.Now(), id: newQueueID(time.Now()), counts: srv.cfg.counts()}
	w.remote = addrOf(conn.RemoteAddr())
	w.log = srv.cfg.Logger.With("pkg", "smtpd", "conn", w.id, "mode", srv.cfg.Mode.String())
	w.bind(conn)
	return w
}

// bind makes conn the transport.
func (w *wire) bind(conn net.Conn) {
	w.mu.Lock()
	w.conn = conn
	w.mu.Unlock()
	w.wmu.Lock()
	defer w.wmu.Unlock()
	w.br = bufio.NewReaderSize(netReader{w}, 32<<10)
	w.bw = bufio.NewWriterSize(netWriter{w}, 4<<10)
}

// netReader reads the transport with a deadline for each read, and sends what was written first: the client may wait for it.
type netReader struct{ w *wire }

func (r netReader) Read(b []byte) (int, error) {
	if err := r.w.flush(); err != nil {
		return 0, err
	}
	if err := r.w.armRead(); err != nil {
		return 0, err
	}
	return r.w.conn.Read(b)
}

// armRead sets the deadline of the next read, or says that there is to be none.
func (w *wire) armRead() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.expired || w.waiting && w.goodbye != "" {
		return os.ErrDeadlineExceeded
	}
	now, limits := time.Now(), w.srv.cfg.Limits
	until := w.commandBy // also within a line: a byte now and then is no command
	if end := w.since.Add(limits.Session); end.Before(until) {
		until = end
	}
	if !w.greetAt.IsZero() {
		until = w.greetAt
	}
	if !w.deadline.IsZero() {
		if until = now.Add(limits.Data); until.After(w.deadline) {
			until = w.deadline
		}
	}
	return w.conn.SetReadDeadline(until)
}

type netWriter struct{ w *wire }

func (n netWriter) Write(b []byte) (int, error) {
	if err := n.w.conn.SetWriteDeadline(time.Now().Add(n.w.srv.cfg.Limits.Write)); err != nil {
		return 0, err
	}
	return n.w.conn.Write(b)
}

func (w *wire) flush() error {
	w.wmu.Lock()
	defer w.wmu.Unlock()
	return w.bw.Flush()
}

// say writes a reply of the wire's own.
func (w *wire) say(line string) {
	w.wmu.Lock()
	defer w.wmu.Unlock()
	_, _ = w.bw.WriteString(line + "\r\n") // a write error comes back at the flush
	w.count(line)
}

// sayNoMore begins the reply to a recipient that one message more than has enough of. A client that offers many of them does nothing wrong,
// and is to send the message to those that were taken (RFC 5321 §4.5.3.1.10): these replies do not count as errors.
const sayNoMore = "452 4.5.3 "

// count keeps the number of refusals. The caller holds wmu.
func (w *wire) count(line string) {
	if len(line) > 3 && (line[0] == '4' || line[0] == '5') && line[3] == ' ' && !strings.HasPrefix(line, sayNoMore) {
		w.errors++
	}
	w.challenge = len(line) > 3 && line[:4] == "334 "
}

// write takes replies from the library: lines, or pieces of a long one. What a line means is seen in a whole one only.
func (w *wire) write(b []byte) (int, error) {
	w.wmu.Lock()
	defer w.wmu.Unlock()
	w.partial = append(w.partial, b...)
	line, whole := strings.CutSuffix(string(w.partial), "\r\n")
	if !whole {
		return len(b), nil
	}
	w.partial = w.partial[:0]
	if err := w.reply(line); err != nil {
		return 0, err
	}
	return len(b), nil
}

// reply sends a line of the library's, or what stands in for it, or nothing. The caller holds wmu.
func (w *wire) reply(line string) error {
	switch {
	case w.skip:
		w.skip = len(line) > 3 && line[3] == '-'
		return nil
	case w.muted:
		return nil
	}
	if hidden := w.hidden354; hidden {
		w.hidden354 = false
		if strings.HasPrefix(line, "354") {
			return nil
		}
	}
	line = w.corrected(line)
	w.count(line)
	if override := w.override; override != "" {
		w.override = ""
		if strings.HasPrefix(line, "250 ") {
			line = override
		}
	}
	_, err := w.bw.WriteString(line + "\r\n")
	return err
}

// instead replaces the library's next reply when that is a 250: its own have odd wording and general codes.
func (w *wire) instead(line string) {
	w.wmu.Lock()
	w.override = line
	w.wmu.Unlock()
}

// hide354 keeps back the library's answer to a DATA that the client did not say.
func (w *wire) hide354() {
	w.wmu.Lock()
	w.hidden354 = true
	w.wmu.Unlock()
}

// mute keeps back whatever the library says.
func (w *wire) mute(on bool) {
	w.wmu.Lock()
	w.muted = on
	w.wmu.Unlock()
}

func (w *wire) awaitsResponse() bool {
	w.wmu.Lock()
	defer w.wmu.Unlock()
	return w.challenge
}

func (w *wire) tooManyErrors() bool {
	w.wmu.Lock()
	defer w.wmu.Unlock()
	return w.errors >= w.counts.Errors
}

// wellBehaved forgets errors and commands: the client has sent a message. One whose lists hold a bad address now and then is no attacker.
func (w *wire) wellBehaved() {
	w.commands = 0
	w.wmu.Lock()
	w.errors = 0
	w.wmu.Unlock()
}

// endAfterReply closes the connection once the reply that follows was sent.
func (w *wire) endAfterReply() {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
}

// end ends the connection at the next command, with a reply that says why; at once when none is under way. The first reason counts.
func (w *wire) end(goodbye string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.goodbye == "" {
		w.goodbye = goodbye
	}
	if w.waiting {
		_ = w.conn.SetReadDeadline(time.Unix(1, 0)) // an error means that it is closed already
	}
}

// expire ends every wait for the client, also within a command or a body. What it is told then is the session's matter.
func (w *wire) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expired = true
	_ = w.conn.SetReadDeadline(time.Unix(1, 0)) // an error means that it is closed already
}

// bodyDeadline begins (true) or ends the time of a body.
func (w *wire) bodyDeadline(begin bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = time.Time{}
	if begin {
		w.deadline = time.Now().Add(w.srv.cfg.Limits.Message)
	}
}

func (w *wire) setAuthed() {
	w.mu.Lock()
	w.authed = true
	w.mu.Unlock()
}

// close sends what is written and closes the transport. It can be called again.
func (w *wire) close() error {
	w.mu.Lock()
	done := w.closed
	w.closed = true
	w.mu.Unlock()
	if done {
		return nil
	}
	_ = w.flush() // the client may be gone
	if w.linger {
		w.lingerClose()
	}
	w.srv.forget(w)
	return w.conn.Close()
}

// lingerClose lets the last reply arrive: closing a socket with unread input resets the connection, and the client may lose what it has not
// read yet.
func (w *wire) lingerClose() {
	raw := w.conn
	if t, ok := raw.(*tls.Conn); ok {
		_ = t.CloseWrite() // an error means that the client is gone
		raw = t.NetConn()
	}
	half, ok := raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || raw.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, raw, lingerBytes)
}

// abort closes the transport under whoever uses it.
func (w *wire) abort() {
	w.mu.Lock()
	conn := w.conn
	w.mu.Unlock()
	_ = conn.Close() // closed already is as well
}

// startTLS answers STARTTLS and returns the connection as the library shall see it from now on.
func (w *wire) startTLS() error {
	if w.br.Buffered() > 0 {
		// RFC 3207 §6: what came in the clear must not count as said under TLS.
		w.say("503 5.5.1 Nothing may follow STARTTLS before the handshake, closing connection")
		return errors.New("commands were sent together with STARTTLS")
	}
	w.say("220 2.0.0 Ready to start TLS")
	if err := w.flush(); err != nil {
		return err
	}
	return w.handshake(tls.Server(w.conn, w.srv.cfg.TLS))
}

// handshake completes TLS and makes it the transport.
func (w *wire) handshake(conn *tls.Conn) error {
	ctx, cancel := context.WithTimeout(w.base, w.srv.cfg.Limits.Handshake)
	defer cancel()
	if err := conn.SetDeadline(time.Now().Add(w.srv.cfg.Limits.Handshake)); err != nil {
		return err
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	w.bind(conn)
	state := conn.ConnectionState()
	w.tls = &state
	return nil
}

// side is the connection as one of the library's servers sees it: the one that offers STARTTLS, or the one that does not. STARTTLS ends
// the first and begins the second, so that nothing that the library remembers survives the handshake (RFC 3207 §4.2).
type side struct{ *wire }

func (s *side) Read(b []byte) (n int, err error) {
	if s.wire.current != s {
		return 0, io.EOF
	}
	defer func() {
		// The library guards what it calls for a command, not what reads one.
		if fault := recover(); fault != nil {
			s.wire.log.Error("panic", "remote", s.wire.remote, "fault", fault, "stack", string(debug.Stack()))
			s.wire.say("421 4.3.0 Internal error, closing connection")
			s.wire.readErr, s.wire.linger = io.EOF, true
			n, err = 0, io.EOF
		}
	}()
	return s.wire.read(s, b)
}

func (s *side) Write(b []byte) (int, error) {
	if s.wire.current != s {
		return 0, net.ErrClosed
	}
	return s.wire.write(b)
}

func (s *side) Close() error {
	if s.wire.current != s {
		return nil
	}
	return s.wire.close()
}

func (s *side) LocalAddr() net.Addr              { return s.conn.LocalAddr() }
func (s *side) RemoteAddr() net.Addr             { return s.conn.RemoteAddr() }
func (s *side) SetDeadline(time.Time) error      { return nil } // the wire sets its own
func (s *side) SetReadDeadline(time.Time) error  { return nil }
func (s *side) SetWriteDeadline(time.Time) error { return nil }

func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
