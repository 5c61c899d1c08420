package imap

import (
	"encoding/base64"
	"errors"
	"strings"
)

// login: RFC 9051 §6.2.3.
func (p *parser) login() any {
	args := &LoginArgs{}
	p.sp()
	args.Username = p.astring()
	p.sp()
	args.Password = p.astring()
	return args
}

// authenticate: RFC 9051 §6.2.2, with an initial response.
func (p *parser) authenticate() any {
	p.sp()
	args := &AuthenticateArgs{Mechanism: p.keyword()}
	if !p.accept(' ') {
		return args
	}
	args.HasInitial = true
	line := p.while(func(c byte) bool { return c > ' ' && c < 0x7f })
	if line == "=" { // RFC 4959 §3: an empty response, not an absent one
		args.Initial = []byte{}
		return args
	}
	initial, cancelled, err := DecodeSASL(line)
	if err != nil || cancelled || line == "" {
		p.fail("bad base64 in the initial response")
	}
	args.Initial = initial
	return args
}

// DecodeSASL decodes a client's line in AUTHENTICATE: base64, or "*" for giving up (RFC 9051 §6.2.2).
func DecodeSASL(line string) (response []byte, cancelled bool, err error) {
	if line == "*" {
		return nil, true, nil
	}
	response, err = base64.StdEncoding.Strict().DecodeString(line)
	if err != nil || strings.ContainsAny(line, "\r\n") {
		return nil, false, errors.New("imap: bad base64 in a SASL response")
	}
	return response, false, nil
}

// EncodeSASL encodes a server challenge, for Writer.Continue.
func EncodeSASL(challenge []byte) string { return base64.StdEncoding.EncodeToString(challenge) }

// enable: RFC 9051 §6.3.1.
func (p *parser) enable() any {
	args := &EnableArgs{}
	for p.sp(); p.err == nil; p.sp() {
		args.Capabilities = append(args.Capabilities, p.keyword())
		if p.atEnd() {
			break
		}
	}
	return args
}

// id: RFC 2971 §3.3: at most 30 pairs, a key of 30 bytes, a value of 1024.
func (p *parser) id() any {
	args := &IDArgs{}
	p.sp()
	if p.peek() != '(' {
		if p.keyword() != "NIL" {
			p.fail("list or NIL expected")
		}
		return args
	}
	args.Fields = make(map[string]string)
	p.list(func() {
		key := p.str()
		p.sp()
		value, _ := p.nstring()
		if len(key) > 30 || len(value) > 1024 || len(args.Fields) >= 30 {
			p.fail("too much in ID")
			return
		}
		args.Fields[strings.ToLower(key)] = value
	})
	return args
}

// compress: RFC 4978 §3.
func (p *parser) compress() any {
	p.sp()
	return &CompressArgs{Mechanism: p.keyword()}
}
