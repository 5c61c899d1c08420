package smtpd

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"strings"
	"time"

	"github.com/quorumail/quorumail/store"
)

// incoming is a message while it is taken in.
type incoming struct {
	t    *transaction
	now  time.Time
	head *head     // as it goes on
	size byteCount // as it is stored, once that is done
	rest io.Reader // what comes below, with its line ends judged
	top  string    // the fields that are put above the head

	raw       hash.Hash // of the client's bytes, before any repair
	eightBit  eightBit
	utf8      bool   // it needs SMTPUTF8
	messageID string // with its brackets; "": it has none
	clientID  string // the same as the client sent it: what we add differs each time

	checks  string // what the checks said
	verdict string // the fields that they put on top
	later   bool   // it is judged, and sorted, from the queue "in"
	held    bool   // there, by a rule
}

// maxForeignHeadBytes is how much is looked at of a header that a user did not submit: it shall not take a stranger's connection over a megabyte.
const maxForeignHeadBytes = 128 << 10

// open reads the head, and does to it what has to be done.
func (s *session) open(t *transaction, body io.Reader) (*incoming, error) {
	cfg := &s.srv.cfg
	m := &incoming{t: t, now: cfg.Now(), raw: sha256.New()}
	sized := &sizeLimit{r: io.TeeReader(body, m.raw), left: s.w.counts.MessageBytes}
	var source io.Reader = sized
	if t.binary {
		source = newTextual(sized)
	}
	r := bufio.NewReaderSize(newLineEnds(source, s.repairs(t)), 16<<10)
	var err error
	limit := cfg.Limits.HeaderBytes
	if !cfg.Mode.submits() {
		limit = min(limit, maxForeignHeadBytes)
	}
	m.head, err = readHead(r, limit)
	long := errors.Is(err, errHeaderSize)
	if err != nil && !(long && !cfg.Mode.submits()) {
		return nil, err // an overlong header is the sender's affair, but that of a submission must be read whole
	}
	m.rest = r
	if err := s.loops(m); err != nil {
		return nil, err
	}
	m.clientID = firstOf(m.head.values("message-id"))
	m.messageID = m.clientID
	if cfg.Mode.submits() {
		if err := s.submit(m); err != nil {
			return nil, err
		}
	}
	if s.mayRelay() && !long {
		m.top = s.missing(m)
	}
	m.utf8 = t.needsUTF8(m.head)
	return m, nil
}

// repairs is whether line ends of this client that are not CRLF are made so. Strangers get no repairs: a message whose lines we read otherwise
// than the next server does is how mail is smuggled.
func (s *session) repairs(t *transaction) bool {
	return !s.stranger() && !t.binary // there, what is left of lone CRs is in a part that should have none
}

func firstOf(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// loops refuses a message that has been here too often: by its Received fields, or because an alias passes it on once more that did so before
// (a Delivered-To field with the very address says that).
func (s *session) loops(m *incoming) error {
	if m.head.count("received") > s.srv.cfg.Limits.Hops {
		return errLoop
	}
	been := map[string]bool{}
	for _, value := range m.head.values("delivered-to") {
		been[strings.ToLower(strings.Trim(value, "<> \t"))] = true
	}
	if len(been) == 0 {
		return nil
	}
	for _, r := range m.t.recipients {
		for _, box := range r.boxes {
			if box.Remote && box.Address != r.canonical() && been[strings.ToLower(r.canonical())] {
				return errAliasLoop
			}
		}
	}
	return nil
}

// writeTo writes the message as it is stored.
func (m *incoming) writeTo(w io.Writer) error {
	m.size = 0
	w = io.MultiWriter(w, &m.size)
	if _, err := io.WriteString(w, m.top); err != nil {
		return err
	}
	return m.writeContent(w)
}

// writeContent writes what the client sent, with our repairs.
func (m *incoming) writeContent(w io.Writer) error {
	w = io.MultiWriter(w, &m.eightBit)
	if m.head != nil {
		if err := m.head.writeTo(w); err != nil {
			return err
		}
	}
	_, err := io.Copy(w, m.rest)
	return err
}

// resendKey recognises a message that a client sends again because it did not hear that it was taken: nil when it has no Message-ID, for then
// two messages with the same bytes may be meant. It is complete when the message was read to its end.
func (m *incoming) resendKey() []byte {
	if m.clientID == "" {
		return nil
	}
	h := sha256.New()
	for _, part := range []string{"quorumail resend 1", m.t.from.Canonical(), m.clientID} {
		_, _ = io.WriteString(h, part+"\x00") // never fails
	}
	h.Write(m.raw.Sum(nil))
	return h.Sum(nil)
}

// byteCount counts what is written.
type byteCount int64

// Write implements io.Writer.
func (c *byteCount) Write(b []byte) (int, error) {
	*c += byteCount(len(b))
	return len(b), nil
}

// eightBit looks for bytes above 127.
type eightBit struct{ seen bool }

// Write implements io.Writer. Messages are long, and most have none: eight bytes are looked at at a time.
func (e *eightBit) Write(b []byte) (int, error) {
	n := len(b)
	for ; !e.seen && len(b) >= 8; b = b[8:] {
		e.seen = binary.NativeEndian.Uint64(b)&0x8080808080808080 != 0
	}
	for _, c := range b {
		e.seen = e.seen || c >= 0x80
	}
	return n, nil
}

// sizeLimit ends a body that is too large.
type sizeLimit struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (l *sizeLimit) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if l.left -= int64(n); l.left < 0 {
		return 0, store.ErrTooLarge
	}
	return n, err
}
