package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/quorumail/quorumail/store"
)

// maxAnswerBytes bounds a node's answer.
const maxAnswerBytes = 256 << 20

// Client asks one node.
type Client struct {
	address string
	dataDir string
	http    *http.Client
}

// NewClient makes a client of the node whose admin listener is at address ("host:port" or "unix:/path") and whose data folder is dataDir.
func NewClient(address, dataDir string) *Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		network, where := networkOf(address)
		return (&net.Dialer{}).DialContext(ctx, network, where)
	}}
	return &Client{address: address, dataDir: dataDir, http: &http.Client{Transport: transport}}
}

// Close ends the connections that are kept for further calls.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Call posts req to a method and decodes the answer into res. A refusal by the node is an error that wraps the one of package store
// that it stands for; store.ErrUnavailable also when the node does not run, store.ErrUnknownOutcome when it broke off.
func (c *Client) Call(ctx context.Context, method string, req, res any) error {
	resp, err := c.post(ctx, method, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil || len(raw) > maxAnswerBytes {
		return fmt.Errorf("read the node's answer, %d bytes so far: %w: %w", len(raw), store.ErrUnknownOutcome, err)
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(resp, raw)
	}
	if res == nil {
		return nil
	}
	if err := json.Unmarshal(raw, res); err != nil {
		return fmt.Errorf("decode the node's answer: %w", err)
	}
	return nil
}

// token is read at each call, for it changes when the node starts again.
func (c *Client) token() (string, error) {
	raw, err := os.ReadFile(filepath.Join(c.dataDir, TokenFile))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", remoteError{fmt.Sprintf("the node has never run: %s does not exist (start it with: quorumail serve)", filepath.Join(c.dataDir, TokenFile)), store.ErrUnavailable}
	case errors.Is(err, os.ErrPermission):
		return "", fmt.Errorf("read the admin token: %w: whoever may read it administers the node; run this as root or as the user that the node runs as", err)
	case err != nil:
		return "", fmt.Errorf("read the admin token: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// broken says what a failed exchange means: without a connection nothing happened.
func (c *Client) broken(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return remoteError{fmt.Sprintf("the node does not answer at %s: is it running? (%v)", c.address, op.Err), store.ErrUnavailable}
	}
	return fmt.Errorf("ask the node at %s: %w: %w", c.address, store.ErrUnknownOutcome, err)
}
