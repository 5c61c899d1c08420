package workload

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/history"
	"github.com/quorumail/quorumail/jepsen/site"
)

// Mail goes out, comes back as a notice where it was refused, and comes a second time where it was not answered.
func TestQueueRemote(t *testing.T) {
	c := theCluster(t)
	env := c.env(t)
	s := c.elsewhere(t, env)
	muted := 0
	h := work(t, env, NewQueueRemote(), 4, func(h *history.History) bool {
		muted = count(h, history.Sink, history.Unknown)
		if muted == 0 && count(h, history.Sink, history.OK) > 20 {
			s.Fail(site.Fault{Mute: 0.3})
		}
		if muted > 3 {
			s.Fail(site.Fault{})
		}
		return count(h, history.Accept, history.OK) > 100 && muted > 3
	})
	s.Fail(site.Fault{})
	sound(t, h)
	if count(h, history.Sink, history.OK) < 50 || count(h, history.Notice, history.OK) < 3 || count(h, history.Deliver, history.OK) == 0 {
		t.Errorf("too little of something: %s", tally(h))
	}
	for _, o := range h.Ops {
		if (o.Kind == history.Accept || o.Kind == history.Sink) && o.Outcome == history.OK && o.Value == "" {
			t.Errorf("no queue id: %+v", o)
		}
	}
}

// Messages are sent again, some to more recipients, and are where they belong once.
func TestResend(t *testing.T) {
	c := theCluster(t)
	env := c.env(t)
	c.elsewhere(t, env)
	again := func(h *history.History) (n int) {
		for _, o := range h.Ops {
			if o.Outcome == history.OK && o.Attempt > 1 && (o.Kind == history.Deliver || o.Kind == history.Accept) {
				n++
			}
		}
		return n
	}
	h := work(t, env, NewResend(), 4, func(h *history.History) bool { return again(h) > 60 })
	sound(t, h)
	first, later := map[string]bool{}, 0
	for _, o := range h.Ops {
		if o.Kind != history.Deliver && o.Kind != history.Accept {
			continue
		}
		who := o.ID + o.Box + o.Dest
		if o.Attempt > 1 && !first[who] {
			later++
		}
		first[who] = true
	}
	if later == 0 {
		t.Error("nobody was added in a second attempt")
	}
}

// Without sites there is nothing to send to them.
func TestQueueRemoteNeedsSites(t *testing.T) {
	env := &Env{Accounts: []Account{{"a@example.test", "x"}}}
	if err := NewQueueRemote().Setup(t.Context(), env); err == nil {
		t.Error("it begins without sites")
	}
	if err := NewResend().Setup(t.Context(), env); err != nil {
		t.Errorf("resend: %v", err)
	}
}

// queued is an administrator's listener whose queue holds an entry for so many looks.
func queued(t *testing.T, looks int) (*Env, *[]string) {
	t.Helper()
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := strings.TrimPrefix(r.URL.Path, "/v1/")
		asked = append(asked, what)
		answer := map[string]any{}
		if what == "queue.list" && looks > 0 {
			looks--
			answer["entries"] = []map[string]any{{"queue_id": "q1", "recipient": "a@x.test"}}
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(srv.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := client.Node{Name: "n1", Admin: srv.Listener.Addr().String(), AdminPath: token}
	env := &Env{Nodes: func() []client.Node { return []client.Node{n} }, Dialer: &net.Dialer{}, History: history.NewRecorder(nil, history.Run{}), FinalWait: 20 * time.Second}
	env.Admin = func(string) *client.Admin { return client.NewAdmin(env.options(), n) }
	return env, &asked
}

func TestDrain(t *testing.T) {
	env, asked := queued(t, 2)
	if err := Drain(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(*asked); got != "[queue.list queue.act queue.list queue.list]" {
		t.Errorf("asked %s", got)
	}
	if n := env.History.History().Notes; len(n) != 1 || n[0].Kind != "drained" {
		t.Errorf("notes %+v", n)
	}
	env, _ = queued(t, 1<<30)
	env.FinalWait = time.Second
	if err := Drain(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if n := env.History.History().Notes; len(n) != 1 || n[0].Kind != "queued" || !strings.Contains(n[0].Text, "q1") {
		t.Errorf("of what is left: notes %+v", n)
	}
	env.Admin = func(string) *client.Admin { return nil }
	if err := Drain(t.Context(), env); err == nil {
		t.Error("nobody can be asked, and that is no error")
	}
}
