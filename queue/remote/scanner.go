package remote

// maxLine is the longest line without its end (RFC 5321 §4.5.3.1.6).
const maxLine = 998

// facts are what decides how bytes can travel.
type facts struct {
	size     int64 // with the line end that is added to a last line without one
	eightBit bool
	nul      bool
	long     bool // a line of more than maxLine bytes
	bare     bool // a CR without LF or an LF without CR: never sent, for servers differ on whether it ends a line
	open     bool // the last line has no end
}

// scanner finds the facts of what is written to it.
type scanner struct {
	facts facts
	line  int // bytes in the current line
	cr    bool
}

func (s *scanner) Write(p []byte) (int, error) {
	s.facts.size += int64(len(p))
	for _, c := range p {
		s.take(c)
	}
	return len(p), nil
}

func (s *scanner) take(c byte) {
	switch {
	case c == '\n':
		if !s.cr {
			s.facts.bare = true
		}
		s.cr, s.line = false, 0
		return
	case s.cr:
		s.facts.bare = true
	}
	if s.cr = c == '\r'; s.cr {
		return
	}
	if s.line++; s.line > maxLine {
		s.facts.long = true
	}
	if c >= 0x80 {
		s.facts.eightBit = true
	} else if c == 0 {
		s.facts.nul = true
	}
}

// finish gives the facts of the whole.
func (s *scanner) finish() facts {
	f := s.facts
	f.bare = f.bare || s.cr
	f.open = s.line > 0 || s.cr
	if f.open {
		f.size += 2
	}
	return f
}

// carriage is what a server bears.
type carriage struct {
	eightBit bool // 8BITMIME
	binary   bool // BINARYMIME
}

// fits tells whether bytes can go as they are.
func (f facts) fits(c carriage) bool {
	return !f.bare && (c.binary || !f.nul && !f.long) && (c.binary || c.eightBit || !f.eightBit)
}
