package mime

import "strings"

// describe reads the fields of RFC 2045, RFC 2183, RFC 3282 and RFC 2557 from the part's header.
func (p *Part) describe(h Header, digest bool) {
	p.Encoding = encodingOf(h.Get("Content-Transfer-Encoding"))
	p.setType(h, digest)
	p.ID = h.Get("Content-ID")
	p.Description = h.Get("Content-Description")
	p.MD5 = h.Get("Content-MD5")
	p.Location = strings.ReplaceAll(h.Get("Content-Location"), " ", "") // RFC 2557 §4.4.2: folded URIs
	if v := h.Get("Content-Disposition"); v != "" {
		p.Disposition, p.DispositionParams = parseValue(v)
		if !isToken(p.Disposition) { // RFC 2183 §2.8: what is not known is an attachment
			p.Disposition = "attachment"
		}
	}
	for _, l := range strings.Split(stripComments(h.Get("Content-Language")), ",") {
		if l = strings.TrimSpace(l); l != "" && len(p.Language) < 32 {
			p.Language = append(p.Language, l)
		}
	}
}

func (p *Part) setType(h Header, digest bool) {
	value, present := h.lookup("Content-Type")
	if present {
		p.Type, p.Subtype, p.Params = parseContentType(value)
	}
	switch {
	case p.Type != "":
	case digest && !present: // RFC 2046 §5.1.5
		p.Type, p.Subtype = "message", "rfc822"
	default: // RFC 2045 §5.2
		p.Type, p.Subtype, p.Params = "text", "plain", []Param{{"charset", "us-ascii"}}
	}
	// RFC 2046 §5.2.1 allows no encoding of a message that would have to be undone before its parts can be seen.
	if p.isMessage() && !p.identity() {
		p.asOctets()
	}
	// RFC 2045 §6.4: nor of a multipart. Senders that declare one anyhow do not encode.
	if p.Type == "multipart" && !p.identity() {
		p.Encoding = "8bit"
	}
}

func encodingOf(value string) string {
	s := strings.ToLower(strings.TrimSpace(stripComments(value)))
	s, _, _ = strings.Cut(s, ";")
	s = strings.Trim(strings.TrimSpace(s), `"`)
	switch s {
	case "":
		return "7bit"
	case "7-bit", "7bits":
		return "7bit"
	case "8-bit", "8bits":
		return "8bit"
	case "quoted_printable", "quotedprintable", "qp":
		return "quoted-printable"
	case "base-64":
		return "base64"
	}
	if !isToken(s) {
		return "8bit"
	}
	return s
}

// identity tells whether the body is not encoded.
func (p *Part) identity() bool {
	return p.Encoding != "base64" && p.Encoding != "quoted-printable"
}

func (p *Part) isMessage() bool {
	return p.Type == "message" && (p.Subtype == "rfc822" || p.Subtype == "global")
}

// asOctets makes the part a leaf that nothing is known of.
func (p *Part) asOctets() {
	p.Type, p.Subtype = "application", "octet-stream"
}

func (p *Part) metadataSize() int {
	n := len(p.Type) + len(p.Subtype) + len(p.ID) + len(p.Description) + len(p.Encoding) + len(p.MD5) + len(p.Disposition) + len(p.Location)
	for _, l := range p.Language {
		n += len(l)
	}
	for _, q := range p.Params {
		n += len(q.Name) + len(q.Value)
	}
	for _, q := range p.DispositionParams {
		n += len(q.Name) + len(q.Value)
	}
	return n
}

// forgetMetadata drops what the part can be understood without, but for the boundary and charset.
func (p *Part) forgetMetadata() {
	var keep []Param
	for _, q := range p.Params {
		if (q.Name == "boundary" || q.Name == "charset") && len(q.Value) <= MaxBoundaryBytes {
			keep = append(keep, q)
		}
	}
	p.Params, p.DispositionParams, p.Language = keep, nil, nil
	p.ID, p.Description, p.MD5, p.Location = "", "", "", ""
}
