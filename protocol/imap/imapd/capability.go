package imapd

import (
	"context"
	"slices"
	"strconv"

	"github.com/quorumail/quorumail/protocol/imap"
)

// capabilitiesAlways hold in every state; capabilitiesAfter once the client is authenticated.
var (
	capabilitiesAlways = []string{"IMAP4rev1", "LITERAL+", "SASL-IR", "ID", "ENABLE", "IDLE"}
	capabilitiesAfter  = []string{
		"NAMESPACE", "UIDPLUS", "MOVE", "UNSELECT", "CHILDREN", "SPECIAL-USE", "CREATE-SPECIAL-USE", "LIST-EXTENDED", "LIST-STATUS",
		"STATUS=SIZE", "ESEARCH", "SEARCHRES", "WITHIN", "BINARY", "UTF8=ACCEPT", "CONDSTORE",
	}
)

// capabilities is what the server offers in this state of the session.
func (s *session) capabilities() []string {
	caps := append([]string(nil), capabilitiesAlways...)
	if s.user != nil {
		return append(append(caps, capabilitiesAfter...), "APPENDLIMIT="+strconv.FormatInt(s.cfg.Limits.MessageBytes, 10)) // RFC 7889 §3
	}
	if s.cfg.TLS != nil && !s.conn.tls {
		caps = append(caps, "STARTTLS")
	}
	if s.mayLogIn() {
		return append(caps, "AUTH=PLAIN")
	}
	return append(caps, "LOGINDISABLED")
}

// capability: RFC 9051 §6.1.1.
func (s *session) capability(context.Context, *imap.Command) (answer, error) {
	s.w.Capability(s.capabilities())
	return answer{}, nil
}

// noop is NOOP and CHECK (RFC 9051 §6.1.2, RFC 3501 §6.4.1): the updates that follow tell what any node has acknowledged so far.
func (s *session) noop(ctx context.Context, _ *imap.Command) (answer, error) {
	if s.user == nil {
		return answer{}, nil
	}
	return answer{}, s.barrier(ctx)
}

// logout: RFC 9051 §6.1.3.
func (s *session) logout(_ context.Context, cmd *imap.Command) (answer, error) {
	s.w.Status("", imap.StatusBYE, "", "Good bye")
	s.w.Status(cmd.Tag, imap.StatusOK, "", "LOGOUT completed")
	s.over = true
	return answer{}, nil
}

// id: RFC 2971. What the client says of itself is of no use to us.
func (s *session) id(context.Context, *imap.Command) (answer, error) {
	s.w.ID([][2]string{{"name", "Quorumail"}})
	return answer{}, nil
}

// namespace: RFC 9051 §6.3.10: one personal namespace.
func (s *session) namespace(context.Context, *imap.Command) (answer, error) {
	s.w.Namespace("", delimiter)
	return answer{}, nil
}

// enabled are the extensions that the client has asked for: with ENABLE, and CONDSTORE also by using it.
type enabled struct{ utf8, condStore bool }

// enable: RFC 9051 §6.3.1. What the server does not know is ignored.
func (s *session) enable(_ context.Context, cmd *imap.Command) (answer, error) {
	var now []string
	for _, name := range cmd.Args.(*imap.EnableArgs).Capabilities {
		switch {
		case name == "UTF8=ACCEPT" && !s.enabled.utf8: // RFC 6855 §3
			s.enabled.utf8 = true
			s.r.SetUTF8(true)
			s.w.SetUTF8(true)
			now = append(now, name)
		case name == "CONDSTORE" && s.enableCondStore(): // RFC 7162 §3.1
			now = append(now, name)
		}
	}
	s.w.Enabled(now)
	if slices.Contains(now, "CONDSTORE") {
		s.tellKnown()
	}
	return answer{}, nil
}
