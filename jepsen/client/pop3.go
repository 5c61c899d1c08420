package client

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/quorumail/quorumail/jepsen/history"
)

// POP3 is a logged-in POP3 connection over TLS (RFC 1939). It belongs to one goroutine.
type POP3 struct {
	o    Options
	c    *conn
	text *textproto.Conn
	node string
	dead bool
}

// POP3Error is a reply -ERR.
type POP3Error struct {
	Command string
	Text    string
}

func (e *POP3Error) Error() string { return e.Command + ": -ERR " + e.Text }

// POP3Message is a message as UIDL lists it.
type POP3Message struct {
	Number int
	UIDL   string
}

// DialPOP3 connects to a node and logs in. Outcome tells what became of the login, IsAuth whether the password was refused.
func DialPOP3(ctx context.Context, o Options, n Node, address, password string) (*POP3, error) {
	o = o.filled()
	if n.TLS == nil {
		return nil, failed(fmt.Errorf("pop3 at %s: %w", n.Name, errNoService))
	}
	c, err := connect(ctx, o, n.POP3S, n.TLS)
	if err != nil {
		return nil, failed(fmt.Errorf("pop3 at %s: %w", n.Name, err))
	}
	p := &POP3{o: o, c: c, text: textproto.NewConn(c), node: n.Name}
	defer c.begin(ctx, o.Timeout)()
	if _, err := p.reply("greeting"); err != nil {
		p.Close()
		return nil, failed(fmt.Errorf("greeting of %s: %w", n.Name, err))
	}
	if err := p.login(address, password); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *POP3) login(address, password string) error {
	if _, err := p.command("USER", address); err != nil {
		return failed(err)
	}
	_, err := p.command("PASS", password)
	var refused *POP3Error
	if errors.As(err, &refused) {
		// The response code AUTH is about the credentials; SYS and IN-USE are not.
		return &OpError{Outcome: history.Fail, Auth: strings.HasPrefix(refused.Text, "[AUTH]"), Err: err}
	}
	return judge(err, p.c.left())
}

// List answers the messages of the mailbox.
func (p *POP3) List(ctx context.Context) (list []POP3Message, err error) {
	err = p.do(ctx, func() error {
		if _, err := p.command("UIDL"); err != nil {
			return err
		}
		lines, err := p.text.ReadDotLines()
		for _, line := range lines {
			number, uidl, _ := strings.Cut(line, " ")
			n, err := strconv.Atoi(number)
			if err != nil || uidl == "" {
				return fmt.Errorf("UIDL: answer %q", line)
			}
			list = append(list, POP3Message{n, uidl})
		}
		return err
	})
	return list, reading(err)
}

// Retrieve reads a message whole.
func (p *POP3) Retrieve(ctx context.Context, number int) (raw []byte, err error) {
	err = p.do(ctx, func() error {
		if _, err := p.command("RETR", strconv.Itoa(number)); err != nil {
			return err
		}
		lines, err := p.text.ReadDotLines() // ReadDotBytes would turn CRLF into LF
		raw = []byte(strings.Join(lines, "\r\n") + "\r\n")
		return err
	})
	return raw, reading(err)
}

// ID reads the id of a message (RFC 1939 §7, TOP).
func (p *POP3) ID(ctx context.Context, number int) (id string, err error) {
	err = p.do(ctx, func() error {
		if _, err := p.command("TOP", strconv.Itoa(number), "0"); err != nil {
			return err
		}
		lines, err := p.text.ReadDotLines()
		id = field([]byte(strings.Join(lines, "\r\n")), IDField)
		return err
	})
	return id, reading(err)
}

// Delete marks a message to be deleted by Quit. Nothing is deleted yet.
func (p *POP3) Delete(ctx context.Context, number int) error {
	return p.do(ctx, func() error {
		_, err := p.command("DELE", strconv.Itoa(number))
		return err
	})
}

// Quit deletes what was marked, and ends the connection. RFC 1939 §6: without it nothing is deleted.
func (p *POP3) Quit(ctx context.Context) error {
	defer p.Close()
	return p.do(ctx, func() error {
		_, err := p.command("QUIT")
		return err
	})
}

// Alive tells whether the connection can take another command, as far as is known.
func (p *POP3) Alive() bool { return !p.dead }

// Close ends the connection without a QUIT.
func (p *POP3) Close() {
	p.dead = true
	_ = p.text.Close() // there is nothing left to save
}

func (p *POP3) do(ctx context.Context, f func() error) error {
	if p.dead {
		return failed(fmt.Errorf("pop3 at %s: %w", p.node, errDead))
	}
	defer p.c.begin(ctx, p.o.Timeout)()
	err := f()
	if err == nil {
		return nil
	}
	err = judge(fmt.Errorf("pop3 at %s: %w", p.node, err), p.c.left())
	var refused *POP3Error
	if !errors.As(err, &refused) {
		p.Close()
	}
	return err
}

func (p *POP3) command(words ...string) (string, error) {
	if err := p.text.PrintfLine("%s", strings.Join(words, " ")); err != nil {
		return "", fmt.Errorf("%s: %w", words[0], err)
	}
	return p.reply(words[0])
}

func (p *POP3) reply(command string) (string, error) {
	line, err := p.text.ReadLine()
	if err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	if rest, ok := strings.CutPrefix(line, "+OK"); ok {
		return strings.TrimSpace(rest), nil
	}
	return "", &POP3Error{Command: command, Text: strings.TrimSpace(strings.TrimPrefix(line, "-ERR"))}
}
