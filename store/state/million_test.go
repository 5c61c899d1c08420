package state

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/storepb"
)

// A node with a million messages of 1 KiB starts in time, fits into memory, and gives and takes a checkpoint. Figures are printed; the
// limits are those of the project. QUORUMAIL_SOAK=1 runs it; QUORUMAIL_MESSAGES sets another number.
func TestMillionMessages(t *testing.T) {
	if os.Getenv("QUORUMAIL_SOAK") != "1" {
		t.Skip("takes minutes: set QUORUMAIL_SOAK=1")
	}
	messages := 1_000_000
	if n, err := strconv.Atoi(os.Getenv("QUORUMAIL_MESSAGES")); err == nil {
		messages = n
	}
	dir := t.TempDir()
	node := func(name string) (*Machine, *blob.Disk) {
		t.Helper()
		blobs, err := blob.Open(blob.Config{Dir: filepath.Join(dir, name, "blobs")})
		if err != nil {
			t.Fatal(err)
		}
		m, err := Open(Config{Dir: filepath.Join(dir, name, "state"), Blobs: blobs, Self: "a"})
		if err != nil {
			t.Fatal(err)
		}
		return m, blobs
	}
	m, blobs := node("a")
	clock := stopwatch{t: t}
	fill(t, m, messages)
	clock.lap("apply")
	if err := m.Persist(); err != nil {
		t.Fatal(err)
	}
	clock.lap("persist")
	tail := min(65_000, messages/4)
	fillMore(t, m, messages, tail)
	clock.lap("apply a tail of %d", tail)
	closeAll(t, m, blobs)
	clock.lap("close")

	m, blobs = node("a")
	clock.lap("open")
	if gone, err := m.UnsureInline(); err != nil || len(gone) != 0 {
		t.Errorf("%d bodies are gone (%v)", len(gone), err)
	}
	clock.lap("look at %d bodies that were not persisted", tail)
	_, size, r, err := m.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	clock.lap("measure a checkpoint of %d MiB", size>>20)
	f, err := os.Create(filepath.Join(dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(f, r); err != nil || n != size {
		t.Fatalf("%d of %d bytes: %v", n, size, err)
	}
	clock.lap("write it")
	if err := m.Check(); err != nil {
		t.Error(err)
	}
	clock.lap("check every invariant")
	closeAll(t, m, blobs)

	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	to, toBlobs := node("b")
	clock.lap("begin another node")
	if err := to.Restore(f); err != nil {
		t.Fatal(err)
	}
	clock.lap("restore the checkpoint")
	closeAll(t, to, toBlobs)
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func closeAll(t *testing.T, m *Machine, blobs *blob.Disk) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if err := blobs.Close(); err != nil {
		t.Error(err)
	}
}

// stopwatch prints how long things took, and the process's memory afterwards. It judges nothing: machines differ.
type stopwatch struct {
	t    *testing.T
	last time.Time
}

func (s *stopwatch) lap(format string, args ...any) {
	if now := time.Now(); !s.last.IsZero() {
		s.t.Logf("%-50s %8.2f s, %s", fmt.Sprintf(format, args...), now.Sub(s.last).Seconds(), resident())
	} else {
		s.t.Logf("%-50s %s", fmt.Sprintf(format, args...), resident())
	}
	s.last = time.Now()
}

func resident() string {
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "resident memory unknown"
	}
	out := ""
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "VmHWM") {
			out += strings.Join(strings.Fields(line), " ") + ", "
		}
	}
	return out + fmt.Sprintf("Go heap %d MiB", ms.HeapAlloc>>20)
}

// fill makes 100 accounts and delivers messages to them.
func fill(t *testing.T, m *Machine, messages int) {
	s := newStory(t, 1)
	log := s.begin()
	for i := range 97 {
		log = append(log, s.entry(s.command(0, &storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Create: true,
			Account: &storepb.Account{Address: fmt.Sprintf("v%d@example.test", i)}}}})))
	}
	if err := m.Apply(log); err != nil {
		t.Fatal(err)
	}
	fillMore(t, m, 0, messages)
}

func fillMore(t *testing.T, m *Machine, from, messages int) {
	r := rand.New(rand.NewPCG(uint64(from), 3))
	incarnation := make([]byte, 16)
	binary.BigEndian.PutUint64(incarnation, uint64(from)+99)
	index := m.Position().Index
	summary := make([]byte, 400)
	dir := t.TempDir()
	var batch []Entry
	for i := range messages {
		raw := make([]byte, 1024)
		for j := range raw {
			raw[j] = ' ' + byte(r.Uint32()%64)
		}
		enc := blob.NewEncoder(dir)
		if _, err := enc.Write(raw); err != nil {
			t.Fatal(err)
		}
		done, err := enc.Finish()
		if err != nil {
			t.Fatal(err)
		}
		id := done.ID([store.NonceBytes]byte{1})
		for j := range summary {
			summary[j] = ' ' + byte(r.Uint32()%64)
		}
		c := &storepb.Command{Version: 1, Incarnation: incarnation, Seq: uint64(i + 1), Lowest: uint64(max(1, i-60)), TimeUnixMs: int64(1_700_000_000_000 + i), Server: "a",
			Op: &storepb.Command_AddMessage{AddMessage: &storepb.AddMessage{Summary: summary, QueueId: fmt.Sprintf("Q%016x", i),
				Body:    &storepb.BodyRef{Id: id[:], RawBytes: 1024, EncodedBytes: done.CompressedBytes, Inline: done.Bytes(), Epoch: 1},
				Targets: []*storepb.Target{{Account: uint64(1 + r.IntN(100))}}}}}
		raw, err = proto.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		index++
		batch = append(batch, Entry{Index: index, Term: 1, Command: raw})
		if len(batch) == 64 || i == messages-1 {
			if err := m.Apply(batch); err != nil {
				t.Fatal(err)
			}
			batch = batch[:0]
		}
	}
}
