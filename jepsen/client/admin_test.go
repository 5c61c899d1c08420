package client

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/quorumail/quorumail/jepsen/history"
)

func adminNode(t *testing.T, address string) Node {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Node{Name: "n1", Admin: address, AdminPath: token}
}

func TestAdminOutcomes(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	cut := func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		slow    bool
		want    history.Outcome
	}{
		"done":        {answer(200, "{}"), false, history.OK},
		"not found":   {answer(404, `{"error":"no such account"}`), false, history.Fail},
		"unavailable": {answer(503, `{"error":"nothing happened"}`), false, history.Fail},
		"unknown":     {answer(504, `{"error":"who knows"}`), false, history.Unknown},
		"a bug":       {answer(500, ""), false, history.Unknown},
		"cut off":     {cut, false, history.Unknown},
		"not JSON":    {answer(200, "what"), false, history.Unknown},
		"too slow": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that the client is gone
			<-r.Context().Done()
		}, true, history.Unknown},
		"half an answer": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{}")
			cut(w, r)
		}, false, history.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(tc.handler)
			defer srv.Close()
			o := testOptions()
			if tc.slow {
				o = quick(o)
			}
			a := NewAdmin(o, adminNode(t, srv.Listener.Addr().String()))
			var res struct{}
			if err := a.Call(t.Context(), "status", struct{}{}, &res); Outcome(err) != tc.want {
				t.Errorf("%v is %s, want %s", err, Outcome(err), tc.want)
			}
		})
	}
	for name, n := range map[string]Node{"refused": adminNode(t, refused(t)), "no socket": adminNode(t, "unix:"+filepath.Join(t.TempDir(), "none")), "no token": {Admin: refused(t), AdminPath: "none"}, "no address": {}} {
		if err := NewAdmin(testOptions(), n).Check(t.Context()); Outcome(err) != history.Fail {
			t.Errorf("%s: %v is %s", name, err, Outcome(err))
		}
	}
}

func TestAdminOverUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]map[string]any{}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req map[string]any
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("%v, %q", err, r.Header)
		}
		calls[r.URL.Path] = req
		switch r.URL.Path {
		case "/v1/domain.add", "/v1/account.add":
			w.WriteHeader(http.StatusConflict)
		case "/v1/status":
			_, _ = io.WriteString(w, `{"name":"n1","state":"leader","term":3,"ready":true,"members":[{"name":"n1","voter":true}]}`)
			return
		case "/v1/invite":
			_, _ = io.WriteString(w, `{"token":"abc"}`)
			return
		}
		_, _ = io.WriteString(w, "{}")
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	defer func() { _ = srv.Close(); <-done }()
	a := NewAdmin(testOptions(), adminNode(t, "unix:"+path))
	if s, err := a.Status(t.Context()); err != nil || s.State != "leader" || s.Term != 3 || !s.Ready || len(s.Members) != 1 || !s.Members[0].Voter {
		t.Errorf("%+v, %v", s, err)
	}
	if token, err := a.Invite(t.Context(), 0); err != nil || token != "abc" || calls["/v1/invite"]["valid_minutes"] != 1.0 {
		t.Errorf("%q, %v, %v", token, err, calls["/v1/invite"])
	}
	if err := a.AddDomain(t.Context(), "example.test"); err != nil {
		t.Error(err)
	}
	if err := a.AddAccount(t.Context(), "a@example.test", "password"); err != nil || calls["/v1/account.passwd"]["password"] != "password" {
		t.Errorf("%v, %v", err, calls["/v1/account.passwd"])
	}
}
