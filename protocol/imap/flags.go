package imap

import "strings"

var systemFlags = [...]Flag{FlagSeen, FlagAnswered, FlagFlagged, FlagDeleted, FlagDraft, FlagRecent}

// CanonicalFlag gives a system flag the spelling of its constant; keywords are returned as they are.
func CanonicalFlag(f Flag) Flag {
	for _, s := range systemFlags {
		if strings.EqualFold(string(s), string(f)) {
			return s
		}
	}
	return f
}

func isSystemFlag(f Flag) bool {
	for _, s := range systemFlags {
		if s == f {
			return true
		}
	}
	return false
}

// IsKeyword tells whether the flag is a keyword rather than a system flag.
func (f Flag) IsKeyword() bool { return !strings.HasPrefix(string(f), `\`) }

// ValidKeyword tells whether s may stand as a keyword on the wire: an atom (RFC 9051 §9, flag-keyword).
func ValidKeyword(s string) bool { return s != "" && isAtom(s) }

func isAtom(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAtomChar(s[i]) {
			return false
		}
	}
	return s != ""
}
