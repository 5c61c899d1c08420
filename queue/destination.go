package queue

import "time"

// destination is what is known of one lately.
type destination struct {
	active   int // jobs
	failures int // in a row, of reaching it
	until    time.Time
	reason   string
}

// destinations are those that are worked on, or could not be reached lately.
type destinations map[string]*destination

// maxDestinations bounds how many are known that could not be reached. What is forgotten is tried as if nothing had been.
const maxDestinations = 10_000

func (l destinations) of(name string) *destination {
	d := l[name]
	if d == nil {
		d = &destination{}
		l[name] = d
	}
	return d
}

// may tells whether one more job may begin: only one, as long as it is not known to answer again.
func (l destinations) may(name string, perDest int, now time.Time) bool {
	d := l[name]
	switch {
	case d == nil:
		return true
	case d.failures > 0:
		return d.active == 0 && !now.Before(d.until)
	}
	return d.active < perDest
}

// rests tells until when, and why, a destination is left alone; false: it is not.
func (l destinations) rests(name string, now time.Time) (until time.Time, reason string, rests bool) {
	d := l[name]
	if d == nil || !now.Before(d.until) {
		return time.Time{}, "", false
	}
	return d.until, d.reason, true
}

// left ends a job at a destination.
func (l destinations) left(name string) {
	d := l.of(name)
	if d.active--; d.active <= 0 && d.failures == 0 {
		delete(l, name)
	}
}

// reached notes that a destination answered. Call it before left.
func (l destinations) reached(name string) {
	if d := l[name]; d != nil {
		d.failures, d.until, d.reason = 0, time.Time{}, ""
	}
}

// unreachable notes that a destination cannot be reached: it rests, longer each time.
func (l destinations) unreachable(name, reason string, now time.Time) {
	d := l.of(name)
	if now.Before(d.until) {
		return // another job has said so already
	}
	d.failures++
	d.until, d.reason = now.Add(hostBackOff(d.failures, seedOfText(name))), clip(reason, 900)
	l.bound(now)
}

// wake ends a rest before its time: one attempt is made.
func (l destinations) wake(name string, now time.Time) {
	if d := l[name]; d != nil && now.Before(d.until) {
		d.until = now
	}
}

// bound forgets what rested long ago, and, of too many, others.
func (l destinations) bound(now time.Time) {
	if len(l) <= maxDestinations {
		return
	}
	for name, d := range l {
		if d.active == 0 && now.Sub(d.until) > time.Hour {
			delete(l, name)
		}
	}
	for name, d := range l {
		if len(l) <= maxDestinations*9/10 {
			return
		}
		if d.active == 0 {
			delete(l, name)
		}
	}
}
