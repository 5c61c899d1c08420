package remote

import (
	"strconv"
	"strings"
)

// extensions is what a server announced in its answer to EHLO.
type extensions struct {
	pipelining, eightBit, utf8, chunking, binary, dsn, starttls, requireTLS, size bool

	sizeLimit int64    // 0: none told
	auth      []string // mechanisms, upper case
	limits    announcedLimits
}

// announcedLimits: RFC 9422 §4. 0: none told.
type announcedLimits struct {
	mails      int // MAIL commands in a session
	recipients int // RCPT commands in a transaction
	domains    int // different domains of recipients in a session
}

// parseExtensions reads the lines after the first (RFC 5321 §4.1.1.1). What is not known or not readable is passed over.
func parseExtensions(lines []string) extensions {
	var e extensions
	for _, line := range lines[min(1, len(lines)):] {
		keyword, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch keyword = strings.ToUpper(keyword); keyword {
		case "PIPELINING":
			e.pipelining = true
		case "8BITMIME":
			e.eightBit = true
		case "SMTPUTF8":
			e.utf8 = true
		case "CHUNKING":
			e.chunking = true
		case "BINARYMIME":
			e.binary = true
		case "DSN":
			e.dsn = true
		case "STARTTLS":
			e.starttls = true
		case "REQUIRETLS":
			e.requireTLS = true
		case "SIZE":
			e.size, e.sizeLimit = true, number(args)
		case "LIMITS":
			e.limits = parseLimits(args)
		case "AUTH":
			e.auth = append(e.auth, strings.Fields(strings.ToUpper(args))...)
		}
	}
	// RFC 3030 §3: BINARYMIME is nothing without CHUNKING. RFC 6531 §3.1: SMTPUTF8 comes with 8BITMIME, said or not.
	e.binary = e.binary && e.chunking
	e.eightBit = e.eightBit || e.utf8
	return e
}

func parseLimits(args string) announcedLimits {
	var l announcedLimits
	for _, one := range strings.Fields(args) {
		name, value, _ := strings.Cut(one, "=")
		n := int(min(number(value), 1<<30))
		switch strings.ToUpper(name) {
		case "MAILMAX":
			l.mails = n
		case "RCPTMAX":
			l.recipients = n
		case "RCPTDOMAINMAX":
			l.domains = n
		}
	}
	return l
}

// number reads a decimal number; 0 if it is none.
func number(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0
	}
	return max(0, n)
}
