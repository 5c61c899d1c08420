package imap

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/protocol/mime"
)

// written returns what f writes, and what it writes to a client that takes UTF-8.
func written(t *testing.T, f func(*Writer)) (string, string) {
	t.Helper()
	var out [2]string
	for i := range out {
		var b strings.Builder
		w := NewWriter(&b)
		w.SetUTF8(i == 1)
		f(w)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		out[i] = b.String()
	}
	return out[0], out[1]
}

func TestResponses(t *testing.T) {
	tests := []struct {
		f    func(*Writer)
		want string
		utf8 string // where it differs
	}{
		{func(w *Writer) { w.Status("a1", StatusOK, "", "LOGIN completed") }, "a1 OK LOGIN completed\r\n", ""},
		{func(w *Writer) { w.Status("", StatusOK, CodeUIDValidity(7), "") }, "* OK [UIDVALIDITY 7] Done\r\n", ""},
		{func(w *Writer) { w.Status("a", StatusNO, CodeTryCreate, "x\r\n* BYE") }, "a NO [TRYCREATE] x  * BYE\r\n", ""},
		{func(w *Writer) { w.Status("a", StatusOK, CodeCopyUID(3, set("1:2"), set("7,9")), "y") }, "a OK [COPYUID 3 1:2 7,9] y\r\n", ""},
		{func(w *Writer) { w.Status("a", StatusOK, CodeAppendUID(3, SetOf(9)), "y") }, "a OK [APPENDUID 3 9] y\r\n", ""},
		{func(w *Writer) { w.Status("", StatusOK, CodePermanentFlags([]Flag{FlagSeen, FlagWildcard}), "y") }, "* OK [PERMANENTFLAGS (\\Seen \\*)] y\r\n", ""},
		{func(w *Writer) { w.Continue("") }, "+ \r\n", ""},
		{func(w *Writer) { w.Capability([]string{"IMAP4rev1", "IDLE"}) }, "* CAPABILITY IMAP4rev1 IDLE\r\n", ""},
		{func(w *Writer) { w.Number(3, "EXISTS") }, "* 3 EXISTS\r\n", ""},
		{func(w *Writer) { w.FlagsLine([]Flag{FlagSeen, "$Junk"}) }, "* FLAGS (\\Seen $Junk)\r\n", ""},
		{func(w *Writer) { w.List("LIST", []MailboxAttr{AttrHasNoChildren, AttrSent}, '/', "Đã gửi") },
			"* LIST (\\HasNoChildren \\Sent) \"/\" \"&ARAA4w- g&Hu0-i\"\r\n", "* LIST (\\HasNoChildren \\Sent) \"/\" \"Đã gửi\"\r\n"},
		{func(w *Writer) { w.List("LSUB", nil, 0, "") }, "* LSUB () NIL \"\"\r\n", ""},
		{func(w *Writer) { w.List("LIST", nil, '/', "nil") }, "* LIST () \"/\" \"nil\"\r\n", ""},
		{func(w *Writer) { w.ListExtended("LIST", nil, '/', "b", "a", true) }, "* LIST () \"/\" b (\"OLDNAME\" (a) \"CHILDINFO\" (\"SUBSCRIBED\"))\r\n", ""},
		{func(w *Writer) {
			w.MailboxStatus("a b", []StatusValue{{Item: StatusMessages, Value: 2}, {Item: StatusMailboxID, Text: "M1"}})
		},
			"* STATUS \"a b\" (MESSAGES 2 MAILBOXID (M1))\r\n", ""},
		{func(w *Writer) { w.Namespace("", '/') }, "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n", ""},
		{func(w *Writer) { w.ID([][2]string{{"name", "q\"m"}}) }, "* ID (\"name\" \"q\\\"m\")\r\n", ""},
		{func(w *Writer) { w.ID(nil) }, "* ID NIL\r\n", ""},
		{func(w *Writer) { w.Search(nil, 0) }, "* SEARCH\r\n", ""},
		{func(w *Writer) { w.Search([]uint32{2, 5}, 917) }, "* SEARCH 2 5 (MODSEQ 917)\r\n", ""},
		{func(w *Writer) {
			w.ESearch("a", true, ESearchResult{Min: 1, Max: 9, All: set("1:3,9"), Count: 4, HasCount: true})
		},
			"* ESEARCH (TAG \"a\") UID MIN 1 MAX 9 ALL 1:3,9 COUNT 4\r\n", ""},
		{func(w *Writer) { w.ESearch("a", false, ESearchResult{HasCount: true}) }, "* ESEARCH (TAG \"a\") COUNT 0\r\n", ""},
		{func(w *Writer) { w.Vanished(true, set("1:3")); w.Vanished(false, NumSet{}) }, "* VANISHED (EARLIER) 1:3\r\n", ""},
		{func(w *Writer) { w.Quota("", 10, 20); w.QuotaRoot("INBOX", "") }, "* QUOTA \"\" (STORAGE 10 20)\r\n* QUOTAROOT INBOX \"\"\r\n", ""},
		{func(w *Writer) { w.String("é") }, "{2}\r\né", `"é"`},
		{func(w *Writer) { w.String("a\r\nb\x00") }, "{4}\r\na\r\nb", ""},
		{func(w *Writer) { w.String("\xff") }, "{1}\r\n\xff", ""},
		{func(w *Writer) { w.String(`a\"`) }, `"a\\\""`, ""},
		{func(w *Writer) { w.DateTime(time.Date(2024, 2, 1, 3, 4, 5, 0, time.FixedZone("", -5400))) }, `" 1-Feb-2024 03:04:05 -0130"`, ""},
	}
	for _, tt := range tests {
		if tt.utf8 == "" {
			tt.utf8 = tt.want
		}
		if got, utf8 := written(t, tt.f); got != tt.want || utf8 != tt.utf8 {
			t.Errorf("got  %q\n     %q\nwant %q\n     %q", got, utf8, tt.want, tt.utf8)
		}
	}
}

func TestFetchResponse(t *testing.T) {
	got, _ := written(t, func(w *Writer) {
		f := w.Fetch(12)
		f.UID(77)
		f.Flags([]Flag{FlagSeen})
		f.InternalDate(time.Date(2024, 11, 21, 3, 4, 5, 0, time.UTC))
		f.RFC822Size(5)
		f.ModSeq(9)
		f.EmailID("E1")
		f.ThreadID("")
		f.Preview("hi", true)
		f.SectionNil(&Section{Path: []int{4}, Spec: mime.SpecMIME})
		_ = f.Section(&Section{Spec: mime.SpecHeaderFields, Fields: []string{"To", "X(y"}, HasPartial: true, Offset: 3, Count: 2}, 2, strings.NewReader("ab"))
		_ = f.Section(&Section{Legacy: "RFC822"}, 0, strings.NewReader(""))
		_ = f.Binary(&Section{Path: []int{1}}, 1, strings.NewReader("\x00"))
		f.BinarySize(&Section{Path: []int{1}}, 1)
		f.End()
	})
	want := "* 12 FETCH (UID 77 FLAGS (\\Seen) INTERNALDATE \"21-Nov-2024 03:04:05 +0000\" RFC822.SIZE 5 MODSEQ (9) EMAILID (E1) THREADID NIL" +
		" PREVIEW \"hi\" BODY[4.MIME] NIL BODY[HEADER.FIELDS (To \"X(y\")]<3> {2}\r\nab RFC822 {0}\r\n BINARY[1] ~{1}\r\n\x00 BINARY.SIZE[1] 1)\r\n"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestLiteralThatEndsEarlyBreaksTheConnection(t *testing.T) {
	w := NewWriter(io.Discard)
	if err := w.Literal(5, strings.NewReader("abc")); !errors.Is(err, io.EOF) {
		t.Errorf("literal: %v", err)
	}
	if w.Flush() == nil || w.Err() == nil {
		t.Error("the error does not stick")
	}
}

func TestCut(t *testing.T) {
	span := mime.Span{Start: 10, End: 20}
	for _, tt := range []struct {
		offset, count int64
		want          mime.Span
	}{{0, 5, mime.Span{Start: 10, End: 15}}, {5, 50, mime.Span{Start: 15, End: 20}}, {10, 1, mime.Span{Start: 20, End: 20}},
		{1 << 62, 1 << 62, mime.Span{Start: 20, End: 20}}} {
		s := Section{HasPartial: true, Offset: tt.offset, Count: tt.count}
		if got := s.Cut(span); got != tt.want {
			t.Errorf("<%d.%d>: %v, want %v", tt.offset, tt.count, got, tt.want)
		}
	}
	if got := (&Section{}).Cut(span); got != span {
		t.Errorf("no partial: %v", got)
	}
}

// TestBodyStructure writes the structures of whole messages; the shapes are those of RFC 9051 §7.5.2.
func TestBodyStructure(t *testing.T) {
	raw := strings.ReplaceAll(`From: "Đặng, A" <a@example.test>
To: Undisclosed: b@example.test, "C D" <"c d"@example.test>;
Subject: =?utf-8?q?x?=
Content-Type: multipart/mixed; boundary=b
Content-Language: vi, en

--b

one
--b
Content-Type: application/pdf; name*=utf-8''%C4%91.pdf
Content-Transfer-Encoding: base64
Content-ID: <1@x>
Content-Disposition: attachment; filename="a b.pdf"

QQ==
--b
Content-Type: message/rfc822

Subject: in

text
--b--
`, "\n", "\r\n")
	s, err := mime.Summarize(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	envelope, known := s.Envelope()
	if !known {
		t.Fatal("no envelope")
	}
	got, _ := written(t, func(w *Writer) {
		f := w.Fetch(1)
		f.Envelope(envelope)
		f.Body(s.Structure.Root)
		f.BodyStructure(s.Structure.Root)
		f.End()
	})
	from := "(({10}\r\nĐặng, A NIL \"a\" \"example.test\"))"
	want := "* 1 FETCH (ENVELOPE (NIL \"=?utf-8?q?x?=\" " + from + " " + from + " " + from +
		" ((NIL NIL \"Undisclosed\" NIL)(NIL NIL \"b\" \"example.test\")(\"C D\" NIL \"c d\" \"example.test\")(NIL NIL NIL NIL)) NIL NIL NIL NIL)" +
		" BODY ((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 1)" +
		"(\"application\" \"pdf\" (\"name*\" \"utf-8''%C4%91.pdf\") \"<1@x>\" NIL \"base64\" 4)" +
		"(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 19 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 4 1) 3)" +
		" \"mixed\")" +
		" BODYSTRUCTURE ((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 1 NIL NIL NIL NIL)" +
		"(\"application\" \"pdf\" (\"name*\" \"utf-8''%C4%91.pdf\") \"<1@x>\" NIL \"base64\" 4 NIL (\"attachment\" (\"filename\" \"a b.pdf\")) NIL NIL)" +
		"(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 19 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 4 1 NIL NIL NIL NIL) 3 NIL NIL NIL NIL)" +
		" \"mixed\" (\"boundary\" \"b\") NIL (\"vi\" \"en\") NIL))\r\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
