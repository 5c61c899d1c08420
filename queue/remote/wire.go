package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// wire is a connection as lines and replies. Every read and every write has a deadline.
type wire struct {
	conn   net.Conn
	br     *bufio.Reader
	bw     *bufio.Writer
	limits *Limits
	block  time.Duration // the time for one write

	mu      sync.Mutex // guards conn and stopped against stop
	stopped bool       // by a context: deadlines are not moved any more
}

func newWire(conn net.Conn, limits *Limits, block time.Duration) *wire {
	w := &wire{limits: limits, block: block}
	w.use(conn)
	return w
}

// use goes on over another layer of the same connection.
func (w *wire) use(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = conn
	w.br, w.bw = bufio.NewReaderSize(conn, 4096), bufio.NewWriterSize((*blockWriter)(w), 16<<10)
}

// blockWriter gives each write of a wire its time, also those that a full buffer causes.
type blockWriter wire

func (b *blockWriter) Write(p []byte) (int, error) {
	w := (*wire)(b)
	if err := w.deadline(w.block); err != nil {
		return 0, err
	}
	return w.conn.Write(p)
}

// watch ends reads and writes when ctx does. The returned function ends the watch; false says that ctx was first.
func (w *wire) watch(ctx context.Context) (end func() bool) { return context.AfterFunc(ctx, w.stop) }

func (w *wire) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.conn.SetDeadline(time.Unix(1, 0))
}

// deadline gives the next step its time.
func (w *wire) deadline(d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return context.Canceled
	}
	return w.conn.SetDeadline(time.Now().Add(d))
}

// queue writes a command, which flush sends. Whatever an address or a parameter may hold, it stays one line.
func (w *wire) queue(line string, utf8 bool) error {
	for i := range len(line) {
		if c := line[i]; c < ' ' || c == 0x7f || c >= 0x80 && !utf8 {
			return fmt.Errorf("byte %#02x in a command", c)
		}
	}
	w.bw.WriteString(line) // errors stay with the writer until flush
	_, err := w.bw.WriteString("\r\n")
	return err
}

// read reads one reply, whole within d.
func (w *wire) read(d time.Duration) (reply, error) {
	if err := w.deadline(d); err != nil {
		return reply{}, err
	}
	var lines []string
	first := 0
	for len(lines) < w.limits.ReplyLines {
		line, err := w.readLine()
		if err != nil {
			return reply{}, err
		}
		code, more, text, err := replyLine(line)
		switch {
		case err != nil:
			return reply{}, err
		case len(lines) > 0 && code != first: // RFC 5321 §4.2.1: the code is the same on each line
			return reply{}, fmt.Errorf("%w: codes %d and %d in one", errReply, first, code)
		}
		first, lines = code, append(lines, text)
		if !more {
			return newReply(code, lines), nil
		}
	}
	return reply{}, fmt.Errorf("%w: more than %d lines", errReply, w.limits.ReplyLines)
}

func (w *wire) readLine() (string, error) {
	var line []byte
	for {
		part, err := w.br.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > w.limits.ReplyLineBytes:
			return "", fmt.Errorf("%w: a line of more than %d bytes", errReply, w.limits.ReplyLineBytes)
		case err == nil:
			return strings.TrimRight(string(line), "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", err
		}
	}
}

// quiet tells whether the server has said nothing that was not asked for. A reply too many would be taken for that to the next command, and so
// on to the one that says whether the message was taken.
func (w *wire) quiet() error {
	if w.br.Buffered() > 0 {
		return fmt.Errorf("%w: one too many", errReply)
	}
	return nil
}

// command sends one line and reads its reply.
func (w *wire) command(d time.Duration, line string) (reply, error) {
	if err := w.quiet(); err != nil {
		return reply{}, err
	}
	if err := w.queue(line, false); err != nil {
		return reply{}, err
	}
	if err := w.bw.Flush(); err != nil {
		return reply{}, err
	}
	return w.read(d)
}
