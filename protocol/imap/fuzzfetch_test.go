package imap

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/quorumail/quorumail/protocol/mime"
)

// FuzzFetch: whatever a message is like, the responses about it are of the grammar of RFC 9051 §9 (envelope, body).
func FuzzFetch(f *testing.F) {
	for _, s := range []string{
		"From: \"A\\\"\" <a@b>, g: x@y;, =?utf-8?q?=00?= <\xff@\xfe>\r\nSubject: \xf0\r\nTo: undisclosed:;\r\n\r\nx",
		"Content-Type: multipart/mixed; boundary=b; x*=utf-8''%00%0d%0a\r\n\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Language: a, b\r\n\r\nSubject: x\r\n\r\n--b--",
		"Content-Type: text/\"x\r\nContent-Disposition: attachment; filename*0=\"a\\\\\"; filename*1=b\r\nContent-ID: (\x01\r\nContent-MD5: {3}\r\n\r\n",
		"Date: {5}\r\nMessage-ID: \"\r\nIn-Reply-To:\r\nSender: <>\r\nReply-To: @\r\n\r\n",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, utf8 bool) {
		sum, err := mime.Summarize(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		env, known := sum.Envelope()
		if !known {
			return
		}
		var out bytes.Buffer
		w := NewWriter(&out)
		w.SetUTF8(utf8)
		fw := w.Fetch(1)
		fw.Envelope(env)
		fw.Body(sum.Structure.Root)
		fw.BodyStructure(sum.Structure.Root)
		fw.Preview(sum.Preview, true)
		fw.InternalDate(time.Unix(0, 0))
		fw.End()
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := checkFetch(out.Bytes()); err != nil {
			t.Fatalf("%q\nis told as %q: %v", raw, out.Bytes(), err)
		}
	})
}

// checkFetch reads a FETCH response with the items of FuzzFetch.
func checkFetch(b []byte) error {
	const head, tail = "* 1 FETCH (", ")\r\n"
	if !bytes.HasPrefix(b, []byte(head)) || !bytes.HasSuffix(b, []byte(tail)) {
		return fmt.Errorf("not a FETCH response")
	}
	p := &parser{b: b[len(head) : len(b)-len(tail)], maxDepth: 1 << 20}
	for i, item := range []func(*parser){envelopeGrammar, bodyGrammar, bodyGrammar, func(p *parser) { p.str() }, func(p *parser) { p.str() }} {
		if i > 0 {
			p.sp()
		}
		p.atom()
		p.sp()
		item(p)
	}
	if p.err == nil && !p.atEnd() {
		p.fail("more than the items")
	}
	return p.err
}

// envelopeGrammar: RFC 9051 §9, envelope.
func envelopeGrammar(p *parser) {
	p.open()
	p.nstring()
	p.sp()
	p.nstring()
	for range 6 {
		p.sp()
		if p.peek() != '(' {
			p.nstring()
			continue
		}
		p.open()
		for p.err == nil && p.peek() == '(' {
			p.open()
			for i := range 4 {
				if i > 0 {
					p.sp()
				}
				p.nstring()
			}
			p.close()
		}
		p.close()
	}
	p.sp()
	p.nstring()
	p.sp()
	p.nstring()
	p.close()
}

// bodyGrammar: RFC 9051 §9, body; with or without extension data.
func bodyGrammar(p *parser) {
	p.open()
	if p.peek() == '(' {
		for p.err == nil && p.peek() == '(' {
			bodyGrammar(p)
		}
		p.sp()
		p.str()
		if p.accept(' ') {
			paramsGrammar(p)
			extensionGrammar(p)
		}
		p.close()
		return
	}
	typ := p.str()
	p.sp()
	sub := p.str()
	p.sp()
	paramsGrammar(p)
	for range 2 {
		p.sp()
		p.nstring()
	}
	p.sp()
	p.str()
	p.sp()
	p.number(63)
	switch {
	case typ == "message" && (sub == "rfc822" || sub == "global"):
		p.sp()
		envelopeGrammar(p)
		p.sp()
		bodyGrammar(p)
		p.sp()
		p.number(63)
	case typ == "text":
		p.sp()
		p.number(63)
	}
	if p.accept(' ') {
		p.nstring()
		extensionGrammar(p)
	}
	p.close()
}

// extensionGrammar: SP body-fld-dsp SP body-fld-lang SP body-fld-loc.
func extensionGrammar(p *parser) {
	p.sp()
	if p.peek() == '(' {
		p.open()
		p.str()
		p.sp()
		paramsGrammar(p)
		p.close()
	} else {
		p.nstring()
	}
	p.sp()
	if p.peek() == '(' {
		p.list(func() { p.str() })
	} else {
		p.nstring()
	}
	p.sp()
	p.nstring()
}

func paramsGrammar(p *parser) {
	if p.peek() != '(' {
		p.nstring()
		return
	}
	p.open()
	for i := 0; p.err == nil && p.peek() != ')'; i++ {
		if i > 0 {
			p.sp()
		}
		p.str()
		p.sp()
		p.str()
	}
	p.close()
}
