package dsn

import "io"

// globalStatus tells whether the second part is message/global-delivery-status: it holds UTF-8, and travels with SMTPUTF8 anyhow.
func (r *Report) globalStatus() bool {
	if !r.NeedsUTF8() {
		return false
	}
	for _, to := range r.Recipients {
		if to.Final.NeedsUTF8() || !isASCII(to.Original) || !isASCII(to.Diagnostic) {
			return true
		}
	}
	return false
}

// writeStatus writes the second part (RFC 3464 §2): the fields of the message, then those of each recipient.
func writeStatus(w io.Writer, r *Report, raw bool) error {
	f := &fields{w: w}
	f.add("Original-Envelope-Id", asciiText(r.EnvID, 100)) // RFC 3461 §4.4: 100 characters
	f.add("Reporting-MTA", "dns; "+r.ReportingMTA)
	f.time("Arrival-Date", r.Arrival)
	for _, to := range r.Recipients {
		f.end()
		writeRecipient(f, r, to, raw)
	}
	return f.err
}

// writeRecipient: RFC 3464 §2.3.
func writeRecipient(f *fields, r *Report, to Recipient, raw bool) {
	action := r.actionOf(to)
	f.add("Original-Recipient", originalRecipient(to.Original, raw))
	f.add("Final-Recipient", typedAddress(to.Final, raw))
	f.add("Action", action.action())
	f.add("Status", r.statusOf(to))
	if to.answered() { // §2.3.5: the MTA that reported this to us
		f.add("Remote-MTA", "dns; "+to.RemoteMTA)
	}
	text := clean(to.Diagnostic, maxDiagnostic)
	if !raw {
		text = asciiText(to.Diagnostic, maxDiagnostic)
	}
	switch {
	case text == "":
	case to.answered(): // §2.3.6: smtp is for replies of other servers alone
		f.folded("Diagnostic-Code", "smtp; "+text)
	default:
		f.folded("Diagnostic-Code", "x-quorumail; "+text)
	}
	f.time("Last-Attempt-Date", to.LastAttempt)
	if action == Delayed { // §2.3.9
		f.time("Will-Retry-Until", to.WillRetryUntil)
	}
}
