package dsn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	stdmime "mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
)

func address(t testing.TB, s string) smtp.Address {
	t.Helper()
	a, err := smtp.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var now = time.Date(2026, 11, 30, 13, 30, 0, 0, time.FixedZone("", 7*3600))

// failure is a report of one recipient who does not exist, about a small message.
func failure(t testing.TB) Report {
	return Report{
		Kind: Failed, ReportingMTA: "mx.example.test", From: address(t, "postmaster@example.test"), To: address(t, "an@example.test"),
		Arrival: now.Add(-time.Minute), MessageID: "<1@example.test>", Subject: "Họp tuần", Now: now, ID: "01abc.7",
		Recipients: []Recipient{{Final: address(t, "nobody@example.org"), Status: "5.1.1", RemoteMTA: "mx.example.org", Diagnostic: "550 5.1.1 no such user", LastAttempt: now}},
		Original:   originalOf("Return-Path: <an@example.test>\n (folded)\nFrom: an@example.test\nSubject: x\n\nHello\n"),
	}
}

func content(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

func originalOf(lines string) func() (io.ReadCloser, error) {
	return content(strings.ReplaceAll(lines, "\n", "\r\n"))
}

func build(t testing.TB, r Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := Build(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// part is a part of a notice, with its encoding undone.
type part struct{ kind, encoding, text string }

func partsOf(t testing.TB, notice string) (mail.Header, []part) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(notice))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := stdmime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("%s %v, %v", kind, params, err)
	}
	var out []part
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return m.Header, out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, decodePart(t, p))
	}
}

func decodePart(t testing.TB, p *multipart.Part) part {
	t.Helper()
	encoding := p.Header.Get("Content-Transfer-Encoding")
	var r io.Reader = p
	switch encoding {
	case "quoted-printable":
		r = quotedprintable.NewReader(p)
	case "base64":
		r = base64Reader(p)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	kind, _, _ := strings.Cut(p.Header.Get("Content-Type"), ";")
	return part{kind, encoding, string(text)}
}

func TestNoticeOfAFailure(t *testing.T) {
	notice := build(t, failure(t))
	h, parts := partsOf(t, notice)
	subject, err := new(stdmime.WordDecoder).DecodeHeader(h.Get("Subject"))
	if want := "Không gửi được thư / Undelivered mail: Họp tuần"; err != nil || subject != want {
		t.Errorf("Subject %q, %v", subject, err)
	}
	for name, want := range map[string]string{
		"From": `"Mail Delivery System" <postmaster@example.test>`, "To": "<an@example.test>", "Message-Id": "<01abc.7@mx.example.test>", "Date": "Mon, 30 Nov 2026 13:30:00 +0700",
		"In-Reply-To": "<1@example.test>", "References": "<1@example.test>", "Auto-Submitted": "auto-replied", "Mime-Version": "1.0", "Content-Transfer-Encoding": "",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, expected %q", name, got, want)
		}
	}
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	for _, want := range []string{
		"Rất tiếc, thư của bạn không gửi được", "Tiêu đề thư: Họp tuần", "<nobody@example.org>", "Địa chỉ này không tồn tại", "Vui lòng kiểm tra lại địa chỉ", "Máy chủ mx.example.org trả lời:\r\n        550 5.1.1 no such user",
		"Your message could not be delivered", "There is no such address", "Check how the address is written", "The server mx.example.org answered:", "Accepted: 2026-11-30 13:29:00 +0700", "Your message is attached.",
	} {
		if !strings.Contains(parts[0].text, want) {
			t.Errorf("the text has no %q:\n%s", want, parts[0].text)
		}
	}
	if strings.Index(parts[0].text, "thư của bạn") > strings.Index(parts[0].text, "Your message") {
		t.Error("English comes first")
	}
	// RFC 3464 §2: the fields of the message, a blank line, those of the recipient.
	want := "Reporting-MTA: dns; mx.example.test\r\nArrival-Date: Mon, 30 Nov 2026 13:29:00 +0700\r\n\r\n" +
		"Final-Recipient: rfc822; nobody@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.example.org\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\nLast-Attempt-Date: Mon, 30 Nov 2026 13:30:00 +0700\r\n"
	if parts[1].kind != "message/delivery-status" || parts[1].text+"\r\n" != want && parts[1].text != want {
		t.Errorf("%+q", parts[1])
	}
	if want := "From: an@example.test\r\nSubject: x\r\n\r\nHello\r\n"; parts[2] != (part{"message/rfc822", "", want}) {
		t.Errorf("%+q", parts[2])
	}
	checkWire(t, notice)
}

// checkWire: every line ends with CRLF, none is too long, and there is nothing in 8 bits unless the notice says so.
func checkWire(t testing.TB, notice string) {
	t.Helper()
	head, _, _ := strings.Cut(notice, "\r\n\r\n")
	eight := strings.Contains(head, "Content-Transfer-Encoding: 8bit")
	if !strings.HasSuffix(notice, "--\r\n") {
		t.Error("no end")
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(notice, "\r\n"), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") || !eight && !isASCII(line) {
			t.Errorf("line %.200q", line)
		}
	}
}

func TestKindsSayWhatTheyAre(t *testing.T) {
	for _, tc := range []struct {
		kind   Kind
		action string
		vi, en string
	}{
		{Failed, "failed", "thư của bạn không gửi được", "could not be delivered"},
		{Delayed, "delayed", "Bạn không cần làm gì.", "There is nothing for you to do."},
		{Delivered, "delivered", "Thư đã vào hộp thư.", "in the mailbox."},
		{Relayed, "relayed", "Máy chủ đó không gửi xác nhận", "sends no confirmations"},
		{Expanded, "expanded", "thành viên của danh sách", "members of the lists"},
		{DoubleBounce, "failed", "Kính gửi người quản trị", "To the postmaster"},
	} {
		r := failure(t)
		r.Kind, r.Recipients[0].Status, r.Recipients[0].Diagnostic = tc.kind, "", ""
		r.Recipients[0].WillRetryUntil = now.Add(5 * 24 * time.Hour)
		notice := build(t, r)
		_, parts := partsOf(t, notice)
		if !strings.Contains(parts[0].text, tc.vi) || !strings.Contains(parts[0].text, tc.en) || !strings.Contains(parts[1].text, "\r\nAction: "+tc.action+"\r\n") {
			t.Errorf("%s:\n%s\n%s", tc.action, parts[0].text, parts[1].text)
		}
		// RFC 3464 §2.3.9: for delays only.
		if got := strings.Contains(parts[1].text, "Will-Retry-Until: Sat, 5 Dec 2026"); got != (tc.kind == Delayed) {
			t.Errorf("%s: Will-Retry-Until %v", tc.action, got)
		}
		// RFC 3461 §4.3: the whole message comes back with failures only.
		if got := parts[2].kind == "message/rfc822"; got != (tc.action == "failed") {
			t.Errorf("%s: %s", tc.action, parts[2].kind)
		}
		checkWire(t, notice)
	}
}

func TestAdviceByStatus(t *testing.T) {
	for status, want := range map[string]reason{
		"5.1.1": noUser, "5.1.2": noDomain, "5.1.10": noDomain, "5.4.4": noDomain, "5.1.8": badSender, "5.2.2": mailboxFull, "4.2.2": mailboxFull, "5.2.1": suspended, "5.2.3": tooLarge,
		"5.3.4": tooLarge, "5.4.6": loop, "4.4.7": unreachable, "5.4.1": unreachable, "5.6.7": needsUTF8, "5.6.3": conversion, "5.7.1": refused, "5.7.26": refused, "5.7.10": needsTLS,
		"5.7.30": needsTLS, "5.0.0": other, "5.5.2": other, "": other, "x": other,
	} {
		if got := reasonOf(status); got != want {
			t.Errorf("%s: %d, expected %d", status, got, want)
		}
	}
	for _, l := range []*words{vietnamese(), english()} {
		for i, a := range l.failed {
			if a.what == "" || a.todo == "" {
				t.Errorf("reason %d: %+v", i, a)
			}
		}
		for k := Failed; k <= DoubleBounce; k++ {
			if l.subject[k] == "" || l.intro[k] == "" || k >= Delayed && k <= Expanded && l.plain[k].what == "" {
				t.Errorf("kind %d has no words", k)
			}
		}
	}
}

// What a server said is told as its words, and what was found here as ours: nobody is blamed for what he did not say.
func TestWhoseWordsTheyAre(t *testing.T) {
	for _, tc := range []struct {
		name, remote, status, diagnostic string
		vi, en                           []string
		fields                           []string
		not                              string
	}{
		{"a reply", "mx.example.org", "5.7.1", "550 5.7.1 spam", []string{"Máy chủ mx.example.org trả lời:\r\n        550 5.7.1 spam", "Bên nhận từ chối thư"}, []string{"The server mx.example.org answered:"},
			[]string{"Remote-MTA: dns; mx.example.org", "Diagnostic-Code: smtp; 550 5.7.1 spam"}, "quản trị hoặc theo quy định"},
		{"no reply", "mx.example.org", "5.4.7", "given up after 5 days; the last attempt: connection refused", []string{"Lý do kỹ thuật, khi liên lạc với máy chủ mx.example.org:", "đã ngừng thử"},
			[]string{"Technical reason, at the server mx.example.org:"}, []string{"Diagnostic-Code: x-quorumail; given up"}, "trả lời"},
		{"an administrator", "", "5.7.0", "554 5.7.0 returned by the administrator", []string{"giữ lại ngay tại hệ thống của chúng tôi", "Lý do kỹ thuật:"}, []string{"stopped here, by the administrator"},
			[]string{"Diagnostic-Code: x-quorumail; 554 5.7.0 returned"}, "thư rác"},
		{"local trouble", "", "5.3.0", "554 5.3.0 no room", []string{"Hệ thống của chúng tôi không giao được"}, []string{"Our own system could not"}, []string{"x-quorumail; 554"}, "bên nhận không nhận"},
	} {
		r := failure(t)
		to := &r.Recipients[0]
		to.RemoteMTA, to.Status, to.Diagnostic = tc.remote, tc.status, tc.diagnostic
		_, parts := partsOf(t, build(t, r))
		for _, want := range append(tc.vi, tc.en...) {
			if !strings.Contains(parts[0].text, want) {
				t.Errorf("%s: no %q in\n%s", tc.name, want, parts[0].text)
			}
		}
		if strings.Contains(parts[0].text, tc.not) {
			t.Errorf("%s: %q in\n%s", tc.name, tc.not, parts[0].text)
		}
		for _, want := range tc.fields {
			if !strings.Contains(parts[1].text, want) {
				t.Errorf("%s: no %q in\n%s", tc.name, want, parts[1].text)
			}
		}
		// RFC 3464 §2.3.5: it is there for who reported, and for nobody else.
		if got, want := strings.Contains(parts[1].text, "Remote-MTA"), tc.name == "a reply"; got != want {
			t.Errorf("%s: Remote-MTA %v", tc.name, got)
		}
	}
}

func TestStatusIsMadeUpWhereNobodyToldOne(t *testing.T) {
	for _, tc := range []struct {
		status, diagnostic string
		action             Kind
		want               string
	}{
		{"5.1.1", "550 5.7.1 x", Failed, "5.1.1"},
		{"5.1", "550 5.7.1 x", Failed, "5.7.1"},
		{"", "550-5.7.26 a\n550 5.7.26 b", Failed, "5.7.26"},
		{"", "552 full", Failed, "5.0.0"},
		{"", "452 4.2.2 full", Delayed, "4.2.2"},
		{"", "421 bye", Failed, "4.0.0"},
		{"", "connection refused", Failed, "5.0.0"},
		{"", "connection refused", Delayed, "4.0.0"},
		{"", "250 2.1.5 ok", Delivered, "2.1.5"},
		{"", "550 no", Delivered, "2.0.0"},
		{"", "", Relayed, "2.0.0"},
		{"5.1.1\r\nX: y", "", Failed, "5.0.0"},
	} {
		r := Report{Kind: Failed}
		if got := r.statusOf(Recipient{Status: tc.status, Diagnostic: tc.diagnostic, Action: tc.action}); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}

// RFC 3461 §4.1 and §5.2.
func TestWants(t *testing.T) {
	all := []Kind{Failed, Delayed, Delivered, Relayed, Expanded, DoubleBounce}
	for _, tc := range []struct {
		notify store.Notify
		null   bool
		want   []Kind
	}{
		{0, false, []Kind{Failed, Delayed, DoubleBounce}},
		{store.NotifyNever, false, []Kind{DoubleBounce}},
		{store.NotifyNever | store.NotifyFailure, false, []Kind{DoubleBounce}},
		{store.NotifyFailure, false, []Kind{Failed, DoubleBounce}},
		{store.NotifyDelay, false, []Kind{Delayed, DoubleBounce}},
		{store.NotifySuccess, false, []Kind{Delivered, Relayed, Expanded, DoubleBounce}},
		{store.NotifySuccess | store.NotifyFailure | store.NotifyDelay, false, all},
		{store.NotifySuccess | store.NotifyFailure | store.NotifyDelay, true, []Kind{DoubleBounce}},
		{0, true, []Kind{DoubleBounce}},
	} {
		sender := address(t, "an@example.test")
		if tc.null {
			sender = smtp.Address{}
		}
		var got []Kind
		for _, k := range all {
			if Wants(sender, tc.notify, k) {
				got = append(got, k)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

func TestWhatComesBack(t *testing.T) {
	small, big := "Subject: x\n\nhello\n", "Subject: x\n\n"+strings.Repeat("0123456789abcdef\n", 10_000)
	headers := "Subject: x\r\n"
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	huge := "X: " + strings.Repeat("y", 200) + "\n  " + strings.Repeat("z", 400) + "\n"
	long := "Subject: x\n\n" + strings.Repeat("a", 1200) + "\n"
	for name, tc := range map[string]struct {
		original string
		ret      Ret
		max      int64
		want     part
	}{
		"small, unsaid":          {crlf(small), RetUnsaid, 0, part{"message/rfc822", "", crlf(small)}},
		"small, headers":         {crlf(small), RetHeaders, 0, part{"text/rfc822-headers", "", headers}},
		"big, unsaid":            {crlf(big), RetUnsaid, 0, part{"text/rfc822-headers", "", headers}},
		"big, full":              {crlf(big), RetFull, 0, part{"message/rfc822", "", crlf(big)}},
		"big, full, bounded":     {crlf(big), RetFull, 1000, part{"text/rfc822-headers", "", headers}},
		"just fits":              {crlf(big), RetFull, int64(len(crlf(big))), part{"message/rfc822", "", crlf(big)}},
		"one byte too large":     {crlf(big), RetFull, int64(len(crlf(big))) - 1, part{"text/rfc822-headers", "", headers}},
		"long lines":             {crlf(long), RetFull, 0, part{"text/rfc822-headers", "quoted-printable", headers}},
		"line feeds alone":       {small, RetFull, 0, part{"text/rfc822-headers", "quoted-printable", headers}},
		"a NUL":                  {crlf("Subject: x\n\n\x00\n"), RetFull, 0, part{"text/rfc822-headers", "quoted-printable", headers}},
		"8-bit text":             {crlf("Subject: x\n\nhé\n"), RetFull, 0, part{"message/rfc822", "8bit", crlf("Subject: x\n\nhé\n")}},
		"8-bit header":           {crlf("Subject: hé\n\nx\n"), RetFull, 0, part{"message/global", "base64", crlf("Subject: hé\n\nx\n")}},
		"8-bit header alone":     {crlf("Subject: hé\n\nx\n"), RetHeaders, 0, part{"message/global-headers", "base64", "Subject: hé\r\n"}},
		"8-bit header, no UTF-8": {crlf("Subject: h\xe9\n\nx\n"), RetHeaders, 0, part{"text/rfc822-headers", "quoted-printable", "Subject: h\xe9\r\n"}},
		"no body":                {"Subject: x\r\n", RetFull, 0, part{"message/rfc822", "", "Subject: x\r\n"}},
		"empty":                  {"", RetFull, 0, part{"message/rfc822", "", ""}},
		"Return-Path alone":      {"Return-Path: <>\r\n", RetFull, 0, part{"message/rfc822", "", ""}},
		"a later Return-Path":    {"A: b\r\nReturn-Path: <>\r\n\r\n", RetHeaders, 0, part{"text/rfc822-headers", "", "A: b\r\nReturn-Path: <>\r\n"}},
		// The limit is met within the 108th of them, which is left out as a whole.
		"a huge header": {crlf("A: b\nB: c\n" + strings.Repeat(huge, 200) + "\nx\n"), RetHeaders, 0, part{"text/rfc822-headers", "", crlf("A: b\nB: c\n" + strings.Repeat(huge, 107))}},
	} {
		t.Run(name, func(t *testing.T) {
			r := failure(t)
			r.Original, r.Ret, r.MaxOriginalBytes = content(tc.original), tc.ret, tc.max
			notice := build(t, r)
			_, parts := partsOf(t, notice)
			if len(parts) != 3 || parts[2] != tc.want {
				t.Errorf("%.300q\nexpected %.300q", parts[2:], tc.want)
			}
			checkWire(t, notice)
		})
	}
	r := failure(t)
	r.Original = nil
	if _, parts := partsOf(t, build(t, r)); len(parts) != 2 {
		t.Errorf("%d parts without an original", len(parts))
	}
}

// RFC 6533 §3, §4: in 7 bits, addresses are escaped; with SMTPUTF8, the types are the global ones.
// RFC 6533 §3: what the type utf-8 looks like in 7 bits, and in 8; RFC 3461 §4.2: the others stay as they were said.
func TestOriginalRecipientByType(t *testing.T) {
	for _, tc := range []struct{ orcpt, in7, in8 string }{
		{"rfc822;An+x@example.org", "rfc822; An+x@example.org", "rfc822; An+x@example.org"},
		{"utf-8;an+x@example.org", `utf-8; an\x{2B}x@example.org`, "utf-8; an+x@example.org"},
		{"UTF-8;bình@example.org", `utf-8; b\x{EC}nh@example.org`, "utf-8; bình@example.org"},
		{"rfc822;bình@example.org", `utf-8; b\x{EC}nh@example.org`, "utf-8; bình@example.org"},
		{"x400;/C=VN/", "x400; /C=VN/", "x400; /C=VN/"},
		{"an@example.org", "", ""}, {"rfc822;", "", ""}, {"a b;x", "", ""}, {"rfc822;x\r\nAction: delivered", "rfc822; x Action: delivered", "rfc822; x Action: delivered"},
	} {
		if in7, in8 := originalRecipient(tc.orcpt, false), originalRecipient(tc.orcpt, true); in7 != tc.in7 || in8 != tc.in8 {
			t.Errorf("%q: %q and %q, want %q and %q", tc.orcpt, in7, in8, tc.in7, tc.in8)
		}
	}
}

func TestUTF8Addresses(t *testing.T) {
	r := failure(t)
	r.Recipients[0].Final, r.Recipients[0].Original = address(t, "bình+x@bücher.test"), "utf-8;bình@bücher.test"
	r.Recipients[0].Diagnostic = "550 5.1.1 không có"
	r.Original = originalOf("Subject: Họp\n\nchào\n")
	notice := build(t, r)
	checkWire(t, notice)
	_, parts := partsOf(t, notice)
	for _, want := range []string{
		`Final-Recipient: utf-8; b\x{EC}nh\x{2B}x@b\x{FC}cher.test`, `Original-Recipient: utf-8; b\x{EC}nh@b\x{FC}cher.test`, "Diagnostic-Code: smtp; 550 5.1.1 kh?ng c?",
	} {
		if parts[1].kind != "message/delivery-status" || !strings.Contains(parts[1].text, want+"\r\n") {
			t.Errorf("no %s:\n%s", want, parts[1].text)
		}
	}
	if !strings.Contains(parts[0].text, "550 5.1.1 không có") || !strings.Contains(parts[0].text, "<bình+x@bücher.test>") {
		t.Error(parts[0].text)
	}

	r.To = address(t, "ân@bücher.test")
	if !r.NeedsUTF8() {
		t.Error("it does not need SMTPUTF8")
	}
	notice = build(t, r)
	checkWire(t, notice)
	h, parts := partsOf(t, notice)
	if h.Get("To") != "<ân@bücher.test>" || h.Get("Content-Transfer-Encoding") != "8bit" || parts[1].kind != "message/global-delivery-status" ||
		!strings.Contains(parts[1].text, "Final-Recipient: utf-8; bình+x@bücher.test\r\n") || !strings.Contains(parts[1].text, "550 5.1.1 không có\r\n") ||
		parts[2] != (part{"message/global", "8bit", "Subject: Họp\r\n\r\nchào\r\n"}) {
		t.Errorf("%v\n%+q", h, parts)
	}
}

// What others wrote can neither end a line, a header or a part, nor pretend to be a part.
func TestForeignTextStaysText(t *testing.T) {
	evil := "x\r\n\r\n--=_01abc.7\r\nContent-Type: text/html\r\n\r\n\x1b[2J\u202e" + strings.Repeat("very long ", 500) + strings.Repeat("w", 3000)
	r := failure(t)
	r.Subject, r.EnvID, r.MessageID, r.FromName = evil, evil, "<"+evil+">", evil
	r.Recipients[0].Diagnostic, r.Recipients[0].RemoteMTA, r.Recipients[0].Original, r.Recipients[0].Status = evil, evil, "rfc822;"+evil, evil
	boundary := strings.SplitN(strings.SplitN(build(t, r), `boundary="`, 2)[1], `"`, 2)[0]
	r.Original = originalOf("Subject: x\n\n--" + boundary + "\nContent-Type: text/html\n\nx\n--" + boundary + "--\n")
	notice := build(t, r)
	checkWire(t, notice)
	h, parts := partsOf(t, notice)
	if len(parts) != 3 || h.Get("References") != "" || parts[2].kind != "message/rfc822" {
		t.Errorf("%v %q", h, parts)
	}
	if n := strings.Count(parts[1].text, "\r\n\r\n"); n != 1 {
		t.Errorf("%d groups of fields:\n%s", n+1, parts[1].text)
	}
	if strings.ContainsAny(parts[0].text, "\x1b\u202e") {
		t.Errorf("control characters in the text")
	}
}

func TestManyRecipientsAreAllInTheSecondPart(t *testing.T) {
	r := failure(t)
	for i := 1; i < MaxRecipients; i++ {
		to := r.Recipients[0]
		to.Final.Local = fmt.Sprint("user", i)
		r.Recipients = append(r.Recipients, to)
	}
	_, parts := partsOf(t, build(t, r))
	if n := strings.Count(parts[1].text, "Final-Recipient:"); n != MaxRecipients {
		t.Errorf("%d recipients", n)
	}
	if !strings.Contains(parts[0].text, "và 900 người nhận khác") || !strings.Contains(parts[0].text, "and 900 more recipients") {
		t.Error("the rest is not counted")
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, change := range map[string]func(*Report){
		"no kind":       func(r *Report) { r.Kind = 0 },
		"nobody":        func(r *Report) { r.To = smtp.Address{} },
		"no site":       func(r *Report) { r.ReportingMTA = "a b" },
		"no postmaster": func(r *Report) { r.From = smtp.Address{} },
		"no time":       func(r *Report) { r.Now = time.Time{} },
		"no id":         func(r *Report) { r.ID = "a@b" },
		"no recipients": func(r *Report) { r.Recipients = nil },
		"too many":      func(r *Report) { r.Recipients = make([]Recipient, MaxRecipients+1) },
		"a null one":    func(r *Report) { r.Recipients[0].Final = smtp.Address{} },
		"an action":     func(r *Report) { r.Recipients[0].Action = DoubleBounce },
	} {
		r := failure(t)
		change(&r)
		if err := Build(io.Discard, r); !errors.Is(err, ErrReport) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBuildTellsWhyTheOriginalCannotBeRead(t *testing.T) {
	broken := errors.New("broken")
	r := failure(t)
	r.Original = func() (io.ReadCloser, error) { return nil, broken }
	if err := Build(io.Discard, r); !errors.Is(err, broken) {
		t.Errorf("open: %v", err)
	}
	r.Original = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("A: b\r\n\r\nx"), failingReader{broken})), nil
	}
	if err := Build(io.Discard, r); !errors.Is(err, broken) {
		t.Errorf("read: %v", err)
	}
	calls := 0
	r.Original = func() (io.ReadCloser, error) {
		calls++
		return content("A: b\r\n\r\n" + strings.Repeat("x\r\n", calls))()
	}
	if err := Build(io.Discard, r); err == nil {
		t.Error("another message the second time: no error")
	}
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// A large message is streamed.
func TestMemoryDoesNotGrowWithTheOriginal(t *testing.T) {
	r := failure(t)
	r.Ret, r.MaxOriginalBytes = RetFull, 64<<20
	r.Original = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("A: b\r\n\r\n"), io.LimitReader(&lines{}, 32<<20))), nil
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var n counter
	err := Build(&n, r)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; err != nil || n < 32<<20 || got > 1<<20 {
		t.Errorf("%d bytes written, %d allocated, %v", n, got, err)
	}
}

// lines yields lines of two characters.
type lines struct{ at int }

func (l *lines) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "ab\r\n"[l.at%4]
		l.at++
	}
	return len(p), nil
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }
