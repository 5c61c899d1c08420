package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// line is one line of the file; one of its fields is set.
type line struct {
	Run   *Run   `json:"run,omitempty"`
	Op    *Op    `json:"op,omitempty"`
	Fault *Fault `json:"fault,omitempty"`
	Note  *Note  `json:"note,omitempty"`
}

// History is a whole run.
type History struct {
	Run    Run
	Ops    []Op // in the order of their returns
	Faults []Fault
	Notes  []Note
}

// Recorder writes events as they end. All methods may be called from several goroutines.
type Recorder struct {
	began time.Time

	mu  sync.Mutex
	w   *bufio.Writer
	err error // the first
	h   History
}

// NewRecorder starts a run's clock. Lines go to w, which may be nil.
func NewRecorder(w io.Writer, run Run) *Recorder {
	if w == nil {
		w = io.Discard
	}
	r := &Recorder{began: time.Now(), w: bufio.NewWriterSize(w, 64<<10)}
	run.Began = r.began.UTC()
	r.h.Run = run
	r.write(line{Run: &run})
	return r
}

// Now is the run's time.
func (r *Recorder) Now() time.Duration { return time.Since(r.began) }

// Op records an operation that has ended.
func (r *Recorder) Op(o Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Ops = append(r.h.Ops, o)
	r.write(line{Op: &o})
}

// Fault records a fault that is over.
func (r *Recorder) Fault(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Faults = append(r.h.Faults, f)
	r.write(line{Fault: &f})
}

// Note records a remark.
func (r *Recorder) Note(n Note) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Notes = append(r.h.Notes, n)
	r.write(line{Note: &n})
}

// write needs mu.
func (r *Recorder) write(l line) {
	raw, err := json.Marshal(l)
	if err == nil {
		_, err = r.w.Write(append(raw, '\n'))
	}
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("write the history: %w", err)
	}
}

// History is a copy of what was recorded until now.
func (r *Recorder) History() *History {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.h
	h.Ops = append([]Op(nil), h.Ops...)
	h.Faults = append([]Fault(nil), h.Faults...)
	h.Notes = append([]Note(nil), h.Notes...)
	return &h
}

// Flush writes what is buffered, and returns the first error of any write.
func (r *Recorder) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.err, r.w.Flush())
}

// Load reads a file of lines. A last line that was cut off, as by a crash of the writer, is left out.
func Load(path string) (*History, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	defer f.Close()
	h := &History{}
	r := bufio.NewReaderSize(f, 1<<20)
	for n := 1; ; n++ {
		raw, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return h, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read line %d of the history: %w", n, err)
		}
		var l line
		if err := json.Unmarshal(raw, &l); err != nil {
			return nil, fmt.Errorf("line %d of %s: %w", n, path, err)
		}
		h.add(l)
	}
}

func (h *History) add(l line) {
	switch {
	case l.Run != nil:
		h.Run = *l.Run
	case l.Op != nil:
		h.Ops = append(h.Ops, *l.Op)
	case l.Fault != nil:
		h.Faults = append(h.Faults, *l.Fault)
	case l.Note != nil:
		h.Notes = append(h.Notes, *l.Note)
	}
}
