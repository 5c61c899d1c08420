package dsn

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

func base64Reader(r io.Reader) io.Reader { return base64.NewDecoder(base64.StdEncoding, r) }

// Another implementation reads the notice as what it is meant to be.
func TestPythonReadsTheNotice(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not there")
	}
	r := failure(t)
	r.EnvID = "env+1"
	r.Recipients[0].Original = "rfc822;Nobody@example.org"
	r.Recipients = append(r.Recipients, Recipient{Final: address(t, "bình@example.org"), Action: Delayed, Status: "4.2.2", Diagnostic: "452-4.2.2 hộp thư\n452 4.2.2 đầy", WillRetryUntil: now})
	r.Original = originalOf("Subject: =?utf-8?q?H=E1=BB=8Dp?=\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nChào các bạn\n")
	cmd := exec.Command("python3", "-c", `
import sys, json, email
from email import policy
m = email.message_from_binary_file(sys.stdin.buffer, policy=policy.default)
parts = list(m.iter_parts())
status = parts[1].get_payload()
print(json.dumps(dict(
	type=m.get_content_type(), report=m.get_param("report-type"), subject=str(m["subject"]), sender=m["from"].addresses[0].addr_spec, to=m["to"].addresses[0].addr_spec,
	defects=[str(d) for p in m.walk() for d in p.defects],
	types=[p.get_content_type() for p in parts],
	text=parts[0].get_content(),
	fields=[[[k, str(v)] for k, v in group.items()] for group in status],
	original=parts[2].get_content()["subject"], body=parts[2].get_content().get_content(),
)))`)
	cmd.Stdin = strings.NewReader(build(t, r))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, err.(*exec.ExitError).Stderr)
	}
	var got struct {
		Type, Report, Subject, Sender, To, Text, Original, Body string
		Defects, Types                                          []string
		Fields                                                  [][][2]string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got.Type != "multipart/report" || got.Report != "delivery-status" || got.Subject != "Không gửi được thư / Undelivered mail: Họp tuần" || got.Sender != "postmaster@example.test" || got.To != "an@example.test" || len(got.Defects) > 0 {
		t.Errorf("%+v", got)
	}
	if want := []string{"text/plain", "message/delivery-status", "message/rfc822"}; !reflect.DeepEqual(got.Types, want) {
		t.Errorf("%q", got.Types)
	}
	if !strings.Contains(got.Text, "Địa chỉ này không tồn tại") || !strings.Contains(got.Text, "452-4.2.2 hộp thư") || !strings.Contains(got.Text, "Hộp thư của người nhận đã đầy.\n    Bạn không cần làm gì.") {
		t.Errorf("%s", got.Text)
	}
	if got.Original != "Họp" || got.Body != "Chào các bạn\n" {
		t.Errorf("%q %q", got.Original, got.Body)
	}
	want := [][][2]string{
		{{"Original-Envelope-Id", "env+1"}, {"Reporting-MTA", "dns; mx.example.test"}, {"Arrival-Date", "Mon, 30 Nov 2026 13:29:00 +0700"}},
		{{"Original-Recipient", "rfc822; Nobody@example.org"}, {"Final-Recipient", "rfc822; nobody@example.org"}, {"Action", "failed"}, {"Status", "5.1.1"}, {"Remote-MTA", "dns; mx.example.org"},
			{"Diagnostic-Code", "smtp; 550 5.1.1 no such user"}, {"Last-Attempt-Date", "Mon, 30 Nov 2026 13:30:00 +0700"}},
		{{"Final-Recipient", `utf-8; b\x{EC}nh@example.org`}, {"Action", "delayed"}, {"Status", "4.2.2"}, {"Diagnostic-Code", "x-quorumail; 452-4.2.2 h?p th? 452 4.2.2 ??y"}, {"Will-Retry-Until", "Mon, 30 Nov 2026 13:30:00 +0700"}},
	}
	if !reflect.DeepEqual(got.Fields, want) {
		t.Errorf("got  %q\nwant %q", got.Fields, want)
	}
}
