package db

import (
	"bytes"
	"regexp"
)

// broken finds lines that no fault excuses: a panic, also one that the program caught and logged, a data race, an invariant that does not hold.
var broken = regexp.MustCompile(`(?i)\bpanic\b|^fatal error: |DATA RACE|invariant|^goroutine \d+ \[`)

// suspicious are the lines of a log that a checker shall see, each kind of trace by its first line.
func suspicious(log []byte) []string {
	var out []string
	inTrace := false
	for line := range bytes.Lines(log) {
		line = bytes.TrimRight(line, "\n")
		hit := broken.Match(line)
		if hit && !(inTrace && bytes.HasPrefix(line, []byte("goroutine "))) {
			out = append(out, string(line))
		}
		inTrace = hit || inTrace && !bytes.HasPrefix(line, []byte("time="))
	}
	return out
}

func lastLine(log []byte) string {
	log = bytes.TrimRight(log, "\n")
	return string(log[bytes.LastIndexByte(log, '\n')+1:])
}

// replaceMe finds what the program says when its data is lost: it must be replaced.
var replaceMe = regexp.MustCompile(`join anew|anew with an invite|replace this node|must be replaced`)

// refused tells whether the process that was started last said that it has to be replaced.
func (n *Node) refused() bool { return replaceMe.Match(n.sinceStart()) }

// reasons are words of a node that ends because its disk is damaged or fails, and says so.
var reasons = regexp.MustCompile(`damaged|corrupt|checksum|lost|anew|the next start|input/output error|no space left`)

// SaysWhy tells whether a node that ended by itself gave a reason that an operator can act on.
func (n *Node) SaysWhy() bool {
	words := n.LastWords()
	return reasons.MatchString(words) && !broken.MatchString(words)
}
