package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// Client asks one node.
type Client struct {
	address string
	dataDir string
	http    *http.Client
}

// NewClient makes a client of the node whose admin listener is at address ("host:port") and whose data folder is dataDir.
func NewClient(address, dataDir string) *Client {
	return &Client{address: address, dataDir: dataDir, http: &http.Client{}}
}

// Call posts req to a method and decodes the answer into res. A refusal by the node is an error that wraps the one of package store
// that it stands for.
func (c *Client) Call(ctx context.Context, method string, req, res any) error {
	// The token is read at each call, for it changes when the node starts again.
	token, err := os.ReadFile(filepath.Join(c.dataDir, TokenFile))
	if err != nil {
		return fmt.Errorf("read the admin token (is the node running, and may you read its data folder?): %w", err)
	}
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.address+"/v1/"+method, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	hr.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := c.http.Do(hr)
	if err != nil {
		return fmt.Errorf("ask the node at %s (is it running?): %w", c.address, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 256<<20))
	if err != nil {
		return fmt.Errorf("read the node's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var e errorBody
		if json.Unmarshal(raw, &e) != nil || e.Error == "" {
			e.Error = fmt.Sprintf("the node answered %s", resp.Status)
		}
		return errorOf(resp.StatusCode, e.Error)
	}
	if res == nil {
		return nil
	}
	if err := json.Unmarshal(raw, res); err != nil {
		return fmt.Errorf("decode the node's answer: %w", err)
	}
	return nil
}
