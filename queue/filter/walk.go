package filter

import (
	"slices"
	"unicode/utf8"
)

// walk is the way of texts through a dictionary, one after the other: which keywords are found in them.
//
// Keywords of several segments need memory: for each segment but the last, where it was found with all those before it. Only ends within
// reach of a later segment are kept: twice MaxGap and that segment's length of them at most.
type walk struct {
	dict  *dictionary
	found func(keyword int) // called when one was found, once in a text

	state    int32
	pos      int32                     // characters of this text seen
	words    [2 * MaxPatternBytes]bool // whether each of the last ones was of a word, by position
	blank    bool                      // the last one was a blank
	waiting  []int32                   // keywords found, if what follows is not of a word
	done     []bool                    // by keyword: found, or of no interest
	progress [][]int32                 // by slot: where the segment ended, ascending
	touched  []int32                   // slots with progress
}

func newWalk(d *dictionary, found func(int)) *walk {
	return &walk{dict: d, found: found, done: make([]bool, len(d.keywords)), progress: make([][]int32, d.slots)}
}

// begin starts a new text, in which the keywords that are wanted matter. It begins as if a blank stood before it, so that leading ones are
// passed over.
func (w *walk) begin(want func(keyword int) bool) {
	w.state, w.pos, w.blank, w.waiting = 0, 0, true, w.waiting[:0]
	for k := range w.done {
		w.done[k] = !want(k)
	}
	for _, slot := range w.touched {
		w.progress[slot] = w.progress[slot][:0]
	}
	w.touched = w.touched[:0]
}

// rune takes the next character of the folded text. Runs of white space are one blank; what nobody sees is passed over.
func (w *walk) rune(r rune) {
	if isInvisible(r) {
		return
	}
	if isBlank(r) {
		if w.blank {
			return
		}
		r = ' '
	}
	w.blank = r == ' '
	word := isWordRune(r)
	w.settle(word)
	var b [4]byte
	for _, c := range utf8.AppendRune(b[:0], r) {
		w.state = w.dict.step(w.state, c)
	}
	w.words[w.pos%int32(len(w.words))] = word
	w.pos++
	for at := w.state; at != 0; at = w.dict.nodes[at].next {
		for _, h := range w.dict.nodes[at].hits {
			w.hit(h)
		}
	}
}

// end says that the text is over.
func (w *walk) end() { w.settle(false) }

// settle decides those that waited for what follows.
func (w *walk) settle(word bool) {
	for _, k := range w.waiting {
		if !word {
			w.complete(k)
		}
	}
	w.waiting = w.waiting[:0]
}

// hit takes a segment that ends here.
func (w *walk) hit(h hit) {
	if w.done[h.keyword] {
		return
	}
	k, start := &w.dict.keywords[h.keyword], w.pos-int32(h.runes)
	if h.segment == 0 {
		if k.wordStart && start > 0 && w.words[(start-1)%int32(len(w.words))] {
			return
		}
	} else if !w.reached(h.slot-1, start) {
		return
	}
	switch {
	case int(h.segment) < len(k.segments)-1:
		w.remember(h.slot, MaxGap+len(k.segments[h.segment+1]))
	case k.wordEnd:
		w.waiting = append(w.waiting, h.keyword)
	default:
		w.complete(h.keyword)
	}
}

// reached tells whether the segment ended at start or at most MaxGap before it.
func (w *walk) reached(slot, start int32) bool {
	ends := w.progress[slot]
	i, _ := slices.BinarySearch(ends, start+1) // behind the last that is not too late
	return i > 0 && ends[i-1] >= start-MaxGap
}

// remember keeps that the segment ended here. Now and then it forgets ends that are out of reach.
func (w *walk) remember(slot int32, reach int) {
	ends := w.progress[slot]
	if len(ends) == 0 {
		w.touched = append(w.touched, slot)
	}
	if len(ends) >= 2*reach {
		i, _ := slices.BinarySearch(ends, w.pos-int32(reach))
		ends = ends[:copy(ends, ends[i:])]
	}
	w.progress[slot] = append(ends, w.pos)
}

func (w *walk) complete(k int32) {
	if !w.done[k] {
		w.done[k] = true
		w.found(int(k))
	}
}
