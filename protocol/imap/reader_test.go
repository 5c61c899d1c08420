package imap

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quorumail/quorumail/protocol/mime"
)

// wire is a client that sent all of in, and counts the continuations it was given.
func wire(in string, lim Limits) (*Reader, *int) {
	continued := new(int)
	r := NewReader(strings.NewReader(in), ReaderConfig{Limits: lim, Continue: func() error { *continued++; return nil }})
	return r, continued
}

func parseOne(t *testing.T, in string) *Command {
	t.Helper()
	r, _ := wire(in+"\r\n", Limits{})
	cmd, err := r.ReadCommand()
	if err != nil {
		t.Fatalf("%q: %v", in, err)
	}
	if _, err := r.ReadCommand(); err != io.EOF {
		t.Fatalf("%q: then %v, want the end", in, err)
	}
	return cmd
}

func set(s string) NumSet {
	n, err := ParseNumSet(s)
	if err != nil {
		panic(err)
	}
	return n
}

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

func TestCommands(t *testing.T) {
	tests := []struct {
		in   string
		want Command // Tag "a" is filled in
	}{
		{"a NOOP", Command{Name: "NOOP"}},
		{"a noop ", Command{Name: "NOOP"}},
		{`a LOGIN SMITH "ses\"a\\me"`, Command{Name: "LOGIN", Args: &LoginArgs{"SMITH", `ses"a\me`}}},
		{"a LOGIN {5}\r\nsmith {6+}\r\npass\r\n", Command{Name: "LOGIN", Args: &LoginArgs{"smith", "pass\r\n"}}},
		{`a LOGIN "đường" "mật khẩu"`, Command{Name: "LOGIN", Args: &LoginArgs{"đường", "mật khẩu"}}},
		{"a AUTHENTICATE plain", Command{Name: "AUTHENTICATE", Args: &AuthenticateArgs{Mechanism: "PLAIN"}}},
		{"a AUTHENTICATE PLAIN AGEAYg==", Command{Name: "AUTHENTICATE", Args: &AuthenticateArgs{"PLAIN", []byte("\x00a\x00b"), true}}},
		{"a AUTHENTICATE EXTERNAL =", Command{Name: "AUTHENTICATE", Args: &AuthenticateArgs{"EXTERNAL", []byte{}, true}}},
		{"a ENABLE CONDSTORE utf8=accept", Command{Name: "ENABLE", Args: &EnableArgs{[]string{"CONDSTORE", "UTF8=ACCEPT"}}}},
		{`a ID ("name" "sodr" "Version" NIL)`, Command{Name: "ID", Args: &IDArgs{map[string]string{"name": "sodr", "version": ""}}}},
		{"a ID NIL", Command{Name: "ID", Args: &IDArgs{}}},
		{"a SELECT inbox", Command{Name: "SELECT", Args: &SelectArgs{Mailbox: "INBOX"}}},
		{"a EXAMINE &AREA4A-x (CONDSTORE)", Command{Name: "EXAMINE", Args: &SelectArgs{Mailbox: "đàx", CondStore: true}}},
		{"a SELECT x (QRESYNC (67890007 90060115194045000 41:211,214:541 (1,2 41,42)))", Command{Name: "SELECT", Args: &SelectArgs{Mailbox: "x",
			QResync: &QResync{67890007, 90060115194045000, set("41:211,214:541"), set("1,2"), set("41,42")}}}},
		{"a SELECT x (QRESYNC (1 2))", Command{Name: "SELECT", Args: &SelectArgs{Mailbox: "x", QResync: &QResync{UIDValidity: 1, ModSeq: 2}}}},
		{`a CREATE "a b" (USE (\drafts \Sent))`, Command{Name: "CREATE", Args: &CreateArgs{"a b", []MailboxAttr{AttrDrafts, AttrSent}}}},
		{"a CREATE x/", Command{Name: "CREATE", Args: &CreateArgs{Mailbox: "x/"}}},
		{"a RENAME x Inbox", Command{Name: "RENAME", Args: &RenameArgs{"x", "INBOX"}}},
		{"a DELETE x]y", Command{Name: "DELETE", Args: &MailboxArgs{"x]y"}}},
		{`a LIST "" *`, Command{Name: "LIST", Args: &ListArgs{Patterns: []string{"*"}}}},
		{`a LSUB ~mail/ %`, Command{Name: "LSUB", Args: &ListArgs{Reference: "~mail/", Patterns: []string{"%"}}}},
		{`a LIST (SUBSCRIBED RECURSIVEMATCH) "" ("INBOX" "x/%") RETURN (CHILDREN STATUS (MESSAGES UNSEEN))`, Command{Name: "LIST", Args: &ListArgs{
			Patterns: []string{"INBOX", "x/%"}, Extended: true, SelectSubscribed: true, SelectRecursiveMatch: true, ReturnChildren: true,
			ReturnStatus: []StatusItem{StatusMessages, StatusUnseen}}}},
		{`a LIST "" "*" RETURN (SPECIAL-USE SUBSCRIBED)`, Command{Name: "LIST", Args: &ListArgs{
			Patterns: []string{"*"}, Extended: true, ReturnSpecialUse: true, ReturnSubscribed: true}}},
		{"a STATUS x (MESSAGES uidnext MESSAGES)", Command{Name: "STATUS", Args: &StatusArgs{"x", []StatusItem{StatusMessages, StatusUIDNext}}}},
		{"a STORE 2:4 +FLAGS.SILENT (\\deleted $Junk)", Command{Name: "STORE", Args: &StoreArgs{Set: set("2:4"), Op: StoreAdd, Silent: true,
			Flags: []Flag{FlagDeleted, "$Junk"}}}},
		{"a UID STORE * FLAGS ()", Command{Name: "STORE", UID: true, Args: &StoreArgs{Set: set("*"), Flags: []Flag{}}}},
		{"a STORE 1 -flags \\Seen \\Flagged", Command{Name: "STORE", Args: &StoreArgs{Set: set("1"), Op: StoreRemove, Flags: []Flag{FlagSeen, FlagFlagged}}}},
		{"a STORE 1 (UNCHANGEDSINCE 12) FLAGS (x)", Command{Name: "STORE", Args: &StoreArgs{Set: set("1"), Flags: []Flag{"x"}, UnchangedSince: 12, HasUnchangedSince: true}}},
		{"a UID COPY 1,5:* Trash", Command{Name: "COPY", UID: true, Args: &CopyArgs{set("1,5:*"), "Trash"}}},
		{"a MOVE $ Trash", Command{Name: "MOVE", Args: &CopyArgs{NumSet{Saved: true}, "Trash"}}},
		{"a UID EXPUNGE 3:5", Command{Name: "EXPUNGE", UID: true, Args: &ExpungeArgs{set("3:5")}}},
		{"a EXPUNGE", Command{Name: "EXPUNGE"}},
		{"a SORT (REVERSE DATE SUBJECT) UTF-8 ALL", Command{Name: "SORT", Args: &SortArgs{[]SortCriterion{{SortDate, true}, {SortSubject, false}},
			SearchArgs{Charset: "UTF-8"}}}},
		{"a UID THREAD references us-ascii SEEN", Command{Name: "THREAD", UID: true, Args: &ThreadArgs{"REFERENCES", SearchArgs{Charset: "US-ASCII", Key: flagKey(FlagSeen)}}}},
		{"a COMPRESS DEFLATE", Command{Name: "COMPRESS", Args: &CompressArgs{"DEFLATE"}}},
		{`a GETQUOTA ""`, Command{Name: "GETQUOTA", Args: &QuotaArgs{}}},
	}
	for _, tt := range tests {
		tt.want.Tag = "a"
		if diff := cmp.Diff(&tt.want, parseOne(t, tt.in)); diff != "" {
			t.Errorf("%s:\n%s", tt.in, diff)
		}
	}
}

func TestSearchKeys(t *testing.T) {
	and := func(k ...SearchKey) SearchKey { return SearchKey{Op: SearchAnd, Keys: k} }
	header := func(name, text string) SearchKey { return SearchKey{Op: SearchHeader, Header: name, Text: text} }
	tests := []struct {
		in   string
		want SearchArgs
	}{
		{"ALL", SearchArgs{}},
		{"UNSEEN", SearchArgs{Key: notKey(flagKey(FlagSeen))}},
		{"NEW", SearchArgs{Key: and(flagKey(FlagRecent), notKey(flagKey(FlagSeen)))}},
		{"FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\"", SearchArgs{Key: and(flagKey(FlagFlagged),
			SearchKey{Op: SearchSince, Date: day(1994, 2, 1)}, notKey(header("From", "Smith")))}},
		{"CHARSET UTF-8 TEXT {7+}\r\nđường", SearchArgs{}}, // replaced below: the length is of bytes
		{"1:3,* UID 5:9 LARGER 100 SMALLER 4000000000", SearchArgs{Key: and(SearchKey{Op: SearchSeqSet, Set: set("1:3,*")},
			SearchKey{Op: SearchUIDSet, Set: set("5:9")}, SearchKey{Op: SearchLarger, Number: 100}, SearchKey{Op: SearchSmaller, Number: 4000000000})}},
		{"OR (SEEN DRAFT) NOT DELETED", SearchArgs{Key: SearchKey{Op: SearchOr, Keys: []SearchKey{
			and(flagKey(FlagSeen), flagKey(FlagDraft)), notKey(flagKey(FlagDeleted))}}}},
		{`HEADER Message-ID ""`, SearchArgs{Key: header("Message-ID", "")}},
		{`KEYWORD $Junk UNKEYWORD x`, SearchArgs{Key: and(flagKey("$Junk"), notKey(flagKey("x")))}},
		{`SENTON "1-Mar-2020" YOUNGER 86400`, SearchArgs{Key: and(SearchKey{Op: SearchSentOn, Date: day(2020, 3, 1)}, SearchKey{Op: SearchYounger, Number: 86400})}},
		{`MODSEQ "/flags/\\draft" all 620162338`, SearchArgs{Key: SearchKey{Op: SearchModSeq, Number: 620162338}}},
		{"RETURN (MIN COUNT) DELETED", SearchArgs{Key: flagKey(FlagDeleted), Return: []SearchReturn{ReturnMin, ReturnCount}, Extended: true}},
		{"RETURN () CHARSET us-ascii BODY x", SearchArgs{Key: SearchKey{Op: SearchBody, Text: "x"}, Return: []SearchReturn{ReturnAll}, Extended: true, Charset: "US-ASCII"}},
		{"$", SearchArgs{Key: SearchKey{Op: SearchSeqSet, Set: NumSet{Saved: true}}}},
		{"CHARSET iso-8859-1 SUBJECT {2}\r\n\xe9t", SearchArgs{Key: header("Subject", "ét"), Charset: "ISO-8859-1"}},
	}
	for _, tt := range tests {
		if strings.Contains(tt.in, "{7+}") {
			tt.in = fmt.Sprintf("CHARSET UTF-8 TEXT {%d+}\r\nđường", len("đường"))
			tt.want = SearchArgs{Charset: "UTF-8", Key: SearchKey{Op: SearchText, Text: "đường"}}
		}
		cmd := parseOne(t, "a UID SEARCH "+tt.in)
		if diff := cmp.Diff(&tt.want, cmd.Args); diff != "" {
			t.Errorf("%s:\n%s", tt.in, diff)
		}
	}
}

func TestFetchItems(t *testing.T) {
	section := func(s Section) FetchItem { return FetchItem{Kind: FetchSection, Section: &s} }
	kinds := func(k ...FetchKind) (out []FetchItem) {
		for _, k := range k {
			out = append(out, FetchItem{Kind: k})
		}
		return out
	}
	tests := []struct {
		in   string
		want []FetchItem
	}{
		{"ALL", kinds(FetchFlags, FetchInternalDate, FetchRFC822Size, FetchEnvelope)},
		{"fast", kinds(FetchFlags, FetchInternalDate, FetchRFC822Size)},
		{"FULL", kinds(FetchFlags, FetchInternalDate, FetchRFC822Size, FetchEnvelope, FetchBody)},
		{"(UID FLAGS BODY BODYSTRUCTURE MODSEQ EMAILID THREADID)", kinds(FetchUID, FetchFlags, FetchBody, FetchBodyStructure, FetchModSeq, FetchEmailID, FetchThreadID)},
		{"BODY[]", []FetchItem{section(Section{})}},
		{"BODY.PEEK[]<5.100>", []FetchItem{section(Section{Peek: true, HasPartial: true, Offset: 5, Count: 100})}},
		{"body.peek[header.fields (From {2}\r\nTo)]", []FetchItem{section(Section{Peek: true, Spec: mime.SpecHeaderFields, Fields: []string{"From", "To"}})}},
		{"BODY[1.2.HEADER.FIELDS.NOT (X)]", []FetchItem{section(Section{Path: []int{1, 2}, Spec: mime.SpecHeaderFieldsNot, Fields: []string{"X"}})}},
		{"(BODY[1] BODY[3.TEXT] BODY[4.1.MIME] BODY[HEADER])", []FetchItem{section(Section{Path: []int{1}}), section(Section{Path: []int{3}, Spec: mime.SpecText}),
			section(Section{Path: []int{4, 1}, Spec: mime.SpecMIME}), section(Section{Spec: mime.SpecHeader})}},
		{"(RFC822 RFC822.HEADER RFC822.TEXT RFC822.SIZE)", []FetchItem{section(Section{Legacy: "RFC822"}), section(Section{Legacy: "RFC822.HEADER", Spec: mime.SpecHeader, Peek: true}),
			section(Section{Legacy: "RFC822.TEXT", Spec: mime.SpecText}), {Kind: FetchRFC822Size}}},
		{"(PREVIEW (LAZY) UID)", []FetchItem{{Kind: FetchPreview, Lazy: true}, {Kind: FetchUID}}},
		{"PREVIEW", kinds(FetchPreview)},
		{"(BINARY.PEEK[1]<0.10> BINARY.SIZE[2])", []FetchItem{{Kind: FetchBinary, Section: &Section{Path: []int{1}, Peek: true, HasPartial: true, Count: 10}},
			{Kind: FetchBinarySize, Section: &Section{Path: []int{2}, Peek: true}}}},
	}
	for _, tt := range tests {
		cmd := parseOne(t, "a FETCH 1:* "+tt.in)
		if diff := cmp.Diff(tt.want, cmd.Args.(*FetchArgs).Items); diff != "" {
			t.Errorf("%s:\n%s", tt.in, diff)
		}
	}
	args := parseOne(t, "a UID FETCH 1:* PREVIEW (CHANGEDSINCE 12345 VANISHED)").Args.(*FetchArgs)
	if !args.Vanished || args.ChangedSince != 12345 || !args.HasChangedSince || args.Items[0].Lazy {
		t.Errorf("modifiers: %+v", args)
	}
}

// TestBadCommandsStayInStep sends a bad command and then NOOP: no octet of a literal may run as a command.
func TestBadCommandsStayInStep(t *testing.T) {
	const evil = "x LOGOUT\r\n" // the text of a literal that must not run
	deep := strings.Repeat("(", 100) + "ALL" + strings.Repeat(")", 100)
	tests := []struct{ name, in, tag string }{
		{"unknown command", "a FROB {10+}\r\n" + evil, "a"},
		{"unknown command, awaited literal", "a FROB {10}\r\n" + evil, "a"},
		{"no tag", "{10+}\r\n" + evil, "*"},
		{"bad tag", "+ NOOP {10+}\r\n" + evil, "*"},
		{"empty line", "", "*"},
		{"tag alone", "a", "a"},
		{"UID of nothing", "a UID NOOP", "a"},
		{"UID alone", "a UID", "a"},
		{"too many arguments", "a LOGIN x y {10+}\r\n" + evil + "{10+}\r\n" + evil, "a"},
		{"arguments where none belong", "a NOOP {10+}\r\n" + evil, "a"},
		{"literal in the tag", "a{10+}\r\n" + evil + " NOOP", "a"},
		{"unfinished quote", "a LOGIN \"x y", "a"},
		{"unfinished quote before an awaited literal", "a LOGIN \"x {10}", "a"},
		{"unfinished quote before a literal", "a LOGIN \"x {10+}\r\n" + evil, "a"},
		{"bad escape", `a LOGIN "\x" y`, "a"},
		{"NUL in a literal", "a LOGIN {1+}\r\n\x00 y", "a"},
		{"NUL in a line", "a LOGIN x\x00 y", "a"},
		{"literal8 where none belongs", "a LOGIN ~{10+}\r\n" + evil + " y", "a"},
		{"literal too large", "a LOGIN {999999}", "a"},
		{"literal absurdly large", "a LOGIN {99999999999999999999}", "a"},
		{"deep list", "a SEARCH " + deep, "a"},
		{"deep NOT", "a SEARCH " + strings.Repeat("NOT ", 1000) + "ALL", "a"},
		{"deep OR", "a SEARCH " + strings.Repeat("OR ALL ", 1000) + "ALL", "a"},
		{"bad set", "a FETCH 0 FLAGS", "a"},
		{"bad set number", "a FETCH 4294967296 FLAGS", "a"},
		{"bad set end", "a FETCH 1, FLAGS", "a"},
		{"macro in a list", "a FETCH 1 (ALL)", "a"},
		{"no items", "a FETCH 1 ()", "a"},
		{"MIME without a part", "a FETCH 1 BODY[MIME]", "a"},
		{"part zero", "a FETCH 1 BODY[0]", "a"},
		{"peek without a section", "a FETCH 1 BODY.PEEK", "a"},
		{"open section", "a FETCH 1 BODY[", "a"},
		{"partial of nothing", "a FETCH 1 BODY[]<0.0>", "a"},
		{"fields of nothing", "a FETCH 1 BODY[HEADER.FIELDS ()]", "a"},
		{"vanished alone", "a UID FETCH 1 FLAGS (VANISHED)", "a"},
		{"unknown system flag", `a STORE 1 FLAGS (\Frob)`, "a"},
		{"bad date", "a SEARCH ON 32-Foo-2000", "a"},
		{"bad mailbox name", "a SELECT &bad", "a"},
		{"mailbox name with a second spelling", "a SELECT &AGE-", "a"},
		{"mailbox name with a line end", "a SELECT {3+}\r\na\nb", "a"},
		{"long mailbox name", "a SELECT " + strings.Repeat("x", 5000), "a"},
		{"unknown charset", "a SEARCH CHARSET klingon TEXT {10+}\r\n" + evil, "a"},
		{"text that is no UTF-8", "a SEARCH TEXT {1+}\r\n\xff", "a"},
		{"charset not first", "a SEARCH ALL CHARSET UTF-8", "a"},
		{"APPEND without a message", "a APPEND x", "a"},
		{"APPEND with its mailbox as the only literal", "a APPEND {1+}\r\nx", "a"},
		{"APPEND to a bad mailbox", "a APPEND &bad {10+}\r\n" + evil, "a"},
		{"APPEND with bad flags", "a APPEND x (\\Frob) {10+}\r\n" + evil, "a"},
		{"APPEND with a bad date", "a APPEND x \"yesterday\" {10+}\r\n" + evil, "a"},
		{"APPEND with text before the literal", "a APPEND x y{10+}\r\n" + evil, "a"},
		{"APPEND without a blank", "a APPEND \"x\"{10+}\r\n" + evil, "a"},
		{"APPEND, bad and several", "a APPEND x (\\Frob) {10+}\r\n" + evil + " {10+}\r\n" + evil, "a"},
		{"APPEND, bad and awaited", "a APPEND x (\\Frob) {10}", "a"},
		{"APPEND too large", "a APPEND x {1000}", "a"},
		{"APPEND too large at once", "a APPEND x {250+}\r\n" + strings.Repeat(evil, 25), "a"},
		{"bare carriage return", "a LOGIN x\ry z", "a"},
		{"empty SASL response", "a AUTHENTICATE PLAIN ", "a"},
	}
	for _, tt := range tests {
		for _, step := range []string{"whole", "bytewise"} {
			t.Run(tt.name+"/"+step, func(t *testing.T) {
				r, _ := wire("", Limits{AppendBytes: 100})
				in := io.Reader(strings.NewReader(tt.in + "\r\nz NOOP\r\n"))
				if step == "bytewise" {
					in = iotest.OneByteReader(in)
				}
				r.br.Reset(in)
				tag := ""
				_, err := r.ReadCommand()
				var syntax *SyntaxError
				var refused *RefusedError
				switch {
				case errors.As(err, &syntax):
					tag = syntax.Tag
				case errors.As(err, &refused):
					tag = refused.Tag
				default:
					t.Fatalf("error %v", err)
				}
				if tag != tt.tag {
					t.Errorf("tag %q, want %q", tag, tt.tag)
				}
				cmd, err := r.ReadCommand()
				if err != nil || cmd.Name != "NOOP" || cmd.Tag != "z" {
					t.Errorf("next command: %+v, %v", cmd, err)
				}
			})
		}
	}
}

func TestFatal(t *testing.T) {
	for name, in := range map[string]string{
		"large literal that does not wait": "a LOGIN {999999+}\r\n",
		"many literals":                    "a LOGIN" + strings.Repeat(" {30000+}\r\n"+strings.Repeat("x", 30000), 3) + "\r\n",
		"large message that does not wait": "a APPEND x {9999999999+}\r\n",
		"absurd literal":                   "a LOGIN {99999999999999999999+}\r\n",
		"long line":                        "a " + strings.Repeat("x", 70_000) + "\r\n",
		"line feed in quotes":              "a LOGIN \"x\nb LOGOUT\r\n",
	} {
		r, continued := wire(in+"z NOOP\r\n", Limits{})
		for range 2 {
			_, err := r.ReadCommand()
			var fatal *FatalError
			if !errors.As(err, &fatal) {
				t.Errorf("%s: %v, want a fatal error, and the same again", name, err)
			}
		}
		if *continued > 0 {
			t.Errorf("%s: continued", name)
		}
	}
}

func TestEndOfStream(t *testing.T) {
	for in, want := range map[string]error{
		"":                           io.EOF,
		"a NOOP":                     io.ErrUnexpectedEOF,
		"a LOGIN {5+}\r\nab":         io.ErrUnexpectedEOF,
		"a LOGIN {5+}\r\n":           io.ErrUnexpectedEOF,
		"a LOGIN {2+}\r\nab":         io.EOF,
		"a APPEND &bad {5+}\r\nabcd": nil,
	} {
		r, _ := wire(in, Limits{})
		_, err := r.ReadCommand()
		if want != nil && err != want {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
		if _, err := r.ReadCommand(); err == nil || errors.As(err, new(*SyntaxError)) {
			t.Errorf("%q: then %v", in, err)
		}
	}
}

func TestNumSet(t *testing.T) {
	for _, tt := range []struct {
		in      string
		largest uint32
		want    string
	}{
		{"1", 9, "1"}, {"5:2,3:7", 9, "2:7"}, {"*", 9, "9"}, {"*", 0, ""}, {"5:*", 3, "3:5"}, {"3,1,2", 9, "1:3"},
		{"1:4294967295,4294967295", 9, "1:4294967295"}, {"10,20:30,25:40", 9, "10,20:40"},
	} {
		s := set(tt.in)
		if s.String() != tt.in {
			t.Errorf("%s is written %s", tt.in, s)
		}
		got := NumSet{Ranges: s.Resolve(tt.largest)}
		if got.String() != tt.want {
			t.Errorf("%s of %d: %s, want %s", tt.in, tt.largest, got, tt.want)
		}
		for n := uint32(1); n < 50; n++ {
			if s.Contains(n, tt.largest) != got.Contains(n, tt.largest) {
				t.Errorf("%s of %d contains %d: %v", tt.in, tt.largest, n, s.Contains(n, tt.largest))
			}
		}
	}
	for _, bad := range []string{"", "0", "1:", ":1", ",", "1,", "a", "01", "1:2:3", "-1", "4294967296", "$,1", " 1"} {
		if _, err := ParseNumSet(bad); err == nil {
			t.Errorf("%q taken", bad)
		}
	}
	s := SetOf(1, 2, 3, 7, 9, 10)
	if s.String() != "1:3,7,9:10" || s.Len() != 6 || s.Dynamic() || !set("1:*").Dynamic() {
		t.Errorf("set %s of %d", s, s.Len())
	}
}

func TestMailboxNames(t *testing.T) {
	for name, wire := range map[string]string{
		"INBOX": "INBOX", "~peter/mail/台北/日本語": "~peter/mail/&U,BTFw-/&ZeVnLIqe-", "a&b": "a&-b", "&": "&-", "Thư đã gửi": "Th&AbA- &AREA4w- g&Hu0-i",
		"😀": "&2D3eAA-", "": "",
	} {
		if got := EncodeMailbox(name); got != wire {
			t.Errorf("%q is written %q, want %q", name, got, wire)
		}
		if got, err := DecodeMailbox(wire); got != name || err != nil {
			t.Errorf("%q is read %q, %v, want %q", wire, got, err, name)
		}
	}
	for _, bad := range []string{"&", "&AGE-", "&U,BTFw", "&U,BTFw-&ZeVnLIqe-", "&2D0-", "&A-", "&!-"} {
		if got, err := DecodeMailbox(bad); err == nil {
			t.Errorf("%q taken as %q", bad, got)
		}
	}
}

func TestMatchPattern(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a/b", true}, {"%", "a/b", false}, {"%", "a", true}, {"a/%", "a/b", true}, {"a/%", "a/b/c", false}, {"a*c", "a/b/c", true},
		{"inbox", "INBOX", true}, {"Inbo%", "INBOX", false}, {"", "", true}, {"", "a", false}, {"%/%", "a/b", true}, {"*b", "aab", true}, {"a%b%", "a/b", false},
		{strings.Repeat("*a", 500), strings.Repeat("a", 499), false},
	} {
		if got := MatchPattern(tt.pattern, tt.name, '/'); got != tt.want {
			t.Errorf("%q matches %q: %v", tt.pattern, tt.name, got)
		}
	}
}

// FuzzCommand checks that no input makes the Reader panic, hang, or lose step: after a command that is answered, the
// stream is at the place where a scan for lines and literals says that the next command begins.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{
		"a LOGIN {3+}\r\nabc \"x\"\r\n", "a APPEND x (\\Seen) {5+}\r\nhello {2+}\r\nab\r\n", "a APPEND x UTF8 (~{5+}\r\nhello)\r\n",
		"a SEARCH OR (SEEN TEXT \"x\") NOT 1:*\r\n", "a FETCH 1:* (BODY[1.2.HEADER.FIELDS (A B)]<1.2> UID)\r\n",
		"a LIST (SUBSCRIBED) \"\" (x y) RETURN (STATUS (MESSAGES))\r\n", "a SELECT x (QRESYNC (1 2 3 (4 5)))\r\n",
		"a ID (\"a\" NIL)\r\n", "a SORT (REVERSE DATE) UTF-8 ALL\r\n", "a FROB {99}\r\nb NOOP\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		src := strings.NewReader(string(in))
		r := NewReader(src, ReaderConfig{Limits: Limits{AppendBytes: 1000, LiteralBytes: 1000}, Continue: func() error { return nil }})
		for range len(in) + 1 {
			cmd, err := r.ReadCommand()
			if err != nil {
				if !errors.As(err, new(*SyntaxError)) && !errors.As(err, new(*RefusedError)) {
					return
				}
				continue
			}
			if cmd.Name != "APPEND" {
				continue
			}
			for {
				msg, err := r.NextAppend()
				if err != nil {
					break
				}
				if n, err := io.Copy(io.Discard, msg.Body); err == nil && n != msg.Size {
					t.Fatalf("message of %d bytes, %d came", msg.Size, n)
				}
			}
		}
		t.Fatal("more commands than bytes")
	})
}
