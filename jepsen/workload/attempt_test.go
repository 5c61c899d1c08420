package workload

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/history"
)

// fakeMX takes mail until the final dot, and then answers, or ends the connection when answer is "".
func fakeMX(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { dialogue(c, answer) })
		}
	})
	return l.Addr().String()
}

func dialogue(c net.Conn, answer string) {
	defer c.Close()
	fmt.Fprint(c, "220 ready\r\n")
	inBody := false
	for lines := bufio.NewScanner(c); lines.Scan(); {
		switch line := strings.TrimRight(lines.Text(), "\r"); {
		case inBody && line == "." && answer == "":
			return
		case inBody && line == ".":
			inBody = false
			fmt.Fprint(c, answer+"\r\n")
		case inBody:
		case line == "DATA":
			inBody = true
			fmt.Fprint(c, "354 go\r\n")
		default:
			fmt.Fprint(c, "250 fine\r\n")
		}
	}
}

// A message that was refused is sent again at the next node under its id; one of which nobody knows is only if that was asked for.
func TestAttempts(t *testing.T) {
	type try struct {
		node    string
		outcome history.Outcome
		attempt int
	}
	for name, tc := range map[string]struct {
		first        string
		retryUnknown bool
		want         []try
	}{
		"taken":                 {"250 2.6.0 taken", false, []try{{"n1", history.OK, 1}}},
		"refused":               {"451 4.3.2 not now", false, []try{{"n1", history.Fail, 1}, {"n2", history.OK, 2}}},
		"unknown":               {"", false, []try{{"n1", history.Unknown, 1}}},
		"unknown, and retrying": {"", true, []try{{"n1", history.Unknown, 1}, {"n2", history.OK, 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := []client.Node{{Name: "n1", SMTP: fakeMX(t, tc.first)}, {Name: "n2", SMTP: fakeMX(t, "250 2.6.0 taken")}}
			env := &Env{Nodes: func() []client.Node { return nodes }, Dialer: &net.Dialer{}, History: history.NewRecorder(nil, history.Run{}),
				Accounts: []Account{{"a@example.test", "x"}}}
			s := &sender{proc: newProc(env, "deliver", 0), self: env.Accounts[0], again: tc.retryUnknown}
			defer s.hangUp()
			_ = s.send(t.Context(), t.Context(), 0, env.Accounts) // recorded
			var got []try
			ids := map[string]bool{}
			for _, o := range env.History.History().Ops {
				if o.Kind == history.Deliver {
					got = append(got, try{o.Node, o.Outcome, o.Attempt})
					ids[o.ID] = true
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) || len(ids) != 1 {
				t.Errorf("tries %v under ids %v, want %v", got, ids, tc.want)
			}
		})
	}
}
