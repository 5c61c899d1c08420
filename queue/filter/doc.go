// Package filter decides what becomes of a message before it is delivered or sent on: accept it, mark it, put it off, hold it or refuse it.
//
// It has two things: the seam (Checker, Chain), behind which any check can stand, and one check, the rules of the operator (RuleSet).
//
// # Data flow
//
//	envelope, direction ─┐
//	                     ├─► Message ─► Chain ─► Checker, one after the other ─► Verdict
//	content, on request ─┘
//
// A check before the 250 has a budget of time, the deadline of its context. When it ends without a verdict, the error says so, and the
// message rests in the queue until it has been checked again. Content is opened only when a check needs it (NeedsContent): without such
// rules nothing is spooled. Nothing here is durable and nothing is changed in the message: a Verdict says which fields belong on top.
//
// A Verdict is about the whole message. Rules about one recipient among many are best asked at RCPT, with that recipient alone and with
// RuleSet.Envelope, so that one forbidden recipient does not take the message away from the others.
//
// # Rules
//
// A Rule has a field to look at, a pattern, and an action. The first rule of the list that allows the message ends the look: rules behind it
// do not count. Of those that matched before it the strongest action wins. The order otherwise changes nothing.
//
// Patterns of addresses (sender, recipient, from) are compared as smtp.Address compares: case, composition and A-labels do not matter.
//
//	an@example.org     that address
//	example.org        any address of that domain, also written @example.org
//	*.example.org      any address of its sub-domains at any depth, not of the domain itself
//	news*@example.org  * is any run of characters, ? is one character; before and after the @
//	<>                 the null sender
//	*                  any address but the null sender
//
// Keywords (subject, header, body, attachment) are looked for in decoded text: encoded-words, transfer encodings, character sets and HTML
// undone, case and diacritics folded as in searches (mime.FoldText), characters that nobody sees left out, and any white space equal to one
// blank. So "Tiền thưởng" is found in "TIEN THUONG" and across a line break. Of HTML it is what a reader sees: neither the addresses behind links
// nor comments. Letters of other scripts that look alike are other letters.
//
//	tiền thưởng        anywhere, also within longer words
//	"tiền thưởng"      whole words: no letter or digit stands right before or after it
//	tiền * thưởng      * is any run of at most MaxGap characters within one text
//	"trúng*"           words that begin so
//	100\*              a backslash takes the meaning of a star, a quote or a backslash away
//
// The texts are: each field of the message's own header (header, subject), each text part (body), each suggested file name (attachment).
// What is looked at is bounded: see the Max constants. Text beyond them is not looked at, which an Explanation tells.
//
// # Matching
//
// All keywords are compiled into one automaton (Aho-Corasick), through which each text passes once, in pieces, whatever the number of rules.
// A message with rules about its body is read twice: once for its structure, once for its texts. Memory is bounded by the Max constants of
// this package and of mime.
//
// Goroutines: none. A RuleSet may be used by any number of them.
package filter
