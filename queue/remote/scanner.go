package remote

import "bytes"

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
	n := len(p)
	s.facts.size += int64(n)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			s.text(p)
			break
		}
		s.text(p[:end])
		s.end()
		p = p[end+1:]
	}
	return n, nil
}

// text takes a line, or a part of one, without its LF.
func (s *scanner) text(p []byte) {
	if len(p) == 0 {
		return
	}
	cr := bytes.IndexByte(p, '\r')
	s.facts.bare = s.facts.bare || s.cr || cr >= 0 && cr < len(p)-1
	if s.cr = cr == len(p)-1; s.cr {
		p = p[:cr]
	}
	s.line += len(p)
	s.facts.long = s.facts.long || s.line > maxLine
	s.facts.nul = s.facts.nul || bytes.IndexByte(p, 0) >= 0
	s.facts.eightBit = s.facts.eightBit || bytes.ContainsFunc(p, func(r rune) bool { return r >= 0x80 })
}

// end takes an LF.
func (s *scanner) end() {
	s.facts.bare = s.facts.bare || !s.cr
	s.cr, s.line = false, 0
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
