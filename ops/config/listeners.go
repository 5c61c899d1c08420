package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// mailListeners are the listeners that take mail, as [listeners] in the file names them.
var mailListeners = []string{"smtp", "submission", "submissions", "lmtp"}

// PerListener is a number for each listener that takes mail: the same for all of them, but for those that have their own.
type PerListener struct {
	all int
	own [4]int // in the order of mailListeners; all, where nothing else is said
}

// Of is a listener's number. The listener has the name that it has in [listeners]: "smtp", "submission", "submissions" or "lmtp".
func (p PerListener) Of(listener string) int {
	if i := slices.Index(mailListeners, listener); i >= 0 {
		return p.own[i]
	}
	return p.all
}

func sameForAll(n int) PerListener {
	return PerListener{all: n, own: [4]int{n, n, n, n}}
}

// listenerSetting is a number that each listener may have its own of: "25" or "25, submission=50".
func listenerSetting(name string, value, least, most int, doc string) SettingOf[PerListener] {
	span, within := within(least, most, strconv.Itoa)
	check := func(p PerListener) error {
		for _, n := range append([]int{p.all}, p.own[:]...) {
			if err := within(n); err != nil {
				return err
			}
		}
		return nil
	}
	parse := func(s string) (PerListener, error) { return parsePerListener(s, span) }
	return newSetting(name, "number per listener", sameForAll(value), span, doc, parse, check, PerListener.String)
}

// parsePerListener reads a number, and behind it those of listeners that have their own.
func parsePerListener(s, span string) (PerListener, error) {
	first, rest, more := strings.Cut(s, ",")
	if strings.Contains(first, "=") {
		return PerListener{}, fmt.Errorf("%q says nothing of the other listeners: begin with the number for all, as in %q", s, "25, submission=50")
	}
	n, err := parseNumber(first, span)
	p := sameForAll(n)
	if err != nil || !more {
		return p, err
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(rest, ",") {
		listener, value, ok := strings.Cut(part, "=")
		listener = strings.TrimSpace(listener)
		i := slices.Index(mailListeners, listener)
		switch {
		case !ok:
			return p, fmt.Errorf("%q has no listener: write it as in %q", strings.TrimSpace(part), "25, submission=50")
		case i < 0:
			return p, fmt.Errorf("%q is no listener for mail: choose %s", listener, strings.Join(mailListeners, ", "))
		case seen[listener]:
			return p, fmt.Errorf("%s is named twice: once is enough", listener)
		}
		seen[listener] = true
		if p.own[i], err = parseNumber(value, span); err != nil {
			return p, err
		}
	}
	return p, nil
}

func parseNumber(s, span string) (int, error) {
	s = strings.TrimSpace(s)
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%q is no whole number: choose %s", s, span)
	}
	return n, nil
}

// String is the number for all, and behind it those that differ.
func (p PerListener) String() string {
	text := strconv.Itoa(p.all)
	for i, listener := range mailListeners {
		if p.own[i] != p.all {
			text += ", " + listener + "=" + strconv.Itoa(p.own[i])
		}
	}
	return text
}
