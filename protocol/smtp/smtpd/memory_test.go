package smtpd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store/storepb"
)

// meter is a Store that keeps nothing, and measures the heap while bodies come in.
type meter struct {
	mu    sync.Mutex
	most  uint64 // bytes in use at any time that was looked at; guarded by mu
	total atomic.Int64
	taken atomic.Int64
}

type meterBody struct {
	m    *meter
	left int
}

func (b *meterBody) Write(p []byte) (int, error) {
	b.m.total.Add(int64(len(p)))
	if b.left -= len(p); b.left < 0 {
		b.left = 8 << 20
		b.m.look()
	}
	return len(p), nil
}

func (b *meterBody) Abort() {}

func (m *meter) look() {
	m.mu.Lock()
	defer m.mu.Unlock()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	m.most = max(m.most, s.HeapAlloc)
}

func (m *meter) NewBody() (Body, error) { return &meterBody{m: m}, nil }
func (m *meter) Ready() error           { return nil }

func (m *meter) AddMessage(context.Context, Body, *storepb.AddMessage) (*storepb.Result, error) {
	m.taken.Add(1)
	return &storepb.Result{Placed: []*storepb.PlacedMessage{{Account: 1}}}, nil
}

// A message of 50 MiB streams through, judged or not: each connection holds less than 1 MiB at any time.
func TestLargeMessagesTakeLittleMemory(t *testing.T) {
	const connections, size = 2, 50<<20 - 1000
	for name, tt := range map[string]struct {
		by     string
		checks Checks
	}{"DATA": {"DATA", nil}, "BDAT": {"BDAT", nil}, "judged by content": {"DATA", readAll{}}} {
		t.Run(name, func(t *testing.T) {
			m := &meter{}
			r := start(t, MX, func(c *Config) { c.Store, c.Checks, c.SpoolDir = m, tt.checks, t.TempDir() })
			m.look()
			before := m.most
			line := []byte(strings.Repeat("0123456789abcdef", 4) + "\r\n")
			chunk := bytes.Repeat(line, 1000)
			var wg sync.WaitGroup
			for range connections {
				c := r.dial()
				_ = c.c.SetDeadline(time.Now().Add(time.Minute))
				c.begin("alice@example.test")
				wg.Go(func() { c.pour(tt.by, chunk, size/len(chunk)) })
			}
			wg.Wait()
			if m.taken.Load() != connections || m.total.Load() < connections*(size-int64(len(chunk))) {
				t.Errorf("%d messages, %d bytes", m.taken.Load(), m.total.Load())
			}
			if grown := m.most - min(before, m.most); grown > connections<<20 {
				t.Errorf("the heap grew by %d KiB for %d connections", grown>>10, connections)
			}
		})
	}
}

// pour sends a message of n chunks.
func (c *client) pour(by string, chunk []byte, n int) {
	const head = "Message-ID: <m@remote.example>\r\n\r\n"
	var err error
	if by == "BDAT" {
		_, err = fmt.Fprintf(c.c, "BDAT %d LAST\r\n%s", len(head)+n*len(chunk), head)
	} else {
		_, err = io.WriteString(c.c, "DATA\r\n"+head)
	}
	for i := 0; i < n && err == nil; i++ {
		_, err = c.c.Write(chunk)
	}
	if by == "DATA" && err == nil {
		_, err = io.WriteString(c.c, ".\r\n")
	}
	if err != nil {
		c.t.Error(err)
		return
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "250 2.6.0 ") {
			if err != nil {
				c.t.Error(err)
			}
			return
		}
		if !strings.HasPrefix(line, "354") {
			c.t.Errorf("answered %q", line)
			return
		}
	}
}

// readAll are checks that read every byte.
type readAll struct{}

func (readAll) NeedsContent(bool) bool { return true }

func (readAll) Check(_ context.Context, m *CheckedMessage) (Verdict, error) {
	r, err := m.Open()
	if err != nil {
		return Verdict{}, err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return Verdict{}, err
}
