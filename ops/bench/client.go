package bench

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// replyTimeout bounds each wait for an answer.
const replyTimeout = 30 * time.Second

// conn is a line-wise conversation with a server.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func dial(ctx context.Context, address string) (*conn, error) {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &conn{c, bufio.NewReader(c)}, nil
}

func (c *conn) line() (string, error) {
	if err := c.SetReadDeadline(time.Now().Add(replyTimeout)); err != nil {
		return "", err
	}
	s, err := c.r.ReadString('\n')
	return strings.TrimRight(s, "\r\n"), err
}

func (c *conn) send(s string) error {
	if err := c.SetWriteDeadline(time.Now().Add(replyTimeout)); err != nil {
		return err
	}
	_, err := c.Write([]byte(s))
	return err
}

// reply reads one SMTP reply and demands its first digit.
func (c *conn) reply(digit byte) error {
	for {
		s, err := c.line()
		if err != nil {
			return err
		}
		if len(s) >= 4 && s[3] == '-' {
			continue
		}
		if s == "" || s[0] != digit {
			return fmt.Errorf("the server answered %q", s)
		}
		return nil
	}
}

// smtpHello begins an SMTP conversation.
func smtpHello(ctx context.Context, address string) (*conn, error) {
	c, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	if err = c.reply('2'); err == nil {
		if err = c.send("EHLO bench.invalid\r\n"); err == nil {
			err = c.reply('2')
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// deliver sends one message and returns after its 250.
func (c *conn) deliver(from, to string, msg []byte) error {
	if err := c.send("MAIL FROM:<" + from + ">\r\nRCPT TO:<" + to + ">\r\nDATA\r\n"); err != nil {
		return err
	}
	for _, digit := range []byte{'2', '2', '3'} {
		if err := c.reply(digit); err != nil {
			return err
		}
	}
	if err := c.send(string(msg) + ".\r\n"); err != nil { // no line of a bench body begins with a dot
		return err
	}
	return c.reply('2')
}

// imapSelect logs in and selects INBOX; it returns how many messages are there.
func imapSelect(ctx context.Context, address string, a Account) (*conn, int, error) {
	c, err := dial(ctx, address)
	if err != nil {
		return nil, 0, err
	}
	exists := 0
	note := func(s string) { exists = max(exists, existsIn(s)) }
	if _, err = c.line(); err == nil {
		if err = c.command("a", fmt.Sprintf("LOGIN %q %q", a.Address, a.Password), note); err == nil {
			err = c.command("b", "SELECT INBOX", note)
		}
	}
	if err != nil {
		c.Close()
		return nil, 0, err
	}
	return c, exists, nil
}

func (c *conn) command(tag, cmd string, untagged func(string)) error {
	if err := c.send(tag + " " + cmd + "\r\n"); err != nil {
		return err
	}
	for {
		s, err := c.line()
		if err != nil {
			return err
		}
		if rest, ok := strings.CutPrefix(s, tag+" "); ok {
			if !strings.HasPrefix(rest, "OK") {
				return fmt.Errorf("the server answered %q to %s", rest, strings.Fields(cmd)[0])
			}
			return nil
		}
		untagged(s)
	}
}

func existsIn(s string) int {
	f := strings.Fields(s)
	if len(f) == 3 && f[0] == "*" && f[2] == "EXISTS" {
		n, err := strconv.Atoi(f[1])
		if err == nil {
			return n
		}
	}
	return 0
}
