package dev

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// screen writes lines that stay, and below them one that is overwritten. Where nobody looks at a terminal the latter is left out.
type screen struct {
	mu   sync.Mutex
	out  io.Writer // guarded by mu
	live bool      // the last line is one that is overwritten; guarded by mu
	fd   int       // -1: no terminal
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out, fd: -1}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.fd = int(f.Fd())
	}
	return s
}

// say writes a line that stays.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.live = false
	}
	fmt.Fprintf(s.out, format+"\n", args...)
}

// show overwrites the last line. It is cut to the terminal's width: a line that wraps could not be overwritten.
func (s *screen) show(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return
	}
	if columns, _, err := term.GetSize(s.fd); err == nil && columns > 1 {
		text = text[:min(len(text), columns-1)]
	}
	fmt.Fprint(s.out, "\r\x1b[K"+text)
	s.live = true
}
