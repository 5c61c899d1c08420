package mime

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

var errDate = errors.New("mime: no date")

// ParseDate reads the value of a Date field (RFC 5322 §3.3 and §4.3), tolerant of what senders make of it: comments, no weekday, no
// seconds, no or named zones, two-digit years, and the forms of asctime and ISO 8601. The result is in the zone of the field.
func ParseDate(s string) (time.Time, error) {
	s = strings.TrimSpace(stripComments(s))
	if t, ok := parseDateFields(s); ok {
		return t, nil
	}
	for _, layout := range [...]string{time.RFC3339, "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errDate
}

// parseDateFields reads [weekday] day month year [time [zone]], and asctime's weekday month day time year.
func parseDateFields(s string) (time.Time, bool) {
	var day, year int
	var month time.Month
	var clock []string
	zone := time.UTC
	fields := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
	for i, f := range fields {
		n, err := strconv.Atoi(f)
		switch {
		case strings.Contains(f, ":") && clock == nil:
			clock = strings.Split(f, ":")
		case (f[0] == '+' || f[0] == '-') && err == nil && clock != nil:
			zone = numericZone(f)
		case err == nil && day == 0 && n >= 1 && n <= 31 && len(f) <= 2:
			day = n
		case err == nil && year == 0 && n >= 0 && month != 0:
			year = fullYear(n, len(f))
		case month == 0 && monthOf(f) != 0:
			month = monthOf(f)
		case strings.Count(f, "-") == 2 && month == 0: // 13-Feb-2024
			d := strings.Split(f, "-")
			day, _ = strconv.Atoi(d[0])
			month = monthOf(d[1])
			y, _ := strconv.Atoi(d[2])
			year = fullYear(y, len(d[2]))
		case clock != nil && i == len(fields)-1:
			zone = namedZone(f)
		}
	}
	h, m, sec, ok := clockOf(clock)
	if !ok || day == 0 || day > 31 || month == 0 || year < 1900 || year > 9999 {
		return time.Time{}, false
	}
	return time.Date(year, month, day, h, m, sec, 0, zone), true
}

// fullYear: RFC 5322 §4.3.
func fullYear(n, digits int) int {
	switch {
	case digits <= 2 && n < 50:
		return n + 2000
	case digits <= 3:
		return n + 1900
	}
	return n
}

func monthOf(s string) time.Month {
	if len(s) < 3 {
		return 0
	}
	const months = "janfebmaraprmayjunjulaugsepoctnovdec"
	i := strings.Index(months, strings.ToLower(s[:3]))
	if i < 0 || i%3 != 0 {
		return 0
	}
	return time.Month(i/3 + 1)
}

func clockOf(parts []string) (h, m, s int, ok bool) {
	if parts == nil {
		return 0, 0, 0, true
	}
	var n [3]int
	for i := range min(len(parts), 3) {
		digits, _, _ := strings.Cut(parts[i], ".")
		v, err := strconv.Atoi(digits)
		if err != nil {
			return 0, 0, 0, false
		}
		n[i] = v
	}
	return n[0], n[1], min(n[2], 59), n[0] >= 0 && n[0] < 24 && n[1] >= 0 && n[1] < 60 && n[2] >= 0
}

func numericZone(f string) *time.Location {
	n, _ := strconv.Atoi(f[1:])
	if len(f) != 5 || n/100 > 23 || n%100 > 59 {
		return time.UTC
	}
	offset := (n/100)*3600 + (n%100)*60
	if f[0] == '-' {
		offset = -offset
	}
	return time.FixedZone("", offset)
}

// namedZone: RFC 5322 §4.3; any other name says nothing.
func namedZone(f string) *time.Location {
	hours, ok := map[string]int{"EDT": -4, "EST": -5, "CDT": -5, "CST": -6, "MDT": -6, "MST": -7, "PDT": -7, "PST": -8}[strings.ToUpper(f)]
	if !ok {
		return time.UTC
	}
	return time.FixedZone("", hours*3600)
}
