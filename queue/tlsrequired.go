package queue

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/quorumail/quorumail/protocol/mime"
	"github.com/quorumail/quorumail/queue/remote"
	"github.com/quorumail/quorumail/queue/route"
)

// secured is the route of a plan, with what its domain says of TLS, unless the sender wants the message delivered whatever that is. What our own
// routes say of TLS is not the recipients' policy, and stays.
func (s *Mail) secured(ctx context.Context, plan route.Plan, m *Message) (remote.Route, error) {
	to := routeOf(plan)
	if s.Protect == nil {
		return to, nil
	}
	err := s.Protect(ctx, plan, &to)
	if err == nil && !isSecured(to, plan) || m.GetEnvelope().GetRequireTls() { // RFC 8689 §4.1: beside REQUIRETLS the field counts for nothing
		return to, err
	}
	optional, readErr := tlsOptional(ctx, m)
	switch {
	case readErr != nil:
		return to, readErr
	case optional:
		return routeOf(plan), nil
	}
	return to, err
}

// isSecured tells whether a route's hosts are not simply those of its plan.
func isSecured(to remote.Route, plan route.Plan) bool {
	return len(to.Hosts) < len(plan.Hosts) || slices.ContainsFunc(to.Hosts, func(h remote.Host) bool { return h.TLS != remote.TLSDefault })
}

// tlsOptional tells whether a message has the field "TLS-Required: No" (RFC 8689 §3). It is read only where it would change something, so that other
// messages are not opened for it.
func tlsOptional(ctx context.Context, m *Message) (bool, error) {
	body, err := m.Open(ctx)
	if err != nil {
		return false, fmt.Errorf("open the message for its header: %w", err)
	}
	defer func() { _ = body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(body, mime.MaxHeaderBytes))
	if err != nil {
		return false, fmt.Errorf("read the header: %w", err)
	}
	values := mime.ParseHeader(raw).Values("TLS-Required")
	return len(values) == 1 && strings.EqualFold(strings.TrimSpace(values[0]), "no"), nil
}
