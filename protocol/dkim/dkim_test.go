package dkim

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/emersion/go-msgauth/dkim"
)

// keys are made once: an RSA key takes long.
var keys = sync.OnceValue(func() []Key {
	r, err := GenerateRSA("Bücher.test", "qm2026a")
	if err != nil {
		panic(err)
	}
	e, err := GenerateEd25519("xn--bcher-kva.test", "qm2026b.sub")
	if err != nil {
		panic(err)
	}
	return []Key{r, e}
})

const plain = `Return-Path: <an@xn--bcher-kva.test>
Received: from x (y)
	by z; Mon, 30 Nov 2026 13:30:00 +0700
From: An <an@xn--bcher-kva.test>
To: binh@example.org,
	chi@example.org
Subject: =?utf-8?q?H=E1=BB=8Dp?=
Date: Mon, 30 Nov 2026 13:30:00 +0700
Message-ID: <1@xn--bcher-kva.test>
List-Unsubscribe: <https://example.org/>
X-Mailer: x

Hello   there  
  Chào

.dot

`

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func sign(t testing.TB, message string, keys ...Key) string {
	t.Helper()
	fields, err := Sign(t.Context(), keys, openText(message))
	if err != nil {
		t.Fatal(err)
	}
	return string(fields)
}

func openText(message string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(message)), nil }
}

// sent is the message as it leaves: without our Return-Path.
func sent(message string) string {
	return message[strings.Index(message, "Received:"):]
}

// lookup answers with the records of the keys.
func lookup(t testing.TB, keys ...Key) func(string) ([]string, error) {
	t.Helper()
	return func(name string) ([]string, error) {
		for _, k := range keys {
			r, err := k.Record()
			if err != nil {
				t.Error(err)
			}
			if r.Name == name {
				return []string{strings.Join(r.Strings(), "")}, nil
			}
		}
		return nil, fmt.Errorf("%s is not there", name)
	}
}

// verify says which signatures are good.
func verify(t testing.TB, message string, keys ...Key) []bool {
	t.Helper()
	list, err := dkim.VerifyWithOptions(strings.NewReader(message), &dkim.VerifyOptions{LookupTXT: lookup(t, keys...)})
	if err != nil {
		t.Fatal(err)
	}
	var good []bool
	for _, v := range list {
		good = append(good, v.Err == nil)
	}
	return good
}

// messages are what must be signed well.
func messages() map[string]string {
	return map[string]string{
		"plain":             plain,
		"header alone":      "Received: x\nFrom: a@b\n",
		"no blank line":     "Received: x\nFrom: a@b",
		"empty body":        "Received: x\nFrom: a@b\n\n",
		"blank body":        "Received: x\nFrom: a@b\n\n \n\t\n\n",
		"no last line end":  "Received: x\nFrom: a@b\n\nx",
		"UTF-8":             "Received: x\nFrom: Ân <ân@bücher.test>\nSubject: Họp \u00a0\n\ntiếng Việt\n",
		"bytes":             "Received: x\nFrom: \xff@b\n\n\x00\xff\n",
		"blanks and colons": "Received: x\nfrom:  a@b  \nSUBJECT:\n x:y\n \n z\n\n a \t b \n",
		"twice":             "Received: x\nFrom: a@b\nCc: c@d\nTo: a\nTo: b\n\nx\n",
		"long lines":        "Received: x\nFrom: a@b\nSubject: " + strings.Repeat("y", 5000) + "\n\n" + strings.Repeat("z", 100_000) + "\n",
	}
}

func TestSignaturesAreGood(t *testing.T) {
	for name, message := range messages() {
		t.Run(name, func(t *testing.T) {
			message := crlf(message)
			fields := sign(t, message, keys()...)
			if !strings.Contains(message, "\r\n\r\n") {
				message = strings.TrimSuffix(message, "\r\n") + "\r\n\r\n" // the verifier wants to see that there is no body
			}
			if got := fmt.Sprint(verify(t, fields+sent(message), keys()...)); got != "[true true]" {
				t.Errorf("%s\n%s", got, fields)
			}
			for line := range strings.SplitSeq(fields, "\r\n") {
				if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
					t.Errorf("line %q", line)
				}
			}
		})
	}
}

func TestChangesOnTheWay(t *testing.T) {
	message := crlf(plain)
	whole := sign(t, message, keys()...) + sent(message)
	for name, tc := range map[string]struct {
		old, new string
		good     bool
	}{
		"a trace field":      {"Received:", "Received: from a by b\r\nReceived:", true},
		"Return-Path":        {"Received:", "Return-Path: <a@b>\r\nReceived:", true},
		"an unsigned field":  {"X-Mailer: x", "X-Mailer: y", true},
		"folding":            {"Subject: ", "subject:\r\n\t", true},
		"blanks at line end": {"there  ", "there", true},
		"more blanks":        {"there  ", "there \t ", true},
		"blank lines":        {".dot\r\n\r\n", ".dot\r\n\r\n\r\n", true},
		"a list's field":     {"Message-ID:", "List-Id: <x>\r\nMessage-ID:", true},
		"the subject":        {"?q?H", "?q?h", false},
		"the body":           {"Hello", "Hallo", false},
		"more body":          {".dot\r\n", ".dot\r\nmore\r\n", false},
		"a second From":      {"From:", "From: evil@example.org\r\nFrom:", false},
		"a second Subject":   {"Received:", "Subject: x\r\nReceived:", false},
		"a second To":        {"To:", "To: x@y\r\nTo:", false},
		"a Reply-To":         {"To:", "Reply-To: x@y\r\nTo:", false},
		"a Cc":               {"To:", "Cc: x@y\r\nTo:", false},
		"a Content-Type":     {"To:", "Content-Type: text/html\r\nTo:", false},
		"an encoding":        {"To:", "Content-Transfer-Encoding: base64\r\nTo:", false},
		"no Date":            {"Date:", "X-Date:", false},
		"unsubscription":     {"https://example.org", "https://evil.example", false},
	} {
		changed := strings.Replace(whole, "\r\n"+tc.old, "\r\n"+tc.new, 1)
		if changed == whole {
			changed = strings.Replace(whole, tc.old, tc.new, 1)
		}
		if changed == whole {
			t.Fatalf("%s: nothing changed", name)
		}
		if got := verify(t, changed, keys()...); len(got) != 2 || got[0] != tc.good || got[1] != tc.good {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestSignatureSaysWhatItShould(t *testing.T) {
	fields := strings.SplitAfter(sign(t, crlf(plain), keys()...), "\r\n")
	text := regexp.MustCompile(`\s+`).ReplaceAllString(strings.Join(fields, ""), "")
	const names = "h=From:From:Reply-To:Subject:Subject:Date:Date:To:To:Cc:Message-ID:Message-ID:MIME-Version:Content-Type:Content-Transfer-Encoding:List-Unsubscribe;"
	for _, want := range []string{"a=rsa-sha256;", "a=ed25519-sha256;", "c=relaxed/relaxed;", "d=xn--bcher-kva.test;", "s=qm2026a;", "s=qm2026b.sub;", "v=1;", names} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	for _, not := range []string{"l=", "x=", "Received", "Return-Path", "DKIM-Signature:From"} {
		if strings.Contains(text, ";"+not) || strings.Contains(text, ":"+not) {
			t.Errorf("%s in %s", not, text)
		}
	}
}

// pythonWith finds a Python that has the modules: Debian's packages are for /usr/bin/python3, which need not be the first in the path.
func pythonWith(t *testing.T, modules ...string) string {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import "+strings.Join(modules, ", ")).Run() == nil {
			return python
		}
	}
	t.Skip("python3-dkim is not there")
	return ""
}

// A second implementation (dkimpy) finds both signatures good, and a changed message bad.
func TestDkimpyAgrees(t *testing.T) {
	python := pythonWith(t, "dkim", "nacl")
	records := map[string]string{}
	for _, k := range keys() {
		r, err := k.Record()
		if err != nil {
			t.Fatal(err)
		}
		records[r.Name+"."] = r.Value
	}
	whole := func(message string) string { return sign(t, crlf(message), keys()...) + sent(crlf(message)) }
	type test struct {
		Name    string
		Message []byte
		Want    bool
	}
	tests := []test{
		{"changed body", []byte(strings.Replace(whole(plain), "Hello", "Hallo", 1)), false},
		{"second From", []byte(strings.Replace(whole(plain), "Received:", "From: x@y\r\nReceived:", 1)), false},
	}
	for name, message := range messages() {
		tests = append(tests, test{name, []byte(whole(message)), true})
	}
	input, err := json.Marshal(map[string]any{"records": records, "tests": tests})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", `
import sys, json, base64, dkim
given = json.load(sys.stdin)
for test in given["tests"]:
	d = dkim.DKIM(base64.b64decode(test["Message"]))
	for i in (0, 1):
		try:
			good = d.verify(idx=i, dnsfunc=lambda name, timeout=5: given["records"][name.decode()].encode())
		except dkim.DKIMException as e:
			good = False
		if good != test["Want"]:
			print(test["Name"], i, good)
`)
	cmd.Stdin = bytes.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%s, %v", out, err)
	}
}

func TestUnsignable(t *testing.T) {
	for name, message := range map[string]string{
		"no From":        "To: a@b\n\nx",
		"two From":       "From: a@b\nfrom: a@b\n\nx",
		"empty":          "",
		"a broken line":  "From: a@b\nTo\n\nx",
		"a long header":  "From: a@b\nX: " + strings.Repeat("y", MaxHeaderBytes) + "\n\nx",
		"many fields":    "From: a@b\n" + strings.Repeat("To: a@b\n", 1000) + "\nx",
		"a blank ocean":  "From: a@b\n\nx" + strings.Repeat("\n", maxBlank) + "x",
		"spaces as well": "From: a@b\n\nx" + strings.Repeat(" ", maxBlank+1),
	} {
		fields, err := Sign(t.Context(), keys(), openText(crlf(message)))
		if !errors.Is(err, ErrUnsignable) || fields != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if fields, err := Sign(t.Context(), nil, nil); fields != nil || err != nil {
		t.Errorf("without keys: %q, %v", fields, err)
	}
}

func TestReadErrorsAreTold(t *testing.T) {
	broken := errors.New("broken")
	for name, open := range map[string]func() (io.ReadCloser, error){
		"open":   func() (io.ReadCloser, error) { return nil, broken },
		"header": func() (io.ReadCloser, error) { return io.NopCloser(iotest.ErrReader(broken)), nil },
		"body": func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("From: a@b\r\n\r\nx"), iotest.ErrReader(broken))), nil
		},
	} {
		if fields, err := Sign(t.Context(), keys(), open); !errors.Is(err, broken) || fields != nil {
			t.Errorf("%s: %q, %v", name, fields, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Sign(ctx, keys(), openText(crlf(plain))); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestMemoryDoesNotGrowWithTheBody(t *testing.T) {
	s, err := NewSigner(keys()...)
	if err != nil {
		t.Fatal(err)
	}
	peak := uint64(0)
	reads := 0
	open := func() (io.ReadCloser, error) {
		body := io.LimitReader(readerFunc(func(p []byte) (int, error) {
			for i := range p {
				p[i] = "ab \r\n"[i%5]
			}
			if reads++; reads%256 == 0 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
			return len(p), nil
		}), 32<<20)
		return io.NopCloser(io.MultiReader(strings.NewReader("From: a@b\r\n\r\n"), body)), nil
	}
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if _, err := s.Sign(t.Context(), open); err != nil {
		t.Fatal(err)
	}
	if peak == 0 || peak > before.HeapAlloc+4<<20 {
		t.Errorf("%d bytes were in use, %d before", peak, before.HeapAlloc)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestRecords(t *testing.T) {
	for _, k := range keys() {
		r, err := k.Record()
		if err != nil {
			t.Fatal(err)
		}
		want := map[Algorithm]string{RSA: "qm2026a._domainkey.xn--bcher-kva.test", Ed25519: "qm2026b.sub._domainkey.xn--bcher-kva.test"}[k.Algorithm]
		if r.Name != want || !strings.HasPrefix(r.Value, "v=DKIM1; k="+string(k.Algorithm)+"; p=") {
			t.Errorf("%+v", r)
		}
		strs := r.Strings()
		if strings.Join(strs, "") != r.Value || (len(strs) > 1) != (k.Algorithm == RSA) {
			t.Errorf("%q", strs)
		}
		for _, s := range strs {
			if len(s) > 255 || !strings.Contains(r.Zone(), `"`+s+`"`) {
				t.Errorf("%q in\n%s", s, r.Zone())
			}
		}
		if !strings.HasPrefix(r.Zone(), r.Name+". IN TXT ( \"v=DKIM1;") || !strings.HasSuffix(r.Zone(), "\" )\n") {
			t.Errorf("%s", r.Zone())
		}
	}
}

func TestKeysAreChecked(t *testing.T) {
	good := keys()[1]
	for name, change := range map[string]func(*Key){
		"no domain":    func(k *Key) { k.Domain = "" },
		"a literal":    func(k *Key) { k.Domain = "[192.0.2.1]" },
		"a U-label":    func(k *Key) { k.Domain = "bücher.test" },
		"capitals":     func(k *Key) { k.Selector = "QM" },
		"no selector":  func(k *Key) { k.Selector = "" },
		"a field":      func(k *Key) { k.Selector = "a;b" },
		"a long name":  func(k *Key) { k.Selector = strings.Repeat("a.", 120) + "a" },
		"algorithm":    func(k *Key) { k.Algorithm = RSA },
		"no algorithm": func(k *Key) { k.Algorithm = "" },
		"a broken key": func(k *Key) { k.Private = k.Private[:10] },
		"a short RSA key": func(k *Key) { // openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:512
			k.Algorithm, k.Private = RSA, shortKey(t)
		},
	} {
		k := good
		change(&k)
		if _, err := NewSigner(k); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := k.Record(); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := GenerateEd25519("exa mple", "a"); !errors.Is(err, ErrKey) {
		t.Errorf("%v", err)
	}
	if _, err := GenerateEd25519("example.test", "A"); !errors.Is(err, ErrKey) {
		t.Errorf("%v", err)
	}
}

func shortKey(t *testing.T) []byte {
	der, err := base64.StdEncoding.DecodeString(short512)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestNoFormatShowsTheSecret(t *testing.T) {
	k := keys()[1]
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("key", "key", k)
	shown := fmt.Sprintf("%v %+v %s %#v %q ", k, k, k, k, k) + log.String()
	for _, secret := range []string{base64.StdEncoding.EncodeToString(k.Private), fmt.Sprint(k.Private), fmt.Sprintf("%x", k.Private), fmt.Sprintf("%#v", k.Private)} {
		if strings.Contains(shown, secret) {
			t.Errorf("%s", shown)
		}
	}
	if !strings.Contains(shown, "qm2026b.sub._domainkey.xn--bcher-kva.test (ed25519)") {
		t.Errorf("%s", shown)
	}
}

// short512 is an RSA key of 512 bits, which protects nothing.
const short512 = "MIIBOgIBAAJBAMBjprwiy632dE7T9Aq2jmQqHw5rGgxBB6XVZVy7f5+qmocUCP4u8TTdo/3sRThp+GHCkovjWf8xKme7mVxvtTsCAwEAAQJAUPdfS1wlde/7oNUopn2PzW3ApjPCwZd4nX0CbJVoL4xFMgwzX3JAEej0c+ll60R4dp31ep7pCEzIva3ARRvW+QIhAN5yD+SX04XxH0LAXh5318bDgOPeHabwyiGHSU2J20O1AiEA3WjwJ5iVi7sPc9xi0QKwzrrGhZoGv8nzhdxK/2qfiy8CIGONRJOXZzDgko77LKQSGl14DWztcPPPe4a51xJ+icSpAiB7Xm56Ua36NtfsYf95oLst5aqaZPGfygJ0MwRi/2E4pwIhAL5IJNlS9wZJ0OiQCH4XdS63GM1ArDsph7ujwb+tjwUD"
