package mime

import (
	"encoding/binary"
	"errors"
	"math"
)

// decoder reads what encoder writes. The first error sticks; all that is read after it is empty.
type decoder struct {
	b     []byte
	parts int
	err   error
}

func (d *decoder) fail(text string) {
	if d.err == nil {
		d.err, d.b = errors.New(text), nil
	}
}

func (d *decoder) uvarint() uint64 {
	n, k := binary.Uvarint(d.b)
	if k <= 0 {
		d.fail("bad number")
		return 0
	}
	d.b = d.b[k:]
	return n
}

func (d *decoder) number() int64 {
	n := d.uvarint()
	if n > math.MaxInt64/4 { // sums of a few cannot overflow
		d.fail("number too large")
		return 0
	}
	return int64(n)
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("unexpected end")
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n&1 != 0 {
		if n >>= 1; n < uint64(len(commonStrings)) {
			return commonStrings[n]
		}
		d.fail("unknown string number")
		return ""
	}
	if n >>= 1; n > uint64(len(d.b)) {
		d.fail("string longer than its message")
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

// count reads the length of a list whose elements take at least one byte each.
func (d *decoder) count() int {
	n := d.number()
	if n > int64(len(d.b)) {
		d.fail("list longer than its message")
		return 0
	}
	return int(n)
}

func (d *decoder) strings() []string {
	var out []string
	for n := d.count(); n > 0 && d.err == nil; n-- {
		out = append(out, d.string())
	}
	return out
}

func (d *decoder) params() []Param {
	var out []Param
	for n := d.count(); n > 0 && d.err == nil; n-- {
		out = append(out, Param{d.string(), d.string()})
	}
	return out
}

func (d *decoder) part(origin int64, depth int) *Part {
	p := &Part{}
	if d.parts++; d.parts > MaxParts+1 || depth > MaxDepth {
		d.fail("too many parts")
		return p
	}
	has := d.byte()
	p.Type, p.Subtype, p.Encoding = d.string(), d.string(), d.string()
	p.HeaderStart = origin + d.number()
	p.BodyStart = p.HeaderStart + d.number()
	p.End = p.BodyStart + d.number()
	if p.End > math.MaxInt64/4 {
		d.fail("offset too large")
	}
	p.Lines = d.number()
	if has&partParams != 0 {
		p.Params = d.params()
	}
	if has&partText != 0 {
		p.ID, p.Description, p.MD5, p.Location = d.string(), d.string(), d.string(), d.string()
	}
	if has&partDisposition != 0 {
		p.Disposition, p.DispositionParams = d.string(), d.params()
	}
	if has&partLanguage != 0 {
		p.Language = d.strings()
	}
	if has&partChildren != 0 {
		for n := d.count(); n > 0 && d.err == nil; n-- {
			p.Parts = append(p.Parts, d.part(p.BodyStart, depth+1))
		}
	}
	if has&partMessage != 0 && d.err == nil {
		p.Message = &Nested{Envelope: d.envelope()}
		p.Message.Root = d.part(p.BodyStart, depth+1)
	}
	return p
}

func (d *decoder) envelope() Envelope {
	var e Envelope
	for _, v := range [...]*Value{&e.Date, &e.Subject, &e.InReplyTo, &e.MessageID} {
		if d.number() != 0 {
			*v = Value{Text: d.string(), Present: true}
		}
	}
	e.From = d.addresses()
	for _, list := range [...]*[]Address{&e.Sender, &e.ReplyTo} {
		if *list = e.From; d.number() != 0 {
			*list = d.addresses()
		}
	}
	e.To, e.Cc, e.Bcc = d.addresses(), d.addresses(), d.addresses()
	return e
}

func (d *decoder) addresses() []Address {
	var out []Address
	for n := d.count(); n > 0 && d.err == nil; n-- {
		kind := AddressKind(d.number())
		out = append(out, Address{Kind: kind, Name: d.string(), Mailbox: d.string(), Host: d.string()})
	}
	return out
}
