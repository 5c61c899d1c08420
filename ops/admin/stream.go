package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// streamStall is how long a client may take for the next piece of a stream.
const streamStall = 2 * time.Minute

// HandleStream registers a method whose answer is a stream of bytes. An error before the first byte is a refusal like any other; a
// later one breaks the connection off, so that nobody takes half a stream for a whole one.
func HandleStream[Req any](s *Server, method string, fn func(context.Context, Req, io.Writer) error) {
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
		out := &streamWriter{w: w, c: http.NewResponseController(w)}
		err := fn(r.Context(), req, out)
		switch {
		case err == nil:
		case out.begun:
			s.log.Info("a stream broke off", "pkg", "admin", "method", method, "err", err)
			panic(http.ErrAbortHandler) // net/http's way to break off; it recovers this one silently
		default:
			reply(w, statusOf(err), errorBody{err.Error()})
		}
	})
}

// streamWriter gives each piece its own deadline.
type streamWriter struct {
	w     http.ResponseWriter
	c     *http.ResponseController
	begun bool
}

func (s *streamWriter) Write(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", "application/octet-stream")
	}
	if err := s.c.SetWriteDeadline(time.Now().Add(streamStall)); err != nil {
		return 0, fmt.Errorf("set the deadline: %w", err)
	}
	return s.w.Write(p)
}

// Stream posts req to a method that answers with a stream. It must be closed; a stream that breaks off ends with an error other than
// io.EOF.
func (c *Client) Stream(ctx context.Context, method string, req any) (io.ReadCloser, error) {
	resp, err := c.post(ctx, method, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxRequestBytes))
	if err != nil {
		return nil, fmt.Errorf("read the node's answer: %w", err)
	}
	return nil, refusal(resp, raw)
}

// post sends a request with the token of the moment.
func (c *Client) post(ctx context.Context, method string, req any) (*http.Response, error) {
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node/v1/"+method, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	hr.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.http.Do(hr)
	if err != nil {
		return nil, c.broken(err)
	}
	return resp, nil
}

func refusal(resp *http.Response, raw []byte) error {
	var e errorBody
	if json.Unmarshal(raw, &e) != nil || e.Error == "" {
		e.Error = fmt.Sprintf("the node answered %s", resp.Status)
	}
	return errorOf(resp.StatusCode, e.Error)
}
