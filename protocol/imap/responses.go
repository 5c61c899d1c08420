package imap

import "strings"

// StatusType is the word of a status response (RFC 9051 §7.1).
type StatusType string

// Status responses.
const (
	StatusOK      StatusType = "OK"
	StatusNO      StatusType = "NO"
	StatusBAD     StatusType = "BAD"
	StatusBYE     StatusType = "BYE"
	StatusPREAUTH StatusType = "PREAUTH"
)

// Status writes a status response: tagged, or untagged for the tag "" or "*". Control characters in text become blanks.
func (w *Writer) Status(tag string, s StatusType, code Code, text string) {
	if tag == "" {
		tag = "*"
	}
	w.Atom(tag)
	w.Atom(string(s))
	if code != "" {
		w.Atom("[" + oneLine(string(code)) + "]")
	}
	if text == "" { // RFC 9051 §9: resp-text must not be empty
		text = "Done"
	}
	w.Atom(oneLine(text))
	w.CRLF()
}

// Continue writes a continuation request (RFC 9051 §7.6): text is base64 in AUTHENTICATE, otherwise for people.
func (w *Writer) Continue(text string) {
	w.raw("+ " + oneLine(text) + "\r\n")
	w.fresh = true
}

// oneLine keeps text that came from elsewhere from ending the line.
func oneLine(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return strings.Map(func(r rune) rune {
				if r < ' ' || r == 0x7f {
					return ' '
				}
				return r
			}, s)
		}
	}
	return s
}

func (w *Writer) untagged(word string) {
	w.Atom("*")
	w.Atom(word)
}

func (w *Writer) atoms(words []string) {
	for _, s := range words {
		w.Atom(s)
	}
}

// Capability writes "* CAPABILITY ..." (RFC 9051 §7.2.2).
func (w *Writer) Capability(caps []string) {
	w.untagged("CAPABILITY")
	w.atoms(caps)
	w.CRLF()
}

// Enabled writes "* ENABLED ..." (RFC 9051 §7.2.1).
func (w *Writer) Enabled(caps []string) {
	w.untagged("ENABLED")
	w.atoms(caps)
	w.CRLF()
}

// Number writes "* n WORD": EXISTS, RECENT, EXPUNGE (RFC 9051 §7.4, §7.5).
func (w *Writer) Number(n uint32, word string) {
	w.Atom("*")
	w.Uint(uint64(n))
	w.Atom(word)
	w.CRLF()
}

// FlagsLine writes "* FLAGS (...)" (RFC 9051 §7.3.5).
func (w *Writer) FlagsLine(flags []Flag) {
	w.untagged("FLAGS")
	w.Flags(flags)
	w.CRLF()
}

// List writes a LIST or LSUB response (RFC 9051 §7.3.1). delim 0 is NIL: no hierarchy.
func (w *Writer) List(verb string, attrs []MailboxAttr, delim byte, name string) {
	w.ListExtended(verb, attrs, delim, name, "", false)
}

// ListExtended is List with extended data: the former name of a mailbox, "" for none (RFC 9051 §6.3.9.7), and whether
// subscribed mailboxes lie below it (CHILDINFO, RFC 5258 §3.5).
func (w *Writer) ListExtended(verb string, attrs []MailboxAttr, delim byte, name, oldName string, subscribedBelow bool) {
	w.untagged(verb)
	w.Open()
	for _, a := range attrs {
		w.Atom(string(a))
	}
	w.Close()
	if delim == 0 {
		w.Atom("NIL")
	} else {
		w.String(string(delim))
	}
	w.Mailbox(name)
	if oldName != "" || subscribedBelow {
		w.Open()
		if oldName != "" {
			w.Atom(`"OLDNAME"`)
			w.Open()
			w.Mailbox(oldName)
			w.Close()
		}
		if subscribedBelow {
			w.Atom(`"CHILDINFO"`)
			w.Open()
			w.Atom(`"SUBSCRIBED"`)
			w.Close()
		}
		w.Close()
	}
	w.CRLF()
}

// StatusValue is one item of a STATUS response.
type StatusValue struct {
	Item  StatusItem
	Value uint64
	Text  string // of MAILBOXID, which is no number
}

// MailboxStatus writes a STATUS response (RFC 9051 §7.3.2).
func (w *Writer) MailboxStatus(name string, items []StatusValue) {
	w.untagged("STATUS")
	w.Mailbox(name)
	w.Open()
	for _, it := range items {
		w.Atom(string(it.Item))
		if it.Item == StatusMailboxID {
			w.Open()
			w.Atom(it.Text)
			w.Close()
			continue
		}
		w.Uint(it.Value)
	}
	w.Close()
	w.CRLF()
}

// Namespace writes a NAMESPACE response with one personal namespace and no others (RFC 9051 §7.3.4).
func (w *Writer) Namespace(prefix string, delim byte) {
	w.untagged("NAMESPACE")
	w.Open()
	w.Open()
	w.String(prefix)
	w.String(string(delim))
	w.Close()
	w.Close()
	w.Atom("NIL NIL")
	w.CRLF()
}

// ID writes an ID response (RFC 2971 §3.2); without fields it is NIL.
func (w *Writer) ID(fields [][2]string) {
	w.untagged("ID")
	if len(fields) == 0 {
		w.Atom("NIL")
		w.CRLF()
		return
	}
	w.Open()
	for _, f := range fields {
		w.String(f[0])
		w.String(f[1])
	}
	w.Close()
	w.CRLF()
}

// Search writes a SEARCH response of IMAP4rev1 (RFC 3501 §7.2.5); modSeq 0 is none (RFC 7162 §3.1.5).
func (w *Writer) Search(nums []uint32, modSeq uint64) { w.numbers("SEARCH", nums, modSeq) }

// Sort writes a SORT response (RFC 5256 §4).
func (w *Writer) Sort(nums []uint32, modSeq uint64) { w.numbers("SORT", nums, modSeq) }

func (w *Writer) numbers(word string, nums []uint32, modSeq uint64) {
	w.untagged(word)
	for _, n := range nums {
		w.Uint(uint64(n))
	}
	if modSeq > 0 {
		w.Open()
		w.Atom("MODSEQ")
		w.Uint(modSeq)
		w.Close()
	}
	w.CRLF()
}

// ESearchResult is the content of an ESEARCH response. What is not set is not told.
type ESearchResult struct {
	Min, Max uint32 // 0: nothing found, or not asked for
	All      NumSet // empty: nothing found, or not asked for
	Count    uint32
	HasCount bool
	ModSeq   uint64 // 0: none
}

// ESearch writes an ESEARCH response to the command with the given tag (RFC 9051 §7.3.4).
func (w *Writer) ESearch(tag string, uid bool, res ESearchResult) {
	w.untagged("ESEARCH")
	w.Open()
	w.Atom("TAG")
	w.String(tag)
	w.Close()
	if uid {
		w.Atom("UID")
	}
	if res.Min > 0 {
		w.Atom("MIN")
		w.Uint(uint64(res.Min))
	}
	if res.Max > 0 {
		w.Atom("MAX")
		w.Uint(uint64(res.Max))
	}
	if !res.All.Empty() {
		w.Atom("ALL")
		w.Set(res.All)
	}
	if res.HasCount {
		w.Atom("COUNT")
		w.Uint(uint64(res.Count))
	}
	if res.ModSeq > 0 {
		w.Atom("MODSEQ")
		w.Uint(res.ModSeq)
	}
	w.CRLF()
}

// Vanished writes a VANISHED response (RFC 7162 §3.2.10). Nothing is written for an empty set.
func (w *Writer) Vanished(earlier bool, uids NumSet) {
	if uids.Empty() {
		return
	}
	w.untagged("VANISHED")
	if earlier {
		w.Atom("(EARLIER)")
	}
	w.Set(uids)
	w.CRLF()
}

// Quota writes a QUOTA response with the STORAGE resource in units of 1,024 bytes (RFC 9208 §4.2.1, §5.1); with limit 0 the list
// is empty: no limit.
func (w *Writer) Quota(root string, usedKiB, limitKiB uint64) {
	w.untagged("QUOTA")
	w.String(root)
	w.Open()
	if limitKiB > 0 {
		w.Atom("STORAGE")
		w.Uint(usedKiB)
		w.Uint(limitKiB)
	}
	w.Close()
	w.CRLF()
}

// QuotaRoot writes a QUOTAROOT response (RFC 9208 §4.2.2).
func (w *Writer) QuotaRoot(mailbox string, roots ...string) {
	w.untagged("QUOTAROOT")
	w.Mailbox(mailbox)
	for _, r := range roots {
		w.String(r)
	}
	w.CRLF()
}
