package queue

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// deliver tries to hand a message to another system. That it is about to is written first: if this process dies, whoever goes on knows which
// recipients may have been served.
func (m *Manager) deliver(ctx, writing context.Context, items []*item, end *jobEnd) error {
	mine, err := m.beginAttempts(ctx, items)
	if err != nil {
		return fmt.Errorf("begin an attempt: %w", err)
	}
	if len(mine) == 0 {
		return nil
	}
	begin := time.Now()
	outs := m.send(ctx, mine)
	m.cfg.Metrics.AttemptSeconds.Observe(time.Since(begin).Seconds())
	end.note(outs)
	i := -1
	return m.writeAll(writing, m.decideAll(mine, func(*item) Outcome { i++; return outs[i] }))
}

// note takes from outcomes what they say of their destination: it was reached if it was for one of them.
func (end *jobEnd) note(outs []Outcome) {
	for _, o := range outs {
		end.reached = end.reached || o.Reached
		if o.HostDown {
			end.unreachable = cmp.Or(o.Reason, "it cannot be reached")
		}
	}
	if end.reached {
		end.unreachable = ""
	}
}

// beginAttempts writes that attempts begin, and returns those that may.
func (m *Manager) beginAttempts(ctx context.Context, items []*item) ([]*item, error) {
	var refs []*storepb.QueueRef
	for _, it := range items {
		refs = append(refs, refOf(it.entry))
	}
	codes, err := m.attempts.write(ctx, refs)
	if err != nil {
		return nil, err
	}
	var mine []*item
	for i, it := range items {
		if codes[i] != 0 {
			continue // held, ended or another's since it was read
		}
		begun := proto.CloneOf(it.entry)
		begun.Attempts++
		mine = append(mine, &item{entry: begun, from: it.from, sender: it.sender, dest: it.dest})
	}
	return mine, nil
}

// send makes the attempt. Whatever goes wrong, there is an outcome for each.
func (m *Manager) send(ctx context.Context, items []*item) []Outcome {
	entries := entriesOf(items)
	msg, err := m.message(entries[0].Message)
	if err == nil {
		outs := m.cfg.Sender.Send(ctx, msg, entries)
		if len(outs) == len(entries) {
			return outs
		}
		err = fmt.Errorf("%d outcomes for %d recipients", len(outs), len(entries))
	}
	m.cfg.Logger.Error("send", "err", err)
	all := make([]Outcome, len(entries))
	for i := range all {
		all[i] = Outcome{Result: store.AttemptDeferred, Code: 451, Status: "4.3.0", Reason: "local trouble: " + err.Error()}
	}
	return all
}

// message is a message that waits, with how to read it.
func (m *Manager) message(id uint64) (*Message, error) {
	v := m.cfg.Store.View()
	defer v.Close()
	msg, err := v.QueueMessage(id)
	if err != nil {
		return nil, fmt.Errorf("read queued message %d: %w", id, err)
	}
	email, err := v.Email(store.EmailID(msg.Email))
	if err != nil {
		return nil, fmt.Errorf("read the content of %s: %w", msg.QueueId, err)
	}
	body, err := store.BodyIDFromBytes(email.BodyId)
	if err != nil {
		return nil, err
	}
	return &Message{QueueMessage: msg, Summary: email.Summary, Open: func(ctx context.Context) (io.ReadCloser, error) { return m.cfg.Store.OpenBody(ctx, body) }}, nil
}

// orphansEvery is how often a Manager looks for attempts that nobody makes.
const orphansEvery = 15 * time.Second

// freeOrphans ends attempts of this node that are under way nowhere: an earlier process of this node began them, or this one did and was
// not told so. How they ended is not known, so they are made again.
func (m *Manager) freeOrphans(writing context.Context) {
	v := m.cfg.Store.View()
	list, err := v.Attempting(m.cfg.Self, m.cfg.Jobs*perJob+maxRefs)
	v.Close()
	if err != nil {
		m.cfg.Logger.Error("look for attempts that were interrupted", "err", err)
		return
	}
	var outcomes []*storepb.QueueOutcome
	for _, e := range list {
		if m.line.has(placeOf(e)) {
			continue
		}
		outcomes = append(outcomes, &storepb.QueueOutcome{Ref: refOf(e), Result: uint32(store.AttemptDeferred), Code: 451, Status: "4.3.0",
			Reason: "the attempt was interrupted; how it ended is not known", DueUnixMs: m.cfg.Now().UnixMilli()})
	}
	if len(outcomes) > 0 {
		m.cfg.Logger.Info("attempts were interrupted and are made again", "count", len(outcomes))
		m.start(func() jobEnd {
			_ = m.writeAll(writing, outcomes) // if not, they are found again
			return jobEnd{}
		})
	}
}
