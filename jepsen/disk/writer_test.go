package disk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const writerEnv, holderEnv = "JEPSEN_DISK_WRITER", "JEPSEN_DISK_HOLDER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		fmt.Fprintln(os.Stderr, write(path))
		os.Exit(1)
	}
	if kind, dir, ok := strings.Cut(os.Getenv(holderEnv), ":"); ok {
		hold(Kind(kind), dir)
	}
	os.Exit(m.Run())
}

// hold mounts a volume, changes it and waits to be killed.
func hold(k Kind, dir string) {
	v, err := New(Config{Kind: k, Dir: dir, SizeBytes: 320 << 20})
	if err == nil {
		err = v.Mount()
	}
	for i := 0; i < 5 && err == nil; i++ {
		path := filepath.Join(v.Path(), "f")
		err = errors.Join(put(path, []byte("text")), put(path+"2", nil), os.Remove(path+"2"))
	}
	fmt.Println(err)
	select {}
}

func record(i int) string { return fmt.Sprintf("record %08d\n", i) }

// write is the program that uses a volume: it appends records, says "wrote N", syncs now and then, and acknowledges: "safe N".
func write(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), dir.Sync()); err != nil {
		return err
	}
	for i := range 1 << 20 {
		if _, err := f.WriteString(record(i)); err != nil {
			return err
		}
		fmt.Println("wrote", i+1)
		if rand.IntN(30) > 0 {
			time.Sleep(200 * time.Microsecond) // else the power would nearly always go during an fsync
			continue
		}
		if err := f.Sync(); err != nil {
			return err
		}
		fmt.Println("safe", i+1)
	}
	return nil
}

// writer is that program, running.
type writer struct {
	t           *testing.T
	cmd         *exec.Cmd
	path        string
	out         *bufio.Reader
	stderr      bytes.Buffer
	wrote, safe int
}

func startWriter(t *testing.T, v Volume, name string) *writer {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{t: t, path: filepath.Join(v.Path(), name)}
	w.cmd = exec.Command(exe)
	w.cmd.Env = append(os.Environ(), writerEnv+"="+w.path)
	w.cmd.Stderr = &w.stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.out = bufio.NewReader(out)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill() }) // most have ended
	return w
}

// read takes one line of the writer's.
func (w *writer) read() error {
	line, err := w.out.ReadString('\n')
	if err != nil {
		return err
	}
	what, n, _ := strings.Cut(strings.TrimSpace(line), " ")
	count, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	if what == "safe" {
		w.safe = count
	} else {
		w.wrote = count
	}
	return nil
}

// until reads until some more is written and safe.
func (w *writer) until(records int) {
	w.t.Helper()
	for w.safe == 0 || w.wrote < records {
		if err := w.read(); err != nil {
			w.t.Fatalf("the writer: %v: %s", err, &w.stderr)
		}
	}
}

// kill kills the writer and reads what it said last.
func (w *writer) kill() {
	w.t.Helper()
	_ = w.cmd.Process.Kill() // it may have seen the power go
	for {
		if err := w.read(); err != nil {
			if !errors.Is(err, io.EOF) {
				w.t.Error(err)
			}
			break
		}
	}
	_ = w.cmd.Wait() // killed
}

// survived counts the records that are whole and in their places.
func (w *writer) survived() int {
	w.t.Helper()
	raw, err := os.ReadFile(w.path)
	if err != nil {
		w.t.Fatalf("a file whose name was synced: %v", err)
	}
	n := 0
	for strings.HasPrefix(string(raw[n*len(record(0)):]), record(n)) {
		n++
	}
	return n
}
