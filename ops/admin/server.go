package admin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/durable"
)

// maxRequestBytes bounds a request's body.
const maxRequestBytes = 1 << 20

// writeTimeout is how long a method may take until its answer is sent.
const writeTimeout = 2 * time.Minute

// TokenFile is the name of the token's file in the data folder.
const TokenFile = "admin.token"

// Server answers administrators. Register methods with Handle before Serve.
type Server struct {
	mux   *http.ServeMux
	token string
	log   *slog.Logger

	writeTimeout time.Duration // of what Handle registers, from the request's head to the end of the answer; tests shorten it
}

// New makes a server and writes a fresh token into dataDir.
func New(dataDir string, log *slog.Logger) (*Server, error) {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return nil, fmt.Errorf("make the admin token: %w", err)
	}
	s := &Server{mux: http.NewServeMux(), token: hex.EncodeToString(raw), log: log, writeTimeout: writeTimeout}
	if err := durable.WriteFile(filepath.Join(dataDir, TokenFile), []byte(s.token+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write the admin token: %w", err)
	}
	return s, nil
}

// Handle registers a method: fn gets the decoded request, and its answer is sent as JSON.
func Handle[Req, Res any](s *Server, method string, fn func(context.Context, Req) (Res, error)) {
	handle(s, method, fn, false)
}

// HandleLong is Handle for what may take longer than writeTimeout, such as reading everything that a node holds: only sending the answer
// has that limit. Its context ends when the client goes away.
func HandleLong[Req, Res any](s *Server, method string, fn func(context.Context, Req) (Res, error)) {
	handle(s, method, fn, true)
}

func handle[Req, Res any](s *Server, method string, fn func(context.Context, Req) (Res, error), long bool) {
	s.mux.HandleFunc("POST /v1/"+method, func(w http.ResponseWriter, r *http.Request) {
		if !s.allowed(r) {
			reply(w, http.StatusUnauthorized, errorBody{"wrong or missing token: read " + TokenFile + " in the node's data folder"})
			return
		}
		var req Req
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBytes))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&req); err != nil {
			reply(w, http.StatusBadRequest, errorBody{"read the request: " + err.Error()})
			return
		}
		if err := s.extend(w, long, time.Time{}); err != nil {
			reply(w, http.StatusInternalServerError, errorBody{err.Error()})
			return
		}
		res, err := fn(r.Context(), req)
		if err := s.extend(w, long, time.Now().Add(s.writeTimeout)); err != nil {
			return // the connection is gone
		}
		if err != nil {
			reply(w, statusOf(err), errorBody{err.Error()})
			return
		}
		reply(w, http.StatusOK, res)
	})
}

// extend moves the deadline of a long method's answer.
func (s *Server) extend(w http.ResponseWriter, long bool, deadline time.Time) error {
	if !long {
		return nil
	}
	return http.NewResponseController(w).SetWriteDeadline(deadline)
}

// Serve answers on l until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: s.mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: s.writeTimeout,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close() // what outlasts the grace is cut
		}
	})
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin: %w", err)
	}
	return nil
}

func (s *Server) allowed(r *http.Request) bool {
	got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(got), []byte(s.token)) == 1
}

type errorBody struct {
	Error string `json:"error"`
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client went away: nobody is left to tell
}

// statuses maps the errors that callers act on to HTTP's and back.
var statuses = []struct {
	err    error
	status int
}{
	{store.ErrNotFound, http.StatusNotFound},
	{store.ErrExists, http.StatusConflict},
	{store.ErrConflict, http.StatusPreconditionFailed},
	{store.ErrInvalid, http.StatusUnprocessableEntity},
	{store.ErrOverQuota, http.StatusInsufficientStorage},
	{store.ErrTooLarge, http.StatusRequestEntityTooLarge},
	{store.ErrDenied, http.StatusForbidden},
	{store.ErrUnknownOutcome, http.StatusGatewayTimeout},
	{store.ErrUnavailable, http.StatusServiceUnavailable},
}

func statusOf(err error) int {
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return s.status
		}
	}
	return http.StatusInternalServerError
}

func errorOf(status int, text string) error {
	for _, s := range statuses {
		if s.status == status {
			return remoteError{text, s.err}
		}
	}
	return errors.New(text)
}

// remoteError is a node's refusal: its text, and the error of package store that it stands for.
type remoteError struct {
	text  string
	cause error
}

func (e remoteError) Error() string { return e.text }
func (e remoteError) Unwrap() error { return e.cause }
