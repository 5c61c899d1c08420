package cluster

import "testing"

// The newest news is that of the latest term, and in one term the highest index; what comes late replaces nothing.
func TestNewestNewsStays(t *testing.T) {
	d := newsDesk{wake: make(chan struct{}, 1)}
	for _, step := range []struct {
		heard commitNews
		fresh bool
	}{
		{commitNews{index: 10, entryTerm: 2, term: 2, leader: "a"}, true},
		{commitNews{index: 9, entryTerm: 2, term: 2, leader: "a"}, false},
		{commitNews{index: 10, entryTerm: 2, term: 2, leader: "a"}, false},
		{commitNews{index: 12, entryTerm: 2, term: 2, leader: "a"}, true},
		{commitNews{index: 11, entryTerm: 2, term: 3, leader: "b"}, true}, // a later leader has committed less so far
		{commitNews{index: 13, entryTerm: 2, term: 2, leader: "a"}, false},
	} {
		d.hear(step.heard)
		woken := len(d.wake) > 0
		if woken != step.fresh || woken && d.get() != step.heard {
			t.Errorf("after %+v: woken %v, %+v is the newest", step.heard, woken, d.get())
		}
		if woken {
			<-d.wake
		}
	}
}

// An answer without news, such as an older program's, or an error's text, is none.
func TestOnlyNewsAreHeard(t *testing.T) {
	n := &Node{news: newsDesk{wake: make(chan struct{}, 1)}}
	for _, b := range [][]byte{nil, make([]byte, 8), make([]byte, commitNewsBytes-1), make([]byte, commitNewsBytes+1)} {
		if n.hearNews("a", b); len(n.news.wake) > 0 {
			t.Errorf("%d bytes are taken for news", len(b))
		}
	}
}
