package client

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/jepsen/history"
)

// popServer is a small POP3 server over the messages, which it changes at QUIT. quit answers it.
func popServer(t *testing.T, messages *[]string, quit func(*peer)) Node {
	server, trust := certificate()
	address := serve(t, server, func(p *peer) {
		p.say("+OK ready")
		var marked []int
		dotted := func(text string) {
			p.say(append(strings.Split(strings.TrimSuffix(strings.ReplaceAll(text, "\r\n.", "\r\n.."), "\r\n"), "\r\n"), ".")...)
		}
		for {
			words := strings.Fields(p.line())
			if len(words) == 0 {
				return
			}
			n := 0
			if len(words) > 1 {
				_, _ = fmt.Sscan(words[1], &n)
			}
			if slices.Contains([]string{"RETR", "TOP", "DELE"}, words[0]) && (n < 1 || n > len(*messages)) {
				p.say("-ERR no such message")
				continue
			}
			switch words[0] {
			case "USER":
				p.say("+OK")
			case "PASS":
				if words[1] != "secret" {
					p.say("-ERR [AUTH] wrong password")
					continue
				}
				p.say("+OK in")
			case "UIDL":
				p.say("+OK")
				for i := range *messages {
					p.say(fmt.Sprintf("%d uid%d", i+1, i+1))
				}
				p.say(".")
			case "RETR":
				p.say("+OK")
				dotted((*messages)[n-1])
			case "TOP":
				p.say("+OK")
				head, _, _ := strings.Cut((*messages)[n-1], "\r\n\r\n")
				dotted(head + "\r\n\r\n")
			case "DELE":
				marked = append(marked, n-1)
				p.say("+OK")
			case "QUIT":
				var left []string
				for i, m := range *messages {
					if !slices.Contains(marked, i) {
						left = append(left, m)
					}
				}
				*messages = left
				quit(p)
				return
			}
		}
	})
	return Node{Name: "n1", POP3S: address, TLS: trust}
}

func TestPOP3(t *testing.T) {
	messages := []string{"X-Jepsen-Id: m1\r\n\r\none\r\n..two\r\n.\r\n", "X-Jepsen-Id: m2\r\n\r\nthree\r\n"}
	n := popServer(t, &messages, func(p *peer) { p.say("+OK bye") })
	p, err := DialPOP3(t.Context(), testOptions(), n, "a@example.test", "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	list, err := p.List(t.Context())
	if err != nil || !slices.Equal(list, []POP3Message{{1, "uid1"}, {2, "uid2"}}) {
		t.Errorf("%v, %v", list, err)
	}
	if raw, err := p.Retrieve(t.Context(), 1); err != nil || string(raw) != messages[0] {
		t.Errorf("%q, %v", raw, err)
	}
	if id, err := p.ID(t.Context(), 2); err != nil || id != "m2" {
		t.Errorf("%q, %v", id, err)
	}
	if err := p.Delete(t.Context(), 7); Outcome(err) != history.Fail || !p.Alive() {
		t.Errorf("%v is %s", err, Outcome(err))
	}
	if err := p.Delete(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if err := p.Quit(t.Context()); err != nil || p.Alive() || len(messages) != 1 {
		t.Errorf("%v, alive: %v, %d messages", err, p.Alive(), len(messages))
	}
	if err := p.Delete(t.Context(), 1); Outcome(err) != history.Fail {
		t.Errorf("after QUIT: %v is %s", err, Outcome(err))
	}
}

func TestPOP3Outcomes(t *testing.T) {
	for name, tc := range map[string]struct {
		quit func(*peer)
		want history.Outcome
	}{
		"refused": {func(p *peer) { p.say("-ERR some deleted messages not removed") }, history.Unknown},
		"reset":   {(*peer).reset, history.Unknown},
		"end":     {func(*peer) {}, history.Unknown},
	} {
		messages := []string{"x\r\n"}
		p, err := DialPOP3(t.Context(), testOptions(), popServer(t, &messages, tc.quit), "a@example.test", "secret")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Quit(t.Context()); Outcome(err) != tc.want {
			t.Errorf("%s: %v is %s, want %s", name, err, Outcome(err), tc.want)
		}
	}
	_, err := DialPOP3(t.Context(), testOptions(), popServer(t, new([]string), nil), "a@example.test", "wrong")
	if Outcome(err) != history.Fail || !IsAuth(err) {
		t.Errorf("%v is %s, about the password: %v", err, Outcome(err), IsAuth(err))
	}
}
