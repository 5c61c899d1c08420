package smtpd

import (
	"errors"
	"strings"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
)

// sayUnverified: RFC 5321 §3.5.3: it is neither known to be good nor to be bad.
const sayUnverified = "252 2.5.0 It is not known whether that address is good; send to it and see"

// vrfy is the reply to a user's VRFY (RFC 5321 §3.5.1).
func (s *session) vrfy(arg string) string {
	arg = strings.TrimSuffix(strings.TrimSuffix(arg, " SMTPUTF8"), " smtputf8") // RFC 6531 §3.7.4.2
	path, rest, err := smtp.ParsePath("<" + strings.TrimSuffix(strings.TrimPrefix(arg, "<"), ">") + ">")
	if err != nil || rest != "" || path.IsNull() {
		return "501 5.1.3 That is no address"
	}
	if path.Domain == "" {
		return sayUnverified
	}
	ctx, cancel := s.lookup()
	defer cancel()
	boxes, err := s.srv.cfg.Resolver.Resolve(ctx, path)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "550 5.1.1 No such mailbox here"
	case err != nil:
		return sayUnverified
	case len(boxes) == 1 && boxes[0].Remote:
		return "251 2.1.5 Mail is passed on to <" + asciiPath(boxes[0].Address) + ">"
	}
	return "250 2.1.5 <" + asciiPath(path.String()) + ">"
}

// asciiPath is an address as a reply without UTF-8 has it.
func asciiPath(address string) string {
	a, err := smtp.ParseAddress(address)
	if err != nil {
		return oneLine(address)
	}
	return oneLine(a.Wire(false))
}
