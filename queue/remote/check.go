package remote

import (
	"context"
	"fmt"
	"io"
	"strconv"
)

// body is the message in the form that suits one server.
type body struct {
	write func(context.Context, io.Writer) error
	facts facts
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// check looks, before anything is said, for what the server cannot do. Recipients get their verdict where that decides. It returns whether
// there is something left to offer; an error means that the server as a whole will not do.
func (t *transaction) check(ctx context.Context) (bool, error) {
	if err := t.checkTLS(); err != nil {
		return false, err
	}
	t.checkUTF8()
	if len(t.batch) == 0 {
		return false, nil
	}
	b, bad := t.d.bodyFor(ctx, t.s.ext)
	if bad == nil {
		t.body = b
		bad = checkSize(b.facts.size, t.s.ext)
	}
	if bad != nil {
		t.d.settle(t.batch, bad, t.s)
		return false, nil
	}
	return true, nil
}

// checkTLS: RFC 8689 §4.2.1. A notice is not lost because the way back does not offer REQUIRETLS (§5); TLS to the right peer it needs all the same.
func (t *transaction) checkTLS() error {
	switch {
	case !t.d.msg.RequireTLS:
		return nil
	case t.s.tls == nil || !t.s.tls.verified:
		return noRequireTLS("the server's TLS is not verified")
	case !t.s.ext.requireTLS && !t.d.msg.From.IsNull():
		return noRequireTLS("the server does not offer it")
	}
	return nil
}

// checkSize: RFC 1870 §6.1.
func checkSize(size int64, ext extensions) *failure {
	if ext.sizeLimit == 0 || size <= ext.sizeLimit {
		return nil
	}
	return refused(552, "5.3.4", fmt.Sprintf("the message has %d bytes, the server takes %d", size, ext.sizeLimit))
}

// checkUTF8 decides on SMTPUTF8. A domain alone never needs it: it has an ASCII form.
func (t *transaction) checkUTF8() {
	msg := &t.d.msg
	whole := msg.UTF8 || msg.From.NeedsUTF8()
	var plain, needy []int
	for _, i := range t.batch {
		if whole || t.d.rcpts[i].Address.NeedsUTF8() {
			needy = append(needy, i)
		} else {
			plain = append(plain, i)
		}
	}
	if t.s.ext.utf8 || len(needy) == 0 {
		t.utf8 = len(needy) > 0
		return
	}
	t.batch = plain
	if whole { // RFC 6531 §3.5: X.6.7, non-ASCII addresses not permitted for that sender or recipient
		t.d.settle(needy, refused(550, "5.6.7", "the message needs SMTPUTF8, which the server does not offer"), t.s)
		return
	}
	t.d.settle(needy, refused(553, "5.6.7", "the address needs SMTPUTF8, which the server does not offer"), t.s)
}

// bodyFor gives the message as the server bears it: as it is, or converted.
func (d *delivery) bodyFor(ctx context.Context, ext extensions) (body, *failure) {
	c := carriage{eightBit: ext.eightBit, binary: ext.binary}
	if d.content.facts.fits(c) {
		return body{d.content.writeTo, d.content.facts}, nil
	}
	done, ok := d.changed[c]
	if !ok {
		done = convert(ctx, d.content, c)
		d.changed[c] = done
	}
	return done.body, done.bad
}

// converted is the outcome of a conversion.
type converted struct {
	body body
	bad  *failure
}
