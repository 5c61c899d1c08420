package mime

import "strings"

// BaseSubject returns the base subject of a decoded Subject and whether it was a reply or forward (RFC 5256 §2.1).
func BaseSubject(subject string) (base string, isReply bool) {
	s := strings.Join(strings.Fields(subject), " ") // (1)
	for {
		before := s
		for { // (2): trailing "(fwd)"
			t, ok := trimSuffixFold(s, "(fwd)")
			if !ok {
				break
			}
			s, isReply = strings.TrimSpace(t), true
		}
		for { // (3)-(5): leading "re:", "fw:", "[blob]"
			t, reply := stripLeader(s)
			if !reply {
				t = stripBlob(s)
			}
			if t == s {
				break
			}
			s, isReply = t, isReply || reply
		}
		// (6): "[fwd: ...]" around all of it
		if t, ok := trimPrefixFold(s, "[fwd:"); ok && strings.HasSuffix(t, "]") {
			s, isReply = strings.TrimSpace(t[:len(t)-1]), true
		}
		if s == before {
			return s, isReply
		}
	}
}

func trimPrefixFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return s, false
}

func trimSuffixFold(s, suffix string) (string, bool) {
	if n := len(s) - len(suffix); n >= 0 && strings.EqualFold(s[n:], suffix) {
		return s[:n], true
	}
	return s, false
}

// stripLeader removes subj-leader: *subj-blob subj-refwd.
func stripLeader(s string) (string, bool) {
	rest := s
	for strings.HasPrefix(rest, "[") {
		next, ok := blob(rest)
		if !ok {
			return s, false
		}
		rest = next
	}
	t, ok := trimPrefixFold(rest, "re")
	if !ok {
		if t, ok = trimPrefixFold(rest, "fwd"); !ok {
			if t, ok = trimPrefixFold(rest, "fw"); !ok {
				return s, false
			}
		}
	}
	t = strings.TrimLeft(t, " ")
	if next, ok := blob(t); ok {
		t = next
	}
	if !strings.HasPrefix(t, ":") {
		return s, false
	}
	return strings.TrimSpace(t[1:]), true
}

// stripBlob removes one leading "[...]" unless nothing would be left.
func stripBlob(s string) string {
	if rest, ok := blob(s); ok && rest != "" {
		return rest
	}
	return s
}

// blob: subj-blob = "[" *BLOBCHAR "]" *WSP.
func blob(s string) (rest string, ok bool) {
	if !strings.HasPrefix(s, "[") {
		return s, false
	}
	i := strings.IndexAny(s[1:], "[]")
	if i < 0 || s[1+i] != ']' {
		return s, false
	}
	return strings.TrimLeft(s[i+2:], " "), true
}
