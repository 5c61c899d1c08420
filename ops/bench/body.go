package bench

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// message makes a message of about sizeBytes: words of one language and random words mixed, so that it compresses like ordinary
// mail with an attachment does.
func message(r *rand.Rand, from, to string, seq, sizeBytes int) []byte {
	var b strings.Builder
	b.Grow(sizeBytes + 512)
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nSubject: bench %d\r\nDate: Tue, 24 Nov 2026 10:00:00 +0700\r\nMessage-ID: <%016x.%d@bench.invalid>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n",
		from, to, seq, r.Uint64(), seq)
	for b.Len() < sizeBytes {
		line := b.Len()
		for b.Len()-line < 70 {
			if r.IntN(100) < 49 {
				writeRandomWord(&b, r)
			} else {
				b.WriteString(words[r.IntN(len(words))])
			}
			b.WriteByte(' ')
		}
		b.WriteString("\r\n")
	}
	return []byte(b.String())
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

func writeRandomWord(b *strings.Builder, r *rand.Rand) {
	v := r.Uint64()
	for range 10 {
		b.WriteByte(base64Alphabet[v&63])
		v >>= 6
	}
}

var words = strings.Fields(`the of and to in that is was for on with as by at from this have not are which their one were there been
	has more when will would about message meeting report invoice please attached regards tomorrow customer delivery number amount`)

// ratio is how well bodies of that size compress with zstd.
func ratio(r *rand.Rand, sizeBytes int) (float64, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return 0, fmt.Errorf("make a compressor: %w", err)
	}
	defer enc.Close()
	raw, packed := 0, 0
	for i := range 200 {
		m := message(r, "a@example.test", "b@example.test", i, sizeBytes)
		raw += len(m)
		packed += len(enc.EncodeAll(m, nil))
	}
	return float64(raw) / float64(packed), nil
}
