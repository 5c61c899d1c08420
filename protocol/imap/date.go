package imap

import (
	"strings"
	"time"
)

const (
	// dateLayout is date-text of RFC 9051 §9.
	dateLayout = "2-Jan-2006"
	// dateTimeLayout is date-time of RFC 9051 §9: the day has two places, filled with a blank.
	dateTimeLayout = "_2-Jan-2006 15:04:05 -0700"
)

// date reads a date, quoted or not, as midnight UTC.
func (p *parser) date() time.Time {
	quoted := p.accept('"')
	s := p.while(func(c byte) bool { return isLetter(c) || isDigit(c) || c == '-' })
	if quoted {
		p.expect('"')
	}
	t, err := time.Parse(dateLayout, s)
	if err != nil {
		p.fail("date expected, such as 1-Feb-2024")
	}
	return t
}

// dateTime reads a date-time in its quotes.
func (p *parser) dateTime() time.Time {
	s := strings.TrimLeft(p.quoted(), " ")
	t, err := time.Parse("2-Jan-2006 15:04:05 -0700", s)
	if err != nil || t.Year() < 1900 {
		p.fail("date and time expected, such as \" 1-Feb-2024 13:14:15 +0700\"")
	}
	return t
}

// FormatDateTime returns t as the text of a date-time, without its quotes (RFC 9051 §9).
func FormatDateTime(t time.Time) string {
	// The wire form has four digits of year and a zone in minutes.
	if y := t.Year(); y < 1 || y > 9999 {
		t = time.Unix(0, 0).UTC()
	}
	return t.Format(dateTimeLayout)
}
