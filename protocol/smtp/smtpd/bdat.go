package smtpd

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// chunks is a message that comes by BDAT (RFC 3030 §2). The library is told DATA, and does not see the chunks: it would run the session
// beside the reading of further commands, and can give one message's result to another.
type chunks struct {
	w    *wire
	size uint64 // of the chunk under way
	left uint64 // of it, still to come
	last bool
	err  error // sticky
}

// parseBDAT reads a BDAT's parameters.
func parseBDAT(arg string) (size uint64, last bool, err error) {
	fields := strings.Fields(arg)
	if len(fields) == 2 && strings.EqualFold(fields[1], "LAST") {
		last, fields = true, fields[:1]
	}
	if len(fields) != 1 {
		return 0, false, errors.New("expected a size and no more than LAST")
	}
	size, err = strconv.ParseUint(fields[0], 10, 63)
	return size, last, err
}

// onBDAT begins a message. Where the size cannot be read, what follows the line is anybody's guess, and the connection ends.
func (w *wire) onBDAT(arg string) error {
	size, last, err := parseBDAT(arg)
	switch {
	case err != nil:
		w.say("501 5.5.4 Expected BDAT size [LAST], closing connection")
		return io.EOF
	case size > uint64(w.counts.MessageBytes):
		w.say("552 5.3.4 Message is too large, closing connection")
		return io.EOF
	}
	w.bdat = &chunks{w: w, size: size, left: size, last: last}
	w.hide354()
	w.pass([]byte("DATA\r\n"))
	return nil
}

// skipChunk reads over the chunk of a BDAT that the library refused.
func (w *wire) skipChunk() error {
	c := w.bdat
	if w.bdat = nil; c == nil || c.left == 0 {
		return nil
	}
	w.bodyDeadline(true)
	defer w.bodyDeadline(false)
	_, err := io.CopyN(io.Discard, w.br, int64(c.left))
	return err
}

// Read implements io.Reader.
func (c *chunks) Read(b []byte) (int, error) {
	for c.left == 0 && c.err == nil {
		c.next()
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.w.br.Read(b[:min(uint64(len(b)), c.left)])
	c.left -= uint64(n)
	if err != nil {
		// Also io.EOF: what came so far is not the whole message.
		c.err = fmt.Errorf("%w: %w", errBody, err)
		c.w.endAfterReply()
	}
	return n, err0(c.err, n)
}

// err0 keeps an error for the next call when there are bytes to hand over first.
func err0(err error, n int) error {
	if n > 0 {
		return nil
	}
	return err
}

// next answers a chunk that is not the last, and reads the command behind it.
func (c *chunks) next() {
	w := c.w
	if c.last {
		c.err = io.EOF
		w.bodyDeadline(false)
		return
	}
	w.say("250 2.0.0 " + strconv.FormatUint(c.size, 10) + " octets received")
	for {
		if goodbye := w.over(); goodbye != "" {
			w.say(goodbye)
			c.abandon(nil)
			return
		}
		line, err := w.readLine()
		if err != nil {
			_ = w.lineError(err) // always io.EOF
			c.abandon(nil)
			return
		}
		if c.take(line) {
			return
		}
	}
}

// take acts on a command between chunks; false: the next one is wanted.
func (c *chunks) take(line []byte) bool {
	w := c.w
	if !cleanCommand(line) {
		w.say(sayUnclean)
		return false
	}
	w.commands++
	verb, arg, _ := strings.Cut(string(line[:len(line)-2]), " ")
	switch strings.ToUpper(verb) {
	case "BDAT":
		size, last, err := parseBDAT(arg)
		if err != nil || size > uint64(w.counts.MessageBytes) {
			w.say("501 5.5.4 Expected BDAT size [LAST] of no more than a message may have, closing connection")
			c.abandon(nil)
			return true
		}
		if c.size, c.left, c.last = size, size, last; size > 0 {
			w.commands-- // it is not idle talk
		}
		return true
	case "NOOP":
		w.say("250 2.0.0 Ok")
	case "RSET", "QUIT", "EHLO", "HELO", "LHLO":
		c.abandon(line)
		return true
	default:
		w.say("503 5.5.1 A message is under way: expected BDAT or RSET")
	}
	return false
}

// abandon drops the message. The library then gets the command that did it, or, without one, the end of the connection; what it says of the
// message is not sent.
func (c *chunks) abandon(command []byte) {
	c.err = fmt.Errorf("%w: given up between chunks", errBody)
	c.w.mute(true)
	if command == nil {
		c.w.endAfterReply()
		return
	}
	c.w.replay = append([]byte(nil), command...)
}

// finish implements body: it reads over the rest of the chunk. Further chunks of the message are refused one by one.
func (c *chunks) finish(int64) {
	c.w.bdat = nil
	if c.left > 0 && c.err == nil {
		if _, err := io.CopyN(io.Discard, c.w.br, int64(c.left)); err != nil {
			c.w.endAfterReply()
		}
	}
	c.w.bodyDeadline(false)
}
