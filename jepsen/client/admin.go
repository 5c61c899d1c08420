package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// maxAnswerBytes bounds a node's answer to an administrator.
const maxAnswerBytes = 64 << 20

// Admin asks a node as its administrator does: JSON over HTTP with a token. It may be shared.
type Admin struct {
	o    Options
	node Node
	http *http.Client
}

// AdminError is a node's refusal.
type AdminError struct {
	Status int // HTTP's
	Text   string
}

func (e *AdminError) Error() string { return fmt.Sprintf("%s (status %d)", e.Text, e.Status) }

// NewAdmin makes a client of a node's administrator's listener. Every call makes a connection of its own, for the library would send a
// command again on a second one when the first has just ended.
func NewAdmin(o Options, n Node) *Admin {
	a := &Admin{o: o.filled(), node: n}
	a.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, a.o.DialTimeout)
		defer cancel()
		if path, ok := strings.CutPrefix(n.Admin, "unix:"); ok {
			return counted((&net.Dialer{}).DialContext(ctx, "unix", path))
		}
		return counted(a.o.Dialer.DialContext(ctx, "tcp", n.Admin))
	}}}
	return a
}

// dialError is a connection that was not made.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

func counted(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, dialError{err}
	}
	return c, nil
}

func isDialError(err error) bool {
	var d dialError
	return errors.As(err, &d)
}

// existing makes nothing of the refusal to make what exists.
func existing(err error) error {
	var refusal *AdminError
	if errors.As(err, &refusal) && refusal.Status == http.StatusConflict {
		return nil
	}
	return err
}

// Call posts a request to a method and decodes the answer into res, which may be nil. Without a deadline ctx gets Options.Timeout.
func (a *Admin) Call(ctx context.Context, method string, req, res any) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, a.o.Timeout)
		defer cancel()
	}
	err := a.call(ctx, method, req, res)
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s at %s: %w", method, a.node.Name, err)
}

func (a *Admin) call(ctx context.Context, method string, req, res any) error {
	if a.node.Admin == "" {
		return failed(errNoService)
	}
	token, err := os.ReadFile(a.node.AdminPath)
	if err != nil {
		return failed(fmt.Errorf("read the token: %w", err))
	}
	body, err := json.Marshal(req)
	if err != nil {
		return failed(err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node/v1/"+method, bytes.NewReader(body))
	if err != nil {
		return failed(err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	answer, err := a.http.Do(r)
	if err != nil {
		return judge(err, !isDialError(err))
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes))
	if err != nil {
		return judge(err, true)
	}
	if answer.StatusCode != http.StatusOK {
		var refusal struct{ Error string }
		_ = json.Unmarshal(raw, &refusal) // an answer that is no JSON has no text for us
		return judge(&AdminError{Status: answer.StatusCode, Text: refusal.Error}, true)
	}
	if res == nil {
		return nil
	}
	if err := json.Unmarshal(raw, res); err != nil {
		return &OpError{Outcome: history.Unknown, Err: fmt.Errorf("decode the answer: %w", err)}
	}
	return nil
}

// Status is what a node says of itself and of the cluster.
type Status struct {
	Name      string            `json:"name"`
	ID        string            `json:"id"`
	State     string            `json:"state"`  // leader, follower, candidate
	Leader    string            `json:"leader"` // name, "" when none is known
	Term      uint64            `json:"term"`
	Last      uint64            `json:"last"`
	Commit    uint64            `json:"commit"`
	Applied   uint64            `json:"applied"`
	Ready     bool              `json:"ready"`
	NotReady  string            `json:"not_ready"`
	Missing   int               `json:"missing_bodies"`
	Warnings  []string          `json:"warnings"`
	Members   []Member          `json:"members"`
	Listeners map[string]string `json:"listeners"`
	Version   string            `json:"version"`
}

// Member is a node of the cluster as another sees it.
type Member struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
	Waiting string `json:"waiting"` // why it does not vote, or is not removed, yet
	Alive   bool   `json:"alive"`
	State   string `json:"state"`
	Version string `json:"version"`
	Ready   bool   `json:"ready"`
}

// StateHash is the digest of a node's replicated state at an applied index.
type StateHash struct {
	Index uint64 `json:"index"`
	Hash  string `json:"hash"`
}

// Removal is how far the removal of a member is.
type Removal struct {
	ID      string `json:"id"`
	Done    bool   `json:"done"`
	Waiting string `json:"waiting"`
}

// Status asks how the node is.
func (a *Admin) Status(ctx context.Context) (s Status, err error) {
	return s, a.Call(ctx, "status", struct{}{}, &s)
}

// StateHash asks for the digest of the node's state.
func (a *Admin) StateHash(ctx context.Context) (h StateHash, err error) {
	return h, a.Call(ctx, "state-hash", struct{}{}, &h)
}

// Check has the node verify every invariant of its state; nil: all hold.
func (a *Admin) Check(ctx context.Context) error { return a.Call(ctx, "check", struct{}{}, nil) }

// Invite makes a token by which a new node joins.
func (a *Admin) Invite(ctx context.Context, valid time.Duration) (token string, err error) {
	var answer struct{ Token string }
	err = a.Call(ctx, "invite", map[string]int{"valid_minutes": max(1, int(valid.Minutes()))}, &answer)
	return answer.Token, err
}

// RemoveNode has a member removed, by its id or name. Ask again until it is done.
func (a *Admin) RemoveNode(ctx context.Context, id string) (r Removal, err error) {
	return r, a.Call(ctx, "node.remove", map[string]string{"id": id}, &r)
}

// AddDomain makes a domain. One that exists is no error.
func (a *Admin) AddDomain(ctx context.Context, name string) error {
	return existing(a.Call(ctx, "domain.add", map[string]string{"name": name}, nil))
}

// AddAccount makes an account with its mailboxes. If it exists, it gets the password.
func (a *Admin) AddAccount(ctx context.Context, address, password string) error {
	err := a.Call(ctx, "account.add", map[string]string{"address": address, "password": password}, nil)
	if err != nil && existing(err) == nil {
		return a.SetPassword(ctx, address, password)
	}
	return err
}

// SetPassword changes an account's password.
func (a *Admin) SetPassword(ctx context.Context, address, password string) error {
	return a.Call(ctx, "account.passwd", map[string]string{"address": address, "password": password}, nil)
}

// Set changes a setting of the cluster.
func (a *Admin) Set(ctx context.Context, name, value string) error {
	return a.Call(ctx, "set", map[string]string{"name": name, "value": value}, nil)
}

// Waiting is a recipient that a message waits for in a queue.
type Waiting struct {
	QueueID   string `json:"queue_id"`
	Queue     string `json:"queue"`
	Sender    string `json:"sender"`
	Recipient string `json:"recipient"`
	Attempts  uint32 `json:"attempts"`
	Owner     string `json:"owner"`
	Notice    string `json:"notice"` // the sender waits to be told this
	Reason    string `json:"reason"` // what the last attempt met
}

// queuePlace is where a list of what waits goes on.
type queuePlace struct {
	Message uint64 `json:"message"`
	Number  uint32 `json:"number"`
}

// Queue lists all that waits.
func (a *Admin) Queue(ctx context.Context) (list []Waiting, err error) {
	for from := (&queuePlace{}); from != nil; {
		var page struct {
			Entries []Waiting   `json:"entries"`
			Next    *queuePlace `json:"next"`
		}
		if err := a.Call(ctx, "queue.list", map[string]any{"from": from}, &page); err != nil {
			return nil, err
		}
		list, from = append(list, page.Entries...), page.Next
	}
	return list, nil
}

// Flush has all that waits tried again now, instead of when it is due.
func (a *Admin) Flush(ctx context.Context) error {
	for from := (&queuePlace{}); from != nil; {
		var done struct {
			Next *queuePlace `json:"next"`
		}
		if err := a.Call(ctx, "queue.act", map[string]any{"from": from, "action": "retry", "who": "jepsen"}, &done); err != nil {
			return err
		}
		from = done.Next
	}
	return nil
}
