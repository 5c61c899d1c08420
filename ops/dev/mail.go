package dev

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/smtp"
	"strings"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/store"
)

const domain = "example.test"

// makeAccounts makes the domain, the two accounts, and the further ones that are still missing.
func (l *layout) makeAccounts(ctx context.Context, more int) error {
	c := l.client(l.Nodes[0].Name)
	if len(l.Accounts) == 0 {
		if err := c.Call(ctx, "domain.add", admin.DomainRequest{Name: domain}, nil); err != nil && !errors.Is(err, store.ErrExists) {
			return fmt.Errorf("make the domain: %w", err)
		}
	}
	have := map[string]bool{}
	for _, a := range l.Accounts {
		have[a.Address] = true
	}
	want := []admin.AccountRequest{{Address: "an@" + domain, Name: "Nguyễn Văn An"}, {Address: "binh@" + domain, Name: "Trần Thị Bình"}}
	for i := range more {
		want = append(want, admin.AccountRequest{Address: fmt.Sprintf("u%03d@%s", i, domain)})
	}
	shared := ""
	if len(l.Accounts) > 2 {
		shared = l.Accounts[2].Password
	}
	for i, a := range want {
		if have[a.Address] {
			continue
		}
		a.Password = newPassword()
		if i >= 2 {
			if shared == "" {
				shared = a.Password
			}
			a.Password = shared
		}
		if err := l.makeAccount(ctx, c, a); err != nil {
			return err
		}
		l.Accounts = append(l.Accounts, Account{a.Address, a.Password})
	}
	return l.save()
}

// makeAccount makes an account, or gives it this password when a run that was cut off had made it already.
func (l *layout) makeAccount(ctx context.Context, c *admin.Client, a admin.AccountRequest) error {
	err := c.Call(ctx, "account.add", a, nil)
	if errors.Is(err, store.ErrExists) {
		err = c.Call(ctx, "account.passwd", admin.AccountRequest{Address: a.Address, Password: a.Password}, nil)
	}
	if err != nil {
		return fmt.Errorf("make the account %s: %w", a.Address, err)
	}
	return nil
}

func newPassword() string {
	raw := make([]byte, 10)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	return strings.ToLower(base32.StdEncoding.EncodeToString(raw))
}

// greet delivers the first messages, each at another node.
func (l *layout) greet(ctx context.Context) error {
	if l.Greeted {
		return nil
	}
	an, binh := "an@"+domain, "binh@"+domain
	mails := []struct{ from, to, subject, text string }{
		{binh, an, "Chào mừng đến với Quorumail", "Chào An,\r\n\r\nThư này đã nằm trên đĩa của đa số các nút trước khi người gửi nhận được lời xác nhận.\r\n\r\nBình"},
		{an, binh, "Welcome to Quorumail", "Hello Bình,\r\n\r\nthis message went in at one node and can be read at every other one.\r\n\r\nAn"},
		{an, binh, "Họp nhóm ngày thứ Hai", "Bình ơi,\r\n\r\nmai họp lúc chín giờ nhé.\r\n\r\nAn"},
	}
	for i, m := range mails {
		p := l.Nodes[i%len(l.Nodes)]
		if err := send(ctx, p.address("smtp"), m.from, m.to, m.subject, m.text); err != nil {
			return fmt.Errorf("deliver a first message at node %s: %w", p.Name, err)
		}
	}
	l.Greeted = true
	return l.save()
}

func send(ctx context.Context, address, from, to, subject, text string) error {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Mail(from); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s@%s>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%s\r\n",
		from, to, encodeWord(subject), time.Now().Format(time.RFC1123Z), newPassword(), domain, text)
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

func encodeWord(s string) string { return mime.QEncoding.Encode("utf-8", s) }
