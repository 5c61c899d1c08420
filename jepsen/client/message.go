package client

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"mime"
	"net/textproto"
	"regexp"
	"strings"
)

// The fields by which a message is known and checked.
const (
	IDField  = "X-Jepsen-Id"
	SumField = "X-Jepsen-Sum" // SHA-256 of all that comes after this field, the first of ours: a server puts its trace before it
)

// lineBytes is how long the body's lines are, less their ends.
const lineBytes = 76

var subjects = []string{"Họp nhóm ngày thứ Hai", "Báo cáo quý ba", "Hoá đơn tháng mười một", "Chúc mừng sinh nhật", "Lịch nghỉ Tết Nguyên đán", "Đơn hàng đã được gửi"}

var phrases = []string{"Kính gửi anh chị, ", "xin vui lòng xem tệp đính kèm. ", "Cuộc họp dời sang chín giờ sáng. ", "Trân trọng cảm ơn, ", "Nguyễn Văn An ",
	"please see the figures below ", "and tell us by Friday "}

// Message makes a message of about sizeBytes, at least a few hundred, with the fields by which it can be told and checked. From is its
// author's address. Small ones are Vietnamese text, larger ones mostly random letters that hardly compress, as attachments do.
func Message(id, from string, sizeBytes int, rng *rand.Rand) []byte {
	var head bytes.Buffer
	body := messageBody(max(1, sizeBytes-420), rng)
	subject := mime.BEncoding.Encode("utf-8", subjects[rng.IntN(len(subjects))]+" "+id)
	fmt.Fprintf(&head, "From: <%s>\r\nTo: undisclosed-recipients:;\r\nSubject: %s\r\nMessage-ID: %s\r\n", from, subject, MessageID(id))
	fmt.Fprintf(&head, "Date: Tue, 24 Nov 2026 10:00:00 +0700\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n")
	fmt.Fprintf(&head, "%s: %s\r\n\r\n", IDField, id)
	summed := append(head.Bytes(), body...)
	sum := sha256.Sum256(summed)
	return append([]byte(SumField+": "+hex.EncodeToString(sum[:])+"\r\n"), summed...)
}

// MessageID is the Message-ID of the message with an id.
func MessageID(id string) string { return "<" + id + "@" + helo + ">" }

// A queue id is in the Received field of a node (RFC 5321 §4.4), and in its reply to the data.
var (
	receivedID = regexp.MustCompile(`\bid ([^\s;]+)`)
	replyID    = regexp.MustCompile(`^(?:2\.\d+\.\d+ )?(\S+) (?:queued|delivered)\b`)
)

// Trace is the Message-ID of a message, and the queue id that the last node gave to it; "" for what it does not say.
func Trace(raw []byte) (messageID, queueID string) {
	head, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(raw))).ReadMIMEHeader()
	if err != nil && len(head) == 0 {
		return "", ""
	}
	if m := receivedID.FindStringSubmatch(head.Get("Received")); m != nil {
		queueID = m[1]
	}
	return head.Get("Message-Id"), queueID
}

func messageBody(sizeBytes int, rng *rand.Rand) []byte {
	var b bytes.Buffer
	b.Grow(sizeBytes + 2*lineBytes)
	for b.Len() < min(sizeBytes, 2048) {
		start := b.Len()
		for b.Len()-start < lineBytes {
			b.WriteString(phrases[rng.IntN(len(phrases))])
		}
		b.WriteString("\r\n")
	}
	for b.Len() < sizeBytes {
		writeRandomLine(&b, rng)
	}
	return b.Bytes()
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+."

// writeRandomLine writes a line that may begin with a dot, which SMTP must carry as it is (RFC 5321 §4.5.2).
func writeRandomLine(b *bytes.Buffer, rng *rand.Rand) {
	for left := lineBytes; left > 0; {
		v := rng.Uint64()
		for range min(left, 10) {
			b.WriteByte(alphabet[v&63])
			v >>= 6
			left--
		}
	}
	b.WriteString("\r\n")
}

// Check reads a message as it was stored: its id, "" when it is none of ours, and what is wrong with its bytes.
func Check(raw []byte) (id string, err error) {
	head, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	id = field(head, IDField)
	_, rest, summed := bytes.Cut(raw, []byte(SumField+": "))
	summed = summed && len(raw)-len(rest) <= len(head) // a notice has ours in its body
	if id == "" && !summed {
		return "", nil
	}
	want, rest, _ := bytes.Cut(rest, []byte("\r\n"))
	if sum := sha256.Sum256(rest); string(want) != hex.EncodeToString(sum[:]) {
		return id, fmt.Errorf("message %q has %d bytes with the sum %x after %d of the head, and should have %q", id, len(rest), sum, len(raw)-len(rest), want)
	}
	return id, nil
}

// field is the value of a header field on one line; "" when there is none.
func field(head []byte, name string) string {
	for line := range strings.SplitSeq(string(head), "\r\n") {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(key, name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
