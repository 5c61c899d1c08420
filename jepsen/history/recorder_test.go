package history

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestLoadReadsWhatWasRecorded: nothing is lost on the way through the file.
func TestLoadReadsWhatWasRecorded(t *testing.T) {
	var file bytes.Buffer
	r := NewRecorder(&file, Run{Seed: 1<<63 + 1, Workload: []string{"deliver"}, Nodes: 3, Time: time.Minute, Args: []string{"-seed", "1"}})
	r.Op(Op{Workload: "w", Process: 3, Node: "n1", Kind: Append, Invoke: 1, Return: 2, Outcome: OK, Box: "u/INBOX", ID: "m1", UID: 4})
	r.Op(Op{Kind: Read, Outcome: OK, Mailbox: &Mailbox{UIDValidity: 1, UIDNext: 5, HighestModSeq: 1 << 62, Final: true,
		Messages: []Message{{UID: 4, ID: "m1", Flags: []string{`\seen`}, ModSeq: 9}}}})
	r.Fault(Fault{Name: "kill", Nodes: []string{"n1", "n2"}, Start: 3, End: 4, Detail: "line\nbreak"})
	r.Note(Note{At: 5, Node: "n1", Kind: "hash", Index: 12, Text: "abc"})
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "history.jsonl")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.History(), h); diff != "" {
		t.Error(diff)
	}
}

// TestLoadOfCutFile: a crash of the writer costs the last line; a bad line before is an error that names it.
func TestLoadOfCutFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.jsonl")
	good := `{"op":{"kind":"deliver","id":"m1","outcome":"ok"}}` + "\n"
	for _, c := range []struct {
		text string
		ops  int
		err  string
	}{
		{good + good[:20], 1, ""},
		{good + good, 2, ""},
		{"", 0, ""},
		{good + "{}}\n" + good, 0, "line 2"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := Load(path)
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("of %q: error %v", c.text, err)
		case c.err == "" && (err != nil || len(h.Ops) != c.ops):
			t.Errorf("of %q: %v, %v", c.text, h, err)
		}
	}
}

// TestRecorderIsShared by many clients; none of their operations is lost.
func TestRecorderIsShared(t *testing.T) {
	r := NewRecorder(nil, Run{})
	var wg sync.WaitGroup
	for p := range 8 {
		wg.Go(func() {
			for range 100 {
				now := r.Now()
				r.Op(Op{Process: p, Invoke: now, Return: r.Now()})
			}
		})
	}
	wg.Wait()
	if n := len(r.History().Ops); n != 800 {
		t.Errorf("%d operations", n)
	}
}

// brokenWriter fails every write.
type brokenWriter struct{}

var errBroken = errors.New("no space left")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestFlushTellsFirstError(t *testing.T) {
	r := NewRecorder(brokenWriter{}, Run{})
	r.Note(Note{Text: strings.Repeat("x", 200_000)})
	if err := r.Flush(); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}
