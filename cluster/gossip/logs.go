package gossip

import (
	"regexp"
	"strings"
	"time"
)

// refusalsEvery paces the warnings about messages that no key opens: who sends them may send many.
const refusalsEvery = 10 * time.Second

// logs takes the lines of memberlist, which has no other way to say some things. The texts are those of the version in go.mod; the tests
// run against it.
type logs struct{ g *Gossip }

var (
	suspected = regexp.MustCompile(`Suspect (\S+) has failed`)
	sender    = regexp.MustCompile(`from=(\S+)`)
)

func (l logs) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	log := l.g.cfg.Logger
	switch m := suspected.FindStringSubmatch(text); {
	case m != nil:
		l.g.suspect(m[1])
	case strings.Contains(text, "No installed keys could decrypt") || strings.Contains(text, "not encrypted"):
		l.g.refused(text)
	case strings.Contains(text, "Conflicting address"):
		// A node that came back elsewhere before the others noticed that it was gone: it is taken once they have.
		log.Debug("gossip", "pkg", "gossip", "text", text)
	default:
		log.Debug("gossip", "pkg", "gossip", "text", text)
	}
	return len(line), nil
}

// refused warns of messages that no key opens.
func (g *Gossip) refused(text string) {
	from := "unknown"
	if m := sender.FindStringSubmatch(text); m != nil {
		from = m[1]
	}
	g.mu.Lock()
	g.refusals++
	count, now := g.refusals, time.Now()
	quiet := now.Sub(g.warned) < refusalsEvery
	if !quiet {
		g.warned, g.refusals = now, 0
	}
	g.mu.Unlock()
	if !quiet {
		g.cfg.Logger.Warn("refused gossip that none of this cluster's keys opens: a stranger, or a node that missed a rotation of the keys and must catch up",
			"pkg", "gossip", "conn", from, "count", count)
	}
}
