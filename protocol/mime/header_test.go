package mime

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseAddressList(t *testing.T) {
	a := func(name, mailbox, host string) Address { return Address{Name: name, Mailbox: mailbox, Host: host} }
	start := func(name string) Address { return Address{Kind: GroupStart, Mailbox: name} }
	end := Address{Kind: GroupEnd}
	tests := []struct {
		in   string
		want []Address
	}{
		{"", nil},
		{" , ,", nil},
		{"a@b.c", []Address{a("", "a", "b.c")}},
		{"<a@b.c>", []Address{a("", "a", "b.c")}},
		{"A B <a@b.c>, d@e", []Address{a("A B", "a", "b.c"), a("", "d", "e")}},
		{`"B, A" <a@b.c>`, []Address{a("B, A", "a", "b.c")}},
		{`"a\"b" <a@b>`, []Address{a(`a"b`, "a", "b")}},
		{"a@b.c (A B)", []Address{a("A B", "a", "b.c")}},
		{"(x) a@b.c (A (nested) B)", []Address{a("A (nested) B", "a", "b.c")}},
		{"A. B. Cee <a.b@c>", []Address{a("A. B. Cee", "a.b", "c")}},
		{`"a b"@c`, []Address{a("", "a b", "c")}},
		{"a@[127.0.0.1]", []Address{a("", "a", "[127.0.0.1]")}},
		{"<@x,@y:a@b>", []Address{a("", "a", "b")}},
		{"g: a@b, C <c@d>;, e@f", []Address{start("g"), a("", "a", "b"), a("C", "c", "d"), end, a("", "e", "f")}},
		{"undisclosed-recipients:;", []Address{start("undisclosed-recipients"), end}},
		{"g: a@b", []Address{start("g"), a("", "a", "b"), end}},
		{"=?utf-8?Q?B,_A?= <a@b>", []Address{a("=?utf-8?Q?B,_A?=", "a", "b")}},
		{"Đặng Văn <đặng@ví.dụ>", []Address{a("Đặng Văn", "đặng", "ví.dụ")}},
		{"root", []Address{a("", "root", "")}},
		{"no address", []Address{a("no address", "", "")}},
		{"A <a@b", []Address{a("A", "a", "b")}},
		{"A <a@b, c@d", []Address{a("A", "a", "b"), a("", "c", "d")}},
		{`"open <a@b>`, []Address{a("", "open <a@b>", "")}},
		{"A <>", []Address{a("A", "", "")}},
		{"<>", nil},
		{"a@b@c", []Address{a("", "a@b", "c")}},
		{"a@b; c@d", []Address{a("", "a", "b"), a("", "c", "d")}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, ParseAddressList(tt.in)); diff != "" {
			t.Errorf("%q:\n%s", tt.in, diff)
		}
	}
	if n := len(ParseAddressList(strings.Repeat("a@b,", 5000))); n != MaxAddresses {
		t.Errorf("%d addresses", n)
	}
}

func TestEnvelope(t *testing.T) {
	e := ParseEnvelope(crlf("Date: Mon,\n\t1 Jan 2024\nSubject:\nFrom: a@b\nSender: \nTo: c@d\nTo: e@f\nMessage-ID: <x@y>\n\nFrom: body@x\n"))
	from := []Address{{Mailbox: "a", Host: "b"}}
	want := Envelope{
		Date: Value{"Mon, 1 Jan 2024", true}, Subject: Value{"", true}, From: from, Sender: from, ReplyTo: from,
		To: []Address{{Mailbox: "c", Host: "d"}, {Mailbox: "e", Host: "f"}}, MessageID: Value{"<x@y>", true},
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
}

func TestFilterFields(t *testing.T) {
	raw := crlf("From mbox line: x\nFrom: a\n folded\nX-Bad line\nSubject : s\nto: t1\nTO: t2\n\nTo: body\n")
	for _, tt := range []struct {
		names []string
		not   bool
		want  string
	}{
		{[]string{"FROM", "To"}, false, "From: a\n folded\nto: t1\nTO: t2\n\n"},
		{[]string{"From", "To"}, true, "From mbox line: x\nX-Bad line\nSubject : s\n\n"},
		{[]string{"subject"}, false, "Subject : s\n\n"},
		{[]string{"absent", ""}, false, "\n"},
	} {
		if got := string(FilterFields(raw, tt.names, tt.not)); got != string(crlf(tt.want)) {
			t.Errorf("%v, not %v: %q", tt.names, tt.not, got)
		}
	}
	if got := string(FilterFields([]byte("A: x"), []string{"a"}, false)); got != "A: x\r\n\r\n" {
		t.Errorf("header without a line end: %q", got)
	}
}

func TestDecodeHeader(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                              "plain",
		"=?utf-8?Q?a_b=C4=91?=":              "a bđ",
		"=?UTF-8?B?xJHhurduZw==?= x":         "đặng x",
		"=?utf-8?B?xJHhurduZw?=":             "đặng",
		"=?utf-8?q?a?= =?utf-8?q?b?=":        "ab",
		"=?utf-8?q?a?= x =?utf-8?q?b?=":      "a x b",
		"=?utf-8?q?=C4?=  =?UTF-8?q?=91?=":   "đ", // a character cut in two
		"=?iso-8859-1?q?=E9?= =?utf-8?q?b?=": "éb",
		"=?iso-8859-1*fr?q?=E9?=":            "é",
		"=?windows-1258?q?=F0?=":             "đ",
		"=?x-unknown?q?=E9?=":                "é",
		"=?utf-8?x?abc?=":                    "=?x-unk",
		"=?utf-8?b?!!!?=":                    "=?utf-8?b?!!!?=",
		"=?utf-8?q?open":                     "=?utf-8?q?open",
		"=?utf-8?q?a b?=":                    "a b",
		"a=?utf-8?q?b?=c":                    "abc",
		"caf\xe9":                            "café",
		"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=": "日本",
		"=?gb2312?B?1tDOxA==?=":              "中文",
		"=?utf-8?q??=":                       "",
	} {
		if strings.Contains(in, "?x?") {
			want = in
		}
		if got := DecodeHeader(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestParams(t *testing.T) {
	for _, tt := range []struct {
		in, token string
		want      []Param
	}{
		{"Text/Plain; Charset=UTF-8; format=flowed", "text/plain", []Param{{"charset", "UTF-8"}, {"format", "flowed"}}},
		{`a/b; name="x;y\"z"; q`, "a/b", []Param{{"name", `x;y"z`}}},
		{"a/b (comment; x=y) ; (c) k (d) = v (e)", "a/b", []Param{{"k", "v"}}},
		{"attachment; filename*0*=utf-8''%C4%91; filename*1=\"b \"; filename*2*=%63", "attachment", []Param{{"filename", "đb c"}}},
		{"attachment; filename=plain; filename*=iso-8859-1'fr'%E9", "attachment", []Param{{"filename", "é"}}},
		{"attachment; filename*1=b; filename*0=a", "attachment", []Param{{"filename", "ab"}}},
		{"a/b; name=caf\xe9", "a/b", []Param{{"name", "café"}}},
		{"a/b; x=1; x=2; =3; \"y\"=4", "a/b", []Param{{"x", "1"}}},
		{`a/b; name="open; x=y`, "a/b", []Param{{"name", "open; x=y"}}},
		{"a/b; filename*=%zz", "a/b", []Param{{"filename", "%zz"}}},
	} {
		token, params := parseValue(tt.in)
		if diff := cmp.Diff(tt.want, params); diff != "" || token != tt.token {
			t.Errorf("%q: %q\n%s", tt.in, token, diff)
		}
	}
}

func TestParseDate(t *testing.T) {
	for in, want := range map[string]string{
		"Fri, 21 Nov 1997 09:55:06 -0600":             "1997-11-21T09:55:06-06:00",
		"21 Nov 97 09:55:06 GMT":                      "1997-11-21T09:55:06Z",
		"Fri, 21 Nov 1997 09(comment):   55  -0330":   "",
		"Thu, 13 Feb 1969 23:32 -0330 (Newfoundland)": "1969-02-13T23:32:00-03:30",
		"1 Jan 2024 10:20 EST":                        "2024-01-01T10:20:00-05:00",
		"Mon Jan  2 15:04:05 2006":                    "2006-01-02T15:04:05Z",
		"Mon Jan  2 15:04:05 MST 2006":                "2006-01-02T15:04:05Z",
		"2024-02-29T01:02:03+07:00":                   "2024-02-29T01:02:03+07:00",
		"2024-02-29 01:02:03":                         "2024-02-29T01:02:03Z",
		"Wed,3 Sep 2014 24:00:00 +0000":               "",
		"3-Sep-2014 1:02:60 +0000":                    "2014-09-03T01:02:59Z",
		"Tuesday, 3 September 02 1:2:3":               "2002-09-03T01:02:03Z",
		"21 Nov 102 00:00:00 +0000":                   "2002-11-21T00:00:00Z",
		"":                                            "",
		"yesterday":                                   "",
		"99 Foo 2000":                                 "",
		"-0600":                                       "",
	} {
		got, err := ParseDate(in)
		text := ""
		if err == nil {
			text = got.Format(time.RFC3339)
		}
		if text != want {
			t.Errorf("%q: %q, want %q", in, text, want)
		}
	}
}

func TestBaseSubject(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		reply    bool
	}{
		{"hello", "hello", false}, {"Re: hello", "hello", true}, {"RE[2]: re: Fwd:  hello  there ", "hello there", true},
		{"[list] hello", "hello", false}, {"[list] Re: [list] hello (fwd)", "hello", true}, {"[only]", "[only]", false},
		{"[fwd: hello]", "hello", true}, {"Fw: [Fwd: Re: hello] (fwd)", "hello", true}, {"re", "re", false}, {"Re:", "", true},
		{"reply: x", "reply: x", false}, {"", "", false}, {"[a[b]] x", "[a[b]] x", false},
	} {
		if got, reply := BaseSubject(tt.in); got != tt.want || reply != tt.reply {
			t.Errorf("%q: %q, %v, want %q, %v", tt.in, got, reply, tt.want, tt.reply)
		}
	}
}

func TestParseMessageIDs(t *testing.T) {
	for in, want := range map[string][]string{
		"<a@b> <c@d>\t<e@f>": {"a@b", "c@d", "e@f"}, "": nil, "text <a@b> text": {"a@b"}, "a@b": {"a@b"}, "no id": nil, "<a\n @b>": {"a@b"}, "<open": nil, "<>": nil,
	} {
		if diff := cmp.Diff(want, ParseMessageIDs(in)); diff != "" {
			t.Errorf("%q:\n%s", in, diff)
		}
	}
	long := ParseMessageIDs("<first@x> " + strings.Repeat("<m@x>", 500) + "<last@x>")
	if len(long) != MaxReferences || long[0] != "first@x" || long[len(long)-1] != "last@x" {
		t.Errorf("%d ids, from %s to %s", len(long), long[0], long[len(long)-1])
	}
}
