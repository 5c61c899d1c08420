package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/time/rate"

	"github.com/quorumail/quorumail/store"
)

// scrubChunk is how much is read between two looks at the rate.
const scrubChunk = 64 << 10

// Scrub implements Store. It goes through the segments in their order, so that a disk reads forward.
func (d *Disk) Scrub(ctx context.Context, bytesPerSecond int64, onBad func(id store.BodyID, err error)) error {
	limit := rate.Inf
	if bytesPerSecond > 0 {
		limit = rate.Limit(bytesPerSecond)
	}
	limiter := rate.NewLimiter(limit, scrubChunk)
	for _, number := range d.numbers() {
		for from := int64(0); ; {
			page, err := d.liveIn(tablePlace, number, from)
			if err != nil {
				return fmt.Errorf("scrub segment %d: %w", number, err)
			}
			for _, x := range page {
				if err := d.scrubBody(ctx, limiter, x.id, onBad); err != nil {
					return fmt.Errorf("scrub segment %d: %w", number, err)
				}
			}
			if len(page) < eachPage {
				break
			}
			from = page[len(page)-1].at.offset + 1
		}
	}
	return nil
}

func (d *Disk) numbers() []uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []uint64
	for number := range d.segments {
		list = append(list, number)
	}
	slices.Sort(list)
	return list
}

// scrubBody reads one body. Its error is one that ends the scrub.
func (d *Disk) scrubBody(ctx context.Context, limiter *rate.Limiter, id store.BodyID, onBad func(store.BodyID, error)) error {
	encoded, _, err := d.OpenEncoded(id)
	if err == nil {
		err = errors.Join(readSlowly(ctx, limiter, encoded), encoded.Close())
	}
	switch {
	case errors.Is(err, ErrCorrupt):
		onBad(id, err)
		return nil
	case errors.Is(err, ErrNotFound):
		return nil // deleted meanwhile
	}
	return err
}

func readSlowly(ctx context.Context, limiter *rate.Limiter, r io.Reader) error {
	buffer := make([]byte, scrubChunk)
	for {
		n, err := r.Read(buffer)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := limiter.WaitN(ctx, n); err != nil {
			return err
		}
	}
}
