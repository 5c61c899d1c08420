package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/history"
)

const (
	// fillAccounts hold the mail of --fill. No workload knows them, so no final read fetches it.
	fillAccounts = 10
	// fillSenders is how many connections bring it.
	fillSenders = 6
	// fillTries is how often one message may be refused: a busy node asks for patience.
	fillTries = 20
)

// size is a number of bytes on the command line.
type size int64

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}, {"", 1}}

// Set reads "2GiB", "100MiB", "4096".
func (s *size) Set(text string) error {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n < 0 || n > 1<<50/u.bytes {
			break
		}
		*s = size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is no size such as 2GiB or 100MiB", text)
}

// String is the shortest way to write it.
func (s *size) String() string {
	for i := 2; i >= 0; i-- {
		if u := sizeUnits[i]; *s != 0 && int64(*s)%u.bytes == 0 {
			return strconv.FormatInt(int64(*s)/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Type is what the help calls it.
func (*size) Type() string { return "size" }

// fillMail delivers so much mail by SMTP over all nodes, and waits until every node holds it: what a cluster has that is not new.
func (r *running) fillMail(ctx context.Context) error {
	if r.fill == 0 {
		return nil
	}
	began := time.Now()
	// At a megabyte a second something is wrong.
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute+time.Duration(r.fill>>20)*time.Second)
	defer cancel()
	for i := range fillAccounts {
		if err := r.cluster.Nodes()[0].Admin().AddAccount(ctx, fillAddress(i), "hòm thư đầy ắp"); err != nil {
			return err
		}
	}
	left := &atomic.Int64{}
	left.Store(int64(r.fill))
	var messages atomic.Int64
	errs := make([]error, fillSenders)
	var wg sync.WaitGroup
	for i := range fillSenders {
		wg.Go(func() {
			errs[i] = r.fillFrom(ctx, i, left, &messages)
			if errs[i] != nil {
				cancel() // the others need not go on
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("fill the cluster with %v of mail: %w", &r.fill, err)
	}
	brought := time.Since(began)
	if err := r.cluster.WaitWhole(ctx); err != nil {
		return fmt.Errorf("after %v of mail: %w", &r.fill, err)
	}
	text := fmt.Sprintf("filled with %v of mail in %d messages, within %v, whole after %v", &r.fill, messages.Load(), brought.Round(time.Second),
		time.Since(began).Round(time.Second))
	r.history.Note(history.Note{At: r.history.Now(), Kind: "info", Text: text})
	_, err := fmt.Fprintln(r.print, text)
	return err
}

func fillAddress(i int) string { return fmt.Sprintf("fill%d@example.test", i) }

// fillFrom is one sender, which stays at one node.
func (r *running) fillFrom(ctx context.Context, sender int, left, messages *atomic.Int64) error {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], r.seed)
	binary.LittleEndian.PutUint64(seed[8:], uint64(sender)+1)
	random := rand.NewChaCha8(seed)
	rng := rand.New(random)
	nodes := r.cluster.Clients()
	n := nodes[sender%len(nodes)]
	var c *client.SMTP
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for {
		want := fillSize(rng)
		if rest := left.Add(-int64(want)); rest <= -int64(want) {
			return nil
		}
		id := fmt.Sprintf("fill-%d-%d", sender, messages.Add(1))
		msg := fillMessage(id, want, random)
		for try := 1; ; try++ {
			err := r.fillOne(ctx, &c, n, fillAddress(rng.IntN(fillAccounts)), msg)
			if err == nil {
				break
			}
			if try == fillTries || ctx.Err() != nil {
				return fmt.Errorf("message %s of %d bytes at %s: %w", id, len(msg), n.Name, err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// fillOne sends one message over the connection that there is, or over a new one.
func (r *running) fillOne(ctx context.Context, c **client.SMTP, n client.Node, to string, msg []byte) (err error) {
	if *c == nil || !(*c).Alive() {
		*c, err = client.DialSMTP(ctx, client.Options{Dialer: r.lab, Timeout: 30 * time.Second}, n)
		if err != nil {
			*c = nil
			return err
		}
	}
	return (*c).Deliver(ctx, "stranger@jepsen.invalid", []string{to}, msg)[0]
}

// fillSize draws how large a message is: most are small, most bytes are in large ones, as with people's mail.
func fillSize(rng *rand.Rand) int {
	switch r := rng.IntN(100); {
	case r < 60:
		return 1<<10 + rng.IntN(31<<10)
	case r < 80:
		return 32<<10 + rng.IntN(224<<10)
	}
	return 1<<20 + rng.IntN(4<<20)
}

// fillLine is how long the lines of such a message are, less their ends (RFC 5322 §2.1.1: at most 998).
const fillLine = 900

// fillMessage makes a message of 8-bit bytes at random, which no compression makes smaller.
func fillMessage(id string, sizeBytes int, random io.Reader) []byte {
	var b bytes.Buffer
	b.Grow(sizeBytes + 1<<10)
	fmt.Fprintf(&b, "From: <stranger@jepsen.invalid>\r\nTo: undisclosed-recipients:;\r\nSubject: %s\r\nMessage-ID: <%s@jepsen.invalid>\r\n"+
		"Date: Tue, 24 Nov 2026 10:00:00 +0700\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", id, id)
	line := make([]byte, fillLine)
	for b.Len() < sizeBytes {
		_, _ = io.ReadFull(random, line) // ChaCha8 gives no error
		for i, c := range line {
			if c == 0 || c == '\r' || c == '\n' {
				line[i] = '~'
			}
		}
		b.Write(line[:min(fillLine, max(1, sizeBytes-b.Len()))])
		b.WriteString("\r\n")
	}
	return b.Bytes()
}
