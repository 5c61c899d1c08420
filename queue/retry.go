package queue

import (
	"math/rand/v2"
	"time"
)

// Policy says how long and how often a message is tried. The zero value has the defaults.
type Policy struct {
	MaxAge     time.Duration // after which a message is returned (RFC 5321 §4.5.4.1: at least 4 to 5 days); default 5 days
	QuotaGrace time.Duration // for which it waits for room in a full mailbox; 0: MaxAge
	WarnAfter  time.Duration // after which its sender is told that it is delayed; default 4 h; negative: never
}

func (p Policy) filled() Policy {
	if p.MaxAge == 0 {
		p.MaxAge = 5 * 24 * time.Hour
	}
	if p.WarnAfter == 0 {
		p.WarnAfter = 4 * time.Hour
	}
	return p
}

// steps are the waits after the first attempts: most troubles pass in minutes. After them it is lastStep each time.
var steps = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute}

const lastStep = time.Hour

// Wait is the time from an attempt to the next one, after so many attempts. The same arguments give the same wait; seeds spread messages that
// failed together over a fifth of the step (RFC 5321 §4.5.4.1).
func Wait(attempts uint32, seed uint64) time.Duration {
	step := lastStep
	if i := max(attempts, 1) - 1; int(i) < len(steps) {
		step = steps[i]
	}
	r := rand.New(rand.NewPCG(seed, uint64(attempts)))
	return step - step/10 + time.Duration(r.Int64N(int64(step/5)))
}

// expired tells whether a message has waited for too long.
func (p Policy) expired(age time.Duration) bool { return age >= p.MaxAge }

// late tells whether its sender should know that it waits.
func (p Policy) late(age time.Duration) bool { return p.WarnAfter > 0 && age >= p.WarnAfter }

// hostBackOff is how long a destination that cannot be reached is left alone, after so many failures in a row.
func hostBackOff(failures int, seed uint64) time.Duration {
	d := 30 * time.Minute
	if failures < 7 {
		d = 30 * time.Second << max(0, failures-1)
	}
	r := rand.New(rand.NewPCG(seed, uint64(failures)))
	return d - d/10 + time.Duration(r.Int64N(int64(d/5)))
}
