package admin

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"time"

	"github.com/quorumail/quorumail/store"
)

// ProfileRequest asks for a profile of the node's process (method "profile"): "cpu", over Seconds, or one of runtime/pprof's by its
// name, such as "heap" or "goroutine".
type ProfileRequest struct {
	Kind    string `json:"kind"`
	Seconds int    `json:"seconds"` // 1 to 60
}

// Profile is a profile as "go tool pprof" reads it.
type Profile struct {
	Data []byte `json:"data"`
}

// TakeProfile answers ProfileRequest. store.ErrInvalid: there is no such profile; store.ErrConflict: another CPU profile is being taken.
func TakeProfile(ctx context.Context, r ProfileRequest) (Profile, error) {
	var out bytes.Buffer
	if r.Kind != "cpu" {
		p := pprof.Lookup(r.Kind)
		if p == nil {
			return Profile{}, fmt.Errorf("there is no profile %q: choose cpu, heap, allocs, goroutine, mutex or block: %w", r.Kind, store.ErrInvalid)
		}
		err := p.WriteTo(&out, 0)
		return Profile{out.Bytes()}, err
	}
	if r.Seconds < 1 || r.Seconds > 60 {
		return Profile{}, fmt.Errorf("a profile over %d seconds: choose 1 to 60: %w", r.Seconds, store.ErrInvalid)
	}
	if err := pprof.StartCPUProfile(&out); err != nil {
		return Profile{}, fmt.Errorf("take a profile: %w: %w", store.ErrConflict, err)
	}
	t := time.NewTimer(time.Duration(r.Seconds) * time.Second)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	pprof.StopCPUProfile()
	return Profile{out.Bytes()}, ctx.Err()
}
