package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
)

const sayUnclean = "500 5.5.2 Lines end with CR LF, and hold no control characters"

// maxHelloBytes bounds the name in EHLO: as much as fits into a line that must be taken (RFC 5321 §4.5.3.1.4).
const maxHelloBytes = 512

var (
	errLongLine   = errors.New("line too long")
	errHandedOver = errors.New("the connection goes on under TLS")
)

// read gives the library what it may see: command lines, and the mere end of a body.
func (w *wire) read(s *side, b []byte) (int, error) {
	if w.endBody {
		w.endBody = false
		w.pending = []byte(".\r\n")
	}
	for {
		switch {
		case len(w.pending) > 0:
			n := copy(b, w.pending)
			w.pending = w.pending[n:]
			return n, nil
		case w.readErr != nil:
			return 0, w.readErr
		}
		switch err := w.readCommand(s); {
		case errors.Is(err, errHandedOver):
			return 0, io.EOF // the wire is another goroutine's now
		case err != nil:
			w.readErr, w.linger = err, true
		}
	}
}

// readCommand reads the next line and makes it pending, or answers it. An error ends the connection; io.EOF: all is said.
func (w *wire) readCommand(s *side) error {
	if goodbye := w.over(); goodbye != "" {
		w.say(goodbye)
		return io.EOF
	}
	if w.isClosing() {
		return io.EOF // after QUIT the library reads on, and has no session
	}
	line, err := w.nextLine()
	if err != nil {
		return w.lineError(err)
	}
	if w.awaitsResponse() {
		w.pass(line) // of an AUTH exchange: base64, whatever it may look like
		return nil
	}
	if !cleanCommand(line) {
		w.say(sayUnclean)
		return nil
	}
	// RFC 5321 §4.1.1: white space at the end is borne with.
	text := strings.TrimRight(string(line[:len(line)-2]), " \t")
	verb, arg, _ := strings.Cut(text, " ")
	return w.command(s, []byte(text+"\r\n"), strings.ToUpper(verb), arg)
}

// command acts on a command line, or passes it on.
func (w *wire) command(s *side, line []byte, verb, arg string) error {
	if verb != "RCPT" { // of those there may be many, and others count them
		w.commands++
	}
	switch verb {
	case "EHLO", "HELO", "LHLO":
		w.onHello(line, verb, arg)
	case "STARTTLS":
		return w.onStartTLS(s, line)
	case "MAIL":
		w.onPath(line, arg, "FROM:")
	case "RCPT":
		w.onPath(line, arg, "TO:")
	case "BDAT":
		return w.onBDAT(arg)
	case "DATA":
		w.onData(line)
	case "VRFY":
		w.onVerify(arg)
	case "NOOP", "RSET", "QUIT", "AUTH":
		w.pass(line)
	case "HELP": // RFC 5321 §4.1.1.8
		w.say("214 2.0.0 HELO EHLO MAIL RCPT DATA BDAT RSET VRFY NOOP QUIT STARTTLS AUTH HELP; RFC 5321 says more")
	case "EXPN", "SEND", "SOML", "SAML", "TURN", "ETRN": // RFC 5321 §4.2.4, appendix F
		w.say("502 5.5.1 " + verb + " is not available here")
	default:
		return w.unrecognised(verb)
	}
	return nil
}

// unrecognised answers what is no command (RFC 5321 §4.2.4). Who says too much of it, or speaks HTTP, is no mail client: a browser may have been
// made to send a form here.
func (w *wire) unrecognised(verb string) error {
	switch verb {
	case "GET", "HEAD", "POST", "PUT", "CONNECT", "OPTIONS":
		w.say("421 4.7.0 This is no web server, closing connection")
		return io.EOF
	}
	w.say("500 5.5.2 Command not recognised")
	if w.unknown++; w.unknown >= w.counts.Unrecognised {
		w.say("421 4.7.0 Too many errors, closing connection")
		return io.EOF
	}
	return nil
}

// onHello passes EHLO, HELO or LHLO on. The name is said again in replies, traces and logs.
func (w *wire) onHello(line []byte, verb, arg string) {
	if len(arg) > maxHelloBytes {
		w.say("501 5.5.2 That is too long for a host name")
		return
	}
	if arg != "" { // else it changes nothing
		w.plainHelo = verb == "HELO"
	}
	w.pass(line)
}

func (w *wire) onData(line []byte) {
	if w.binaryMail {
		w.say("503 5.5.1 A message of BODY=BINARYMIME comes by BDAT") // RFC 3030 §3
		return
	}
	w.pass(line)
}

// onVerify answers VRFY (RFC 5321 §3.5). Strangers learn nothing.
func (w *wire) onVerify(arg string) {
	verify := w.srv.cfg.VerifyForUsers
	switch {
	case strings.TrimSpace(arg) == "":
		w.say("501 5.5.4 VRFY needs an address")
	case verify == nil || w.session == nil || !w.session.authed || !verify():
		w.pass([]byte("VRFY x\r\n")) // the library says 252
	default:
		w.say(w.session.vrfy(strings.TrimSpace(arg)))
	}
}

// over says why no further command is read, or nothing.
func (w *wire) over() string {
	w.mu.Lock()
	goodbye, closing := w.goodbye, w.closing
	w.mu.Unlock()
	switch {
	case closing:
		return ""
	case goodbye != "":
		return goodbye
	case w.tooManyErrors():
		return "421 4.7.0 Too many errors, closing connection"
	case w.commands > w.counts.Commands:
		return "421 4.7.0 Too many commands, closing connection"
	case time.Since(w.since) > w.srv.cfg.Limits.Session:
		return "421 4.4.2 This connection has lasted long enough, closing it"
	}
	return ""
}

func (w *wire) isClosing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing || w.closed
}

// lineError ends the connection with what there is to say about err.
func (w *wire) lineError(err error) error {
	switch {
	case errors.Is(err, errLongLine):
		if w.awaitsResponse() {
			w.say("500 5.5.6 Response too long, closing connection") // RFC 4954 §4
		} else {
			w.say("500 5.5.2 Line too long, closing connection")
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		if goodbye := w.over(); goodbye != "" {
			w.say(goodbye)
		} else {
			w.say("421 4.4.2 Idle for too long, closing connection")
		}
	default:
		w.log.Debug("connection lost", "err", err)
	}
	return io.EOF
}

// nextLine is the line that ended a message given up, or the next one off the connection.
func (w *wire) nextLine() ([]byte, error) {
	w.mute(false)
	if err := w.skipChunk(); err != nil {
		return nil, err
	}
	if line := w.replay; line != nil {
		w.replay = nil
		return line, nil
	}
	return w.readLine()
}

// readLine reads up to and with a line feed. The slice holds until the next read.
func (w *wire) readLine() ([]byte, error) {
	w.setWaiting(true)
	defer w.setWaiting(false)
	line, err := w.br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(line) > maxCommandBytes {
		return nil, errLongLine
	}
	return line, err
}

func (w *wire) setWaiting(b bool) {
	w.mu.Lock()
	w.waiting, w.commandBy = b, time.Now().Add(w.srv.cfg.Limits.Command)
	w.mu.Unlock()
}

// pass makes a line pending for the library.
func (w *wire) pass(line []byte) {
	w.line = append(w.line[:0], line...)
	w.pending = w.line
}

// badParameters says what is wrong with parameters that the library would take: it keeps the last of two, and lets every one have a value.
func badParameters(rest string) string {
	seen := map[string]bool{}
	for _, p := range strings.Fields(rest) {
		key, _, valued := strings.Cut(strings.ToUpper(p), "=")
		switch {
		case seen[key]:
			return oneLine(key) + " is given twice"
		case valued && (key == "SMTPUTF8" || key == "REQUIRETLS"): // RFC 6531 §3.4, RFC 8689 §4.1
			return key + " takes no value"
		}
		seen[key] = true
	}
	return ""
}

// withoutForeignORCPT leaves out an original recipient of a type other than those of mail (RFC 3461 §4.2), such as x400: the library would refuse
// the recipient for it, and no notice here could name it.
func withoutForeignORCPT(rest string) string {
	list := strings.Fields(rest)
	for i, p := range list {
		key, value, _ := strings.Cut(p, "=")
		kind, address, typed := strings.Cut(value, ";")
		known := strings.EqualFold(kind, "rfc822") || strings.EqualFold(kind, "utf-8")
		if strings.EqualFold(key, "ORCPT") && typed && kind != "" && address != "" && !known {
			return " " + strings.Join(slices.Delete(list, i, i+1), " ")
		}
	}
	return rest
}

// sizeTooLarge stands for parameters whose SIZE has more digits than the library reads.
const sizeTooLarge = "\x00"

// parameters gives the library MAIL's parameters in a form that it can read. It would refuse DATA, which stands for BDAT, in a message of
// BODY=BINARYMIME; the wire does it for those that have no BDAT.
func (w *wire) parameters(rest string) (shown string, binary bool) {
	list := strings.Fields(rest)
	for i, p := range list {
		key, value, _ := strings.Cut(p, "=")
		switch {
		case strings.EqualFold(key, "BODY") && strings.EqualFold(value, "BINARYMIME"):
			list[i], binary = "BODY=8BITMIME", true
		case strings.EqualFold(key, "SIZE") && len(value) > 9 && len(value) <= 20 && strings.Trim(value, "0123456789") == "":
			if n, err := strconv.ParseUint(value, 10, 64); err != nil || n > math.MaxUint32 {
				return sizeTooLarge, false
			}
		}
	}
	if len(list) == 0 {
		return rest, false
	}
	return " " + strings.Join(list, " "), binary
}

func cleanCommand(line []byte) bool {
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		return false
	}
	for _, c := range text {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func (w *wire) onStartTLS(s *side, line []byte) error {
	w.mu.Lock()
	authed := w.authed
	w.mu.Unlock()
	switch {
	case w.tls != nil:
		w.say("503 5.5.1 TLS is in use already") // RFC 5321 §4.1.4
		return nil
	case w.srv.cfg.TLS == nil:
		w.pass(line) // the library refuses it
		return nil
	case authed:
		w.say("503 5.5.1 STARTTLS comes before AUTH")
		return nil
	case len(line) != len("STARTTLS\r\n"):
		w.say("501 5.5.4 STARTTLS takes no parameter") // RFC 3207 §4
		return nil
	}
	if err := w.startTLS(); err != nil {
		w.log.Info("tls refused", "err", err)
		return io.EOF
	}
	w.binaryMail, w.session = false, nil // RFC 3207 §4.2: nothing said before counts
	next := &side{wire: w}
	w.current = next
	w.wmu.Lock()
	w.skip = true
	w.wmu.Unlock()
	if !w.srv.feedSecure(next) {
		_ = w.close() // the server ends
	}
	return errHandedOver
}

// onPath notes the path of MAIL or RCPT as the client wrote it, and gives the library a form of it that it can read.
func (w *wire) onPath(line []byte, arg, prefix string) {
	w.path, w.binary = smtp.Address{}, false
	arg = strings.TrimLeft(arg, " \t") // as the library does, which must not see a path that the wire did not
	if len(arg) < len(prefix) || !strings.EqualFold(arg[:len(prefix)], prefix) {
		w.pass(line) // the library says what it expects
		return
	}
	written := strings.TrimLeft(arg[len(prefix):], " \t")
	path, rest, err := smtp.ParsePath(written)
	if err != nil {
		code := "5.1.3" // RFC 3463 §3.2
		if prefix == "FROM:" {
			code = "5.1.7"
		}
		w.say("501 " + code + " " + oneLine(err.Error()))
		return
	}
	w.path, w.pathASCII = path, ascii(written[:len(written)-len(rest)])
	if wrong := badParameters(rest); wrong != "" {
		w.say("501 5.5.4 " + wrong)
		return
	}
	if prefix == "FROM:" {
		if rest, w.binary = w.parameters(rest); rest == sizeTooLarge {
			w.say("552 5.3.4 Message is too large") // RFC 1870 §6.1
			return
		}
	} else {
		rest = withoutForeignORCPT(rest)
	}
	shown := path.String()
	if path.Domain == "" && !path.IsNull() {
		shown += "@" + w.srv.cfg.Hostname // RFC 5321 §4.5.1: postmaster without a domain; the library takes no such path
	}
	w.pass([]byte(string(line[:4]) + " " + prefix + "<" + shown + ">" + rest + "\r\n"))
}
