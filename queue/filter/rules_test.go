package filter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// message is mail from a stranger with the content, whose line ends become CRLF.
func message(t testing.TB, content string) *Message {
	t.Helper()
	content = strings.ReplaceAll(content, "\n", "\r\n")
	return &Message{
		QueueID: "Q1", Client: netip.MustParseAddr("192.0.2.7"), Helo: "mx.example.org", Direction: In,
		From: address(t, "Tin.Tuc@Example.org"), Recipients: []smtp.Address{address(t, "an@example.test"), address(t, "Bình@bücher.test")},
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}
}

func address(t testing.TB, s string) smtp.Address {
	t.Helper()
	a, err := smtp.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func rules(t testing.TB, list ...Rule) *RuleSet {
	t.Helper()
	s, err := Compile(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func check(t *testing.T, c Checker, m *Message) Verdict {
	t.Helper()
	v, err := c.Check(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// ruleAbout is a rule from a text such as "sender an@example.org" or "header:X-Spam yes".
func ruleAbout(what string) Rule {
	field, pattern, _ := strings.Cut(what, " ")
	field, header, _ := strings.Cut(field, ":")
	return Rule{ID: "r", Action: Block, Field: field, Header: header, Pattern: pattern}
}

const mixed = `From: "Tổng đài" <CSKH@ngan-hang.example>
Subject: =?utf-8?b?VGnhu4FuIHRoxrDhu59uZw==?= =?utf-8?q?_cu=E1=BB=91i?=
 =?utf-8?q?_n=C4=83m?=
X-Campaign: 2026-tet
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

preamble with secret words
--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

B=E1=BA=A1n =C4=91=C3=A3 tr=C3=BAng th=
=C6=B0=E1=BB=9Fng
x
--b
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64

PHA+TmjhuqVuIDxiPnbDoG88L2I+IMSRw6J5PHN0eWxlPmhpZGRlbjwvc3R5bGU+PC9wPg==
--b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Offre exclusive =E9t=E9
--b
Content-Type: message/rfc822

Subject: inner

nested treasure
--b
Content-Type: application/octet-stream; name*=utf-8''h%C3%B3a%20%C4%91%C6%A1n.EXE
Content-Transfer-Encoding: base64

c2VjcmV0IHdvcmRz
--b--
`

func TestRulesMatch(t *testing.T) {
	for _, tc := range []struct {
		what string
		want bool
	}{
		{"client 192.0.2.7", true},
		{"client 192.0.2.0/24", true},
		{"client ::ffff:192.0.2.7", true},
		{"client 192.0.2.8", false},
		{"client 2001:db8::/32", false},
		{"client ::/0", false},

		{"sender tin.tuc@example.org", true},
		{"sender TIN.TUC@EXAMPLE.ORG", true},
		{"sender example.org", true},
		{"sender @example.org", true},
		{"sender *.example.org", false},
		{"sender *.org", true},
		{"sender *@*.org", true},
		{"sender tin*@example.org", true},
		{"sender tin?tuc@example.???", true},
		{"sender tin?@example.org", false},
		{"sender tintuc@example.org", false},
		{"sender xample.org", false},
		{"sender <>", false},
		{"sender *", true},
		{"recipient bình@bücher.test", true},
		{"recipient BÌNH@xn--bcher-kva.test", true},
		{"recipient b\u0069\u0300nh@xn--bcher-kva.test", true},
		{"recipient binh@bücher.test", false}, // addresses are not folded: another mailbox
		{"recipient b?nh@xn--bcher-kva.*", true},
		{"recipient example.test", true},
		{"recipient example.org", false},
		{"from cskh@ngan-hang.example", true},
		{"from ngan-hang.example", true},
		{"from example.org", false},

		{"subject tien thuong cuoi nam", true},
		{"subject TIỀN THƯỞNG", true},
		{"subject tiền*năm", true},
		{"subject tienthuong", false},
		{"header:Subject \"nam\"", true},
		{"header:x-campaign 2026", true},
		{"header:x-campaign *", true},
		{"header:x-other *", false},
		{"header:* 2026-TET", true},
		{"header:* tong dai", true},
		{"header:* text/html", false}, // parts have headers of their own
		{"header:subject tet", false},

		{"body trung thuong", true}, // across a soft line end
		{"body trúng thưởng x", true},
		{"body nhan vao day", true},
		{"body hidden", false},
		{"body OFFRE exclusive ete", true},
		{"body nested treasure", true},
		{"body inner", false},
		{"body secret words", false}, // neither the preamble nor an attachment is text
		{"body thuong nhan", false},  // in two parts
		{"body trung * x", true},
		{"body \"thuong\"", true},
		{"body \"thuon\"", false},
		{"body \"thuon*\"", true},
		{"body \"huong\"", false},
		{"body \"*huong\"", true},

		{"attachment \".exe\"", true},
		{"attachment hoa don", true},
		{"attachment \".ex\"", false},
		{"attachment .pdf", false},
	} {
		t.Run(tc.what, func(t *testing.T) {
			s, m := rules(t, ruleAbout(tc.what)), message(t, mixed)
			got := check(t, s, m)
			if (got.Action == Reject) != tc.want {
				t.Errorf("%v", got)
			}
			e, err := s.Explain(t.Context(), m)
			if err != nil || !reflect.DeepEqual(e.Verdict, got) || (len(e.Matches) == 1) != tc.want {
				t.Errorf("explained as %+v, %v", e, err)
			}
		})
	}
}

func TestNullSenderMatchesItsOwnPatternAlone(t *testing.T) {
	m := message(t, "")
	m.From, m.Client = smtp.Address{}, netip.Addr{}
	for what, want := range map[string]Action{"sender <>": Reject, "sender *": Accept, "sender *@*": Accept, "sender example.org": Accept, "client 0.0.0.0/0": Accept, "client ::/0": Accept} {
		if got := check(t, rules(t, ruleAbout(what)), m); got.Action != want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	good := Rule{ID: "r", Action: Block, Field: FieldBody, Pattern: "x"}
	for name, tc := range map[string]struct {
		change func(*Rule)
		want   string
	}{
		"no id":               {func(r *Rule) { r.ID = "" }, "an id of 1 to"},
		"an id with a line":   {func(r *Rule) { r.ID = "a\r\nb" }, "an id has letters"},
		"an id with a hyphen": {func(r *Rule) { r.ID = "-a" }, "an id has letters"},
		"a long id":           {func(r *Rule) { r.ID = strings.Repeat("a", MaxIDBytes+1) }, "an id of 1 to"},
		"action":              {func(r *Rule) { r.Action = "reject" }, `action "reject", expected allow`},
		"field":               {func(r *Rule) { r.Field = "bodies" }, `field "bodies", expected client`},
		"direction":           {func(r *Rule) { r.Direction = "up" }, `direction "up"`},
		"no pattern":          {func(r *Rule) { r.Pattern = " " }, "a pattern is needed"},
		"a long pattern":      {func(r *Rule) { r.Pattern = strings.Repeat("a", MaxPatternBytes+1) }, "257 bytes"},
		"a pattern of bytes":  {func(r *Rule) { r.Pattern = "\xff" }, "not UTF-8"},
		"nothing to find":     {func(r *Rule) { r.Pattern = "* \u0301*" }, "nothing to look for"},
		"everything":          {func(r *Rule) { r.Pattern = "*" }, "nothing to look for"},
		"open quote":          {func(r *Rule) { r.Pattern = `"abc` }, "a quote without its end"},
		"escaped end":         {func(r *Rule) { r.Pattern = `"abc\"` }, "a quote without its end"},
		"escape":              {func(r *Rule) { r.Pattern = `a\n` }, `\n: a backslash`},
		"escape at the end":   {func(r *Rule) { r.Pattern = `a\` }, "escapes nothing"},
		"many stars":          {func(r *Rule) { r.Pattern = "a" + strings.Repeat("*a", MaxWildcards+1) }, "9 stars"},
		"grows when folded":   {func(r *Rule) { r.Pattern = strings.Repeat("\ufdfa", 80) }, "when folded"},
		"reply":               {func(r *Rule) { r.Reply = "không" }, "in the reply"},
		"reply of lines":      {func(r *Rule) { r.Reply = "a\r\n250 ok" }, "in the reply"},
		"header elsewhere":    {func(r *Rule) { r.Header = "Subject" }, "the rule looks at"},
		"header unnamed":      {func(r *Rule) { r.Field = FieldHeader }, "names it"},
		"header's name":       {func(r *Rule) { r.Field, r.Header = FieldHeader, "a:b" }, "no name of a header field"},
		"client":              {func(r *Rule) { r.Field, r.Pattern = FieldClient, "example.org" }, "expected an address such as"},
		"client bits":         {func(r *Rule) { r.Field, r.Pattern = FieldClient, "192.0.2.1/24" }, "did you mean 192.0.2.0/24"},
		"client mapped":       {func(r *Rule) { r.Field, r.Pattern = FieldClient, "::ffff:192.0.2.0/120" }, "as IPv4"},
		"sender":              {func(r *Rule) { r.Field, r.Pattern = FieldSender, "an@exa mple" }, "bad address"},
		"sender labels":       {func(r *Rule) { r.Field, r.Pattern = FieldSender, "*..org" }, "an empty label"},
		"sender stars":        {func(r *Rule) { r.Field, r.Pattern = FieldSender, "*a*a*a*a*a*a*a*a*a*@example.org" }, "10 stars"},
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			tc.change(&r)
			_, err := Compile([]Rule{r})
			if !errors.Is(err, ErrRule) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, expected %q", err, tc.want)
			}
		})
	}
	if _, err := Compile([]Rule{good, good}); !errors.Is(err, ErrRule) {
		t.Errorf("one id twice: %v", err)
	}
	if _, err := Compile(make([]Rule, MaxRules+1)); !errors.Is(err, ErrRule) {
		t.Errorf("too many: %v", err)
	}
}

func TestVerdictTakesTheStrongestUpToTheFirstAllow(t *testing.T) {
	tag := Rule{ID: "tag", Action: Mark, Field: FieldBody, Pattern: "offre"}
	hold := Rule{ID: "hold", Action: Park, Field: FieldSubject, Pattern: "tien"}
	put := Rule{ID: "defer", Action: Defer, Field: FieldClient, Pattern: "192.0.2.7", Reply: "come back later"}
	block := Rule{ID: "block", Action: Block, Field: FieldSender, Pattern: "example.org"}
	allow := Rule{ID: "allow", Action: Allow, Field: FieldHeader, Header: "X-Campaign", Pattern: "tet"}
	outward := Rule{ID: "out", Action: Block, Field: FieldSender, Pattern: "*", Direction: "out"}
	const field = "X-Quorumail-Policy: tag; rule=tag\r\n"
	for name, tc := range map[string]struct {
		rules []Rule
		want  Verdict
	}{
		"none":             {nil, Verdict{}},
		"other direction":  {[]Rule{outward}, Verdict{}},
		"tag":              {[]Rule{tag}, Verdict{Action: Tag, Headers: []string{field}, Rules: []string{"tag"}}},
		"tag and defer":    {[]Rule{tag, put}, Verdict{Action: Tempfail, Headers: []string{field}, Reply: "come back later", Rules: []string{"tag", "defer"}}},
		"defer and hold":   {[]Rule{put, hold}, Verdict{Action: Hold, Rules: []string{"defer", "hold"}}},
		"hold, then block": {[]Rule{block, hold}, Verdict{Action: Reject, Reply: "message refused by the policy of this site, rule block", Rules: []string{"block"}}},
		"allowed":          {[]Rule{tag, allow, block, hold}, Verdict{Action: Tag, Final: true, Headers: []string{field}, Rules: []string{"tag", "allow"}}},
		"allowed too late": {[]Rule{block, allow}, Verdict{Action: Reject, Reply: "message refused by the policy of this site, rule block", Rules: []string{"block"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := check(t, rules(t, tc.rules...), message(t, mixed))
			if got.Action == Hold {
				got.Reply = "" // no reply refuses it
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestContentIsOpenedOnlyWhenARuleLooksInside(t *testing.T) {
	envelope := Rule{ID: "e", Action: Block, Field: FieldSender, Pattern: "example.org"}
	allow := Rule{ID: "a", Action: Allow, Field: FieldClient, Pattern: "192.0.2.7"}
	content := Rule{ID: "c", Action: Mark, Field: FieldBody, Pattern: "x", Direction: "in"}
	contentAllow := Rule{ID: "ca", Action: Allow, Field: FieldBody, Pattern: "x"}
	for name, tc := range map[string]struct {
		rules []Rule
		needs bool // an open
		want  Action
	}{
		"envelope alone":              {[]Rule{envelope}, false, Reject},
		"allowed before":              {[]Rule{allow, content}, false, Accept},
		"rejected":                    {[]Rule{content, envelope}, false, Reject},
		"content first":               {[]Rule{content, allow}, true, Accept},
		"the content may allow":       {[]Rule{contentAllow, envelope}, true, Reject},
		"the content may tag":         {[]Rule{content}, true, Accept},
		"the content allows too late": {[]Rule{envelope, contentAllow}, false, Reject},
	} {
		t.Run(name, func(t *testing.T) {
			m := message(t, "\n\nno")
			opened := 0
			open := m.Open
			m.Open = func() (io.ReadCloser, error) { opened++; return open() }
			s := rules(t, tc.rules...)
			if got := check(t, s, m); got.Action != tc.want || (opened > 0) != tc.needs {
				t.Errorf("%v after %d opens", got, opened)
			}
			m.Open = nil
			if _, err := s.Check(t.Context(), m); tc.needs && (!errors.Is(err, ErrUndecided) || !errors.Is(err, ErrNoContent)) || !tc.needs && err != nil {
				t.Errorf("without content: %v", err)
			}
		})
	}
	s := rules(t, content)
	if !s.NeedsContent(In) || s.NeedsContent(Out) || rules(t, envelope).NeedsContent(In) {
		t.Error("NeedsContent")
	}
}

func TestEnvelopeRefusesOnlyWhatTheWholeSetRefuses(t *testing.T) {
	first := Rule{ID: "first", Action: Block, Field: FieldRecipient, Pattern: "an@example.test"}
	allow := Rule{ID: "allow", Action: Allow, Field: FieldSubject, Pattern: "x"}
	second := Rule{ID: "second", Action: Block, Field: FieldSender, Pattern: "example.org"}
	e := rules(t, first, allow, second).Envelope()
	m := message(t, "")
	m.Open = nil
	if got := check(t, e, m); !reflect.DeepEqual(got.Rules, []string{"first"}) {
		t.Errorf("%+v", got)
	}
	m.Recipients = m.Recipients[1:]
	if got := check(t, e, m); got.Action != Accept || e.NeedsContent(In) {
		t.Errorf("%+v", got)
	}
}

func TestExplainTellsWhere(t *testing.T) {
	s := rules(t,
		Rule{ID: "a", Action: Mark, Field: FieldBody, Pattern: "nested treas"},
		Rule{ID: "b", Action: Allow, Field: FieldBody, Pattern: "trung thuong"},
		Rule{ID: "c", Action: Block, Field: FieldRecipient, Pattern: "bücher.test"},
		Rule{ID: "d", Action: Park, Field: FieldHeader, Header: "*", Pattern: "thuong * nam"},
		Rule{ID: "e", Action: Park, Field: FieldAttachment, Pattern: ".exe"},
		Rule{ID: "f", Action: Park, Field: FieldBody, Pattern: "not there"},
	)
	e, err := s.Explain(t.Context(), message(t, mixed))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range e.Matches {
		got = append(got, strings.Join([]string{m.Rule.ID, m.Where, m.Excerpt}, " | "))
		if m.Counts != (m.Rule.ID < "c") {
			t.Errorf("%s counts: %v", m.Rule.ID, m.Counts)
		}
	}
	want := []string{
		"a | body, part 4.1 (text/plain) | nested treasure",
		"b | body, part 1 (text/plain) | Bạn đã trúng thưởng x",
		"c | recipient | <Bình@bücher.test>",
		"d | header Subject | Tiền thưởng cuối năm",
		"e | attachment, part 5 | hóa đơn.EXE",
	}
	if !reflect.DeepEqual(got, want) || e.Verdict.Action != Tag || !e.Verdict.Final || e.Truncated {
		t.Errorf("%q\n%+v", got, e.Verdict)
	}
}

func TestTextBeyondTheLimitsIsNotLookedAt(t *testing.T) {
	part := func(text string) string { return "--b\n\n" + text + "\n" }
	many := "Content-Type: multipart/mixed; boundary=b\n\n"
	for range MaxTextParts {
		many += part("x")
	}
	filler := strings.Repeat("0123456789abcde ", MaxTextBytes/16)
	for name, tc := range map[string]struct {
		content   string
		found     bool
		truncated bool
	}{
		"the last bytes":       {"\n" + filler[:MaxTextBytes-6] + "needle", true, false},
		"one byte beyond":      {"\n" + filler[:MaxTextBytes-5] + "needle", false, true},
		"a part after it":      {"Content-Type: multipart/mixed; boundary=b\n\n" + part(filler) + part("needle"), false, true},
		"many parts":           {many + part("needle"), false, true},
		"a long base64 before": {"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: image/png\n\n" + strings.Repeat("0123456789abcde\n", 1<<18) + part("needle"), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := rules(t, ruleAbout("body needle")).Explain(t.Context(), message(t, tc.content))
			if err != nil || (len(e.Matches) == 1) != tc.found || e.Truncated != tc.truncated {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
}

// A thousand rules and a message whose every byte begins a keyword: it takes one pass, and what is remembered stays bounded.
func TestManyRulesInOnePass(t *testing.T) {
	var list []Rule
	for i := range MaxRules {
		list = append(list, Rule{ID: fmt.Sprint("n", i), Action: Mark, Field: FieldBody, Pattern: "a*b" + strings.Repeat("c", i%100) + "*d"})
	}
	s := rules(t, list...)
	m := message(t, "\n"+strings.Repeat("a", 64<<10)+"bcc d")
	if got := check(t, s, m); len(got.Rules) != 30 { // b, bc, bcc
		t.Errorf("%d rules matched", len(got.Rules))
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := message(t, "")
	m.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(&endless{after: 100, then: cancel}), nil
	}
	v, err := rules(t, ruleAbout("body x")).Check(ctx, m)
	if !errors.Is(err, ErrUndecided) || !errors.Is(err, context.Canceled) || v.Action != Accept {
		t.Errorf("%+v, %v", v, err)
	}
}

// endless yields blank lines, and calls then once.
type endless struct {
	after int
	then  func()
}

func (e *endless) Read(p []byte) (int, error) {
	if e.after--; e.after == 0 && e.then != nil {
		e.then()
	}
	for i := range p {
		p[i] = '\n'
	}
	return len(p), nil
}

// A large message is streamed: all that is allocated while looking at it is far less than it.
func TestMemoryDoesNotGrowWithTheMessage(t *testing.T) {
	m := message(t, "")
	m.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("Content-Type: text/html\r\n\r\n<!--"), io.LimitReader(&endless{}, 32<<20), strings.NewReader("--> needle"))), nil
	}
	s := rules(t, ruleAbout("body needle"))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	v := check(t, s, m)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; v.Action != Reject || got > 4<<20 {
		t.Errorf("%v, and %d bytes were allocated", v, got)
	}
}

// What hides a keyword from a program and not from its reader: other encodings and character sets, tags, references, what nobody sees.
func TestKeywordsInDisguise(t *testing.T) {
	s := rules(t, ruleAbout("body tiền thưởng"))
	for _, tc := range []struct{ contentType, encoding, body string }{
		{"text/plain; charset=windows-1258", "quoted-printable", "Ti=EA=CCn th=FD=F5=D2ng"},
		{"text/plain; charset=\"CP1258\"", "base64", "VGnqzG4gdGj99dJuZw=="},
		{"text/plain; charset=VISCII", "quoted-printable", "Ti=ABn th=DF=B7ng"},
		{"text/plain; charset=tcvn", "quoted-printable", "Ti=D2n th=AD=EBng"},
		{"text/plain; charset=utf-8", "8bit", "Tie\u0302\u0300n thu\u031bo\u031b\u0309ng"}, // NFD
		{"text/plain; charset=utf-8", "8bit", "ti\u2060ền th\u200eươ\u0309\u180eng"},
		{"text/plain; charset=utf-8", "8bit", "t\ufe0fiề\u3164n\u00a0thưở\U000E0041ng"},
		{"text/plain; charset=utf-8", "8bit", "\U0001d42d\U0001d422ền ｔｈưởｎｇ"},
		{"text/plain; charset=us-ascii", "8bit", "tiền\tthưởng"},
		{"text/plain; charset=utf-8", "quoted-printable", "ti=E1=\n=BB=81n=20\n  =\nth=C6=B0=E1=BB=9Fng"},
		{"text/plain; charset=utf-8", "base64", "VGnhu\n4FuIHRoxrD\nhu59uZw=="},
		{"text/html; charset=utf-8", "8bit", "ti<b>&#7873;</b>n&nbsp;t<!-- x -->h&#x1B0;<wbr>&#7903;ng"},
		{"text/html; charset=utf-8", "8bit", "ti<span title='x>y'>ề</span>n th&shy;ư&zwnj;ởng"},
		{"text/html", "base64", "PGRpdj50aTxpPiYjNzg3Mzs8L2k+biB0aMaw4bufbmc8L2Rpdj4="},
		{"message/rfc822", "7bit", "Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: quoted-printable\n\ntien th=75ong\n--b--"},
	} {
		m := message(t, "From: a@b.test\nMIME-Version: 1.0\nContent-Type: "+tc.contentType+"\nContent-Transfer-Encoding: "+tc.encoding+"\n\n"+tc.body+"\n")
		if got := check(t, s, m); got.Action != Reject {
			t.Errorf("%s, %s: not found in %q", tc.contentType, tc.encoding, tc.body)
		}
	}
	s = rules(t, ruleAbout("subject tiền thưởng"))
	for _, subject := range []string{
		"=?windows-1258?Q?Ti=EA=CCn_th=FD=F5=D2ng?=", "=?utf-8?q?ti=E1=BB?=\n =?utf-8?q?=81n_th=C6=B0=E1=BB=9Fng?=", // cut within a character
		"=?UTF-8*vi?B?dGnhu4Fu?= =?us-ascii?q?_?= =?utf-8?q?th=C6=B0=E1=BB=9Fng?=", "ti\u2060ền thưởng", "tien\n\tthuong",
	} {
		if got := check(t, s, message(t, "From: a@b.test\nSubject: "+subject+"\n\nx\n")); got.Action != Reject {
			t.Errorf("not found in %q", subject)
		}
	}
	// A keyword may be written in disguise, too.
	if got := check(t, rules(t, ruleAbout("body \u200etiền\u2060 thưởng")), message(t, "From: a@b.test\n\ntiền thưởng\n")); got.Action != Reject {
		t.Error("a keyword with characters that nobody sees is not found")
	}
}

// Many fields and many rules take long: the look ends with its time.
func TestLookAtAHeaderEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := message(t, "From: a@b.test\n"+strings.Repeat("a:\n", 1000)+"\nx\n")
	open := m.Open
	m.Open = func() (io.ReadCloser, error) {
		r, err := open()
		return closer{r, cancel}, err // it is over when the header was read
	}
	if _, err := rules(t, ruleAbout("header:* x")).Check(ctx, m); !errors.Is(err, ErrUndecided) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

type closer struct {
	io.Reader
	close func()
}

func (c closer) Close() error {
	c.close()
	return nil
}

func TestRuleCheckNamesTheMistakeAlone(t *testing.T) {
	for want, r := range map[string]Rule{
		`bad rule: client "x", expected`: {ID: "a", Action: Block, Field: FieldClient, Pattern: "x"},
		"bad rule: a note is one line":   {ID: "a", Action: Block, Field: FieldBody, Pattern: "x", Note: "a\nb"},
		"bad rule: a note of 1001":       {ID: "a", Action: Block, Field: FieldBody, Pattern: "x", Note: strings.Repeat("x", 1001)},
		"bad rule: the keyword has":      {ID: "a", Action: Block, Field: FieldBody, Pattern: "*\u2060"},
	} {
		if err := r.Check(); !errors.Is(err, ErrRule) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := (Rule{ID: "a", Action: Block, Field: FieldBody, Pattern: "x", Note: "ghi chú"}).Check(); err != nil {
		t.Error(err)
	}
}
