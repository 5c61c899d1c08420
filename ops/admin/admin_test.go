package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
)

type question struct {
	Text string `json:"text"`
}

// start serves the method "echo", and "fail", which refuses with what failWith holds.
func start(t *testing.T, address string, failWith error) (dir, at string) {
	t.Helper()
	dir = t.TempDir()
	s, err := New(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	Handle(s, "echo", func(_ context.Context, q question) (question, error) { return q, nil })
	Handle(s, "fail", func(context.Context, Empty) (Empty, error) { return Empty{}, failWith })
	l, err := Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if at = address; !strings.HasPrefix(address, "unix:") {
		at = l.Addr().String()
	}
	return dir, at
}

func client(t *testing.T, address, dir string) *Client {
	c := NewClient(address, dir)
	t.Cleanup(c.Close)
	return c
}

func TestCallsOverTCPAndSocket(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "admin.sock")} {
		dir, at := start(t, address, nil)
		var res question
		if err := client(t, at, dir).Call(t.Context(), "echo", question{"xin chào"}, &res); err != nil || res.Text != "xin chào" {
			t.Errorf("%s: %+v, %v", address, res, err)
		}
	}
}

// Every error that callers act on arrives as itself, with its text.
func TestErrorsKeepTheirMeaning(t *testing.T) {
	for _, want := range []error{store.ErrNotFound, store.ErrExists, store.ErrConflict, store.ErrInvalid, store.ErrOverQuota, store.ErrTooLarge, store.ErrDenied,
		store.ErrUnknownOutcome, store.ErrUnavailable} {
		dir, at := start(t, "127.0.0.1:0", fmt.Errorf("do it: %w", want))
		err := client(t, at, dir).Call(t.Context(), "fail", Empty{}, nil)
		if !errors.Is(err, want) || err.Error() != "do it: "+want.Error() {
			t.Errorf("%v arrived as %v", want, err)
		}
	}
}

func TestWithoutTheTokenNothingIsDone(t *testing.T) {
	dir, at := start(t, "127.0.0.1:0", nil)
	if info, err := os.Stat(filepath.Join(dir, TokenFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("token file %v, %v", info, err)
	}
	for _, header := range []string{"", "Bearer ", "Bearer " + strings.Repeat("0", 64), "Basic x"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+at+"/v1/echo", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", header)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%q: %s", header, resp.Status)
		}
	}
}

func TestRequestsAreChecked(t *testing.T) {
	dir, at := start(t, "127.0.0.1:0", nil)
	c := client(t, at, dir)
	for name, req := range map[string]any{"unknown field": map[string]any{"text": "x", "more": 1}, "wrong type": map[string]any{"text": 1}, "too large": question{strings.Repeat("x", maxRequestBytes)}} {
		if err := c.Call(t.Context(), "echo", req, nil); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := c.Call(t.Context(), "nothing", Empty{}, nil); err == nil {
		t.Error("an unknown method: taken")
	}
}

func TestNodeThatDoesNotRunIsUnavailable(t *testing.T) {
	dir := t.TempDir()
	if err := client(t, "127.0.0.1:1", dir).Call(t.Context(), "echo", question{}, nil); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("it never ran: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, TokenFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := client(t, l.Addr().String(), dir).Call(t.Context(), "echo", question{}, nil); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "is it running?") {
		t.Errorf("it does not run: %v", err)
	}
}

func TestSocketLeftBehindIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if _, err := Listen("unix:" + path); err == nil {
		t.Fatal("a socket at which somebody answers was taken over")
	}
	_ = l.Close()
	again, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// What takes longer than the server's limit is cut off, unless it is registered as long.
func TestLongMethodsHaveNoLimit(t *testing.T) {
	dir := t.TempDir()
	s, err := New(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.writeTimeout = 20 * time.Millisecond
	// Both last until long after the limit: the limit of a real server is minutes, which no test can wait for.
	slow := func(_ context.Context, q question) (question, error) {
		time.Sleep(10 * s.writeTimeout) // a working method's time: nothing is waited for
		return q, nil
	}
	Handle(s, "short", slow)
	HandleLong(s, "long", slow)
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	c := client(t, l.Addr().String(), dir)
	if err := c.Call(t.Context(), "short", question{"x"}, nil); err == nil {
		t.Error("the limit does not hold for other methods, so this test shows nothing")
	}
	// On a busy machine sending alone may take longer than the test's short limit: one answer in several tries is enough.
	var res question
	for range 20 {
		if err = c.Call(t.Context(), "long", question{"x"}, &res); err == nil {
			break
		}
	}
	if err != nil || res.Text != "x" {
		t.Errorf("%+v, %v", res, err)
	}
}
