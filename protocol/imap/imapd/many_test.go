package imapd

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/storepb"
)

// boundedStore is a fakeStore that refuses what the replicated state refuses, and from some command on fails.
type boundedStore struct {
	*fakeStore
	left  atomic.Int64 // commands until it fails; below zero: never
	count atomic.Int64 // commands
	most  atomic.Int64 // messages that one command named
}

func (b *boundedStore) Propose(ctx context.Context, fill func(*storepb.Command)) (*storepb.Result, error) {
	c := &storepb.Command{}
	fill(c)
	if op := c.GetDeleteMailbox(); op != nil {
		b.mu.Lock()
		n := b.state.boxes[store.MailboxID(op.Mailbox)].mb.Messages
		b.mu.Unlock()
		if n > 2*replica.PartMessages {
			return nil, store.ErrTooLarge
		}
	}
	uids := append(append(c.GetStoreFlags().GetUids(), c.GetExpunge().GetUids()...), c.GetCopyMessages().GetUids()...)
	set, err := store.UnpackUIDs(uids)
	if err != nil || c.GetExpunge().GetAll() {
		return nil, fmt.Errorf("%v: %w", c, store.ErrInvalid)
	}
	b.most.Store(max(b.most.Load(), int64(set.Len())))
	if b.left.Add(-1) == -1 {
		return nil, store.ErrUnknownOutcome
	}
	b.count.Add(1)
	return b.fakeStore.Propose(ctx, func(to *storepb.Command) { fill(to) })
}

// crowded is a server whose INBOX has n messages, and a client that has selected it.
func crowded(t *testing.T, n int) (*testServer, *boundedStore, *client) {
	t.Helper()
	b := &boundedStore{}
	b.left.Store(-1)
	ts := startServer(t, func(c *Config) {
		b.fakeStore = c.Store.(*fakeStore)
		c.Store = b
	})
	c := ts.login()
	c.appendMessage("INBOX", "Subject: x\r\n\r\ny\r\n")
	b.mu.Lock()
	box := b.state.byName("INBOX")
	for len(box.entries) < n {
		box.add(proto.CloneOf(box.entries[1]))
	}
	b.mu.Unlock()
	c.ok("x SELECT INBOX")
	return ts, b, c
}

// holding counts the untagged lines that contain a text.
func holding(lines []string, text string) (n int) {
	for _, l := range lines {
		if strings.HasPrefix(l, "* ") && strings.Contains(l, text) {
			n++
		}
	}
	return n
}

func (b *boundedStore) messages(mailbox string) (n int, deleted uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	box := b.state.byName(mailbox)
	return len(box.entries), box.mb.Deleted
}

// STORE, EXPUNGE and MOVE over many messages are answered as over few, and no command to the store is about many of them.
func TestManyMessagesAreChangedInParts(t *testing.T) {
	n := 2*replica.PartMessages + 3
	_, b, c := crowded(t, n)
	if lines := c.ok(`x STORE 1:* +FLAGS (\Seen)`); holding(lines, " FETCH ") != n || holding(lines, `\Seen`) != n {
		t.Errorf("STORE shows %d messages", holding(lines, " FETCH "))
	}
	if lines := c.ok(`x UID STORE 1:* +FLAGS.SILENT (\Deleted)`); holding(lines, " FETCH ") != 0 {
		t.Errorf("a silent STORE shows %d messages", holding(lines, " FETCH "))
	}
	if _, deleted := b.messages("INBOX"); int(deleted) != n {
		t.Errorf("%d of %d are marked", deleted, n)
	}
	c.ok(`x STORE 1:2 -FLAGS.SILENT (\Deleted)`)
	c.ok(`x STORE 1:2 +FLAGS.SILENT (\Deleted)`)
	before := b.count.Load()
	lines := c.ok(fmt.Sprintf("x MOVE 2:%d Trash", n-1))
	if holding(lines, fmt.Sprintf("[COPYUID 1004 2:%d 1:%d]", n-1, n-2)) != 1 || holding(lines, " EXPUNGE") != n-2 || b.count.Load()-before != 3 {
		t.Errorf("MOVE: %d EXPUNGE, %d commands, %.200q", holding(lines, " EXPUNGE"), b.count.Load()-before, lines[0])
	}
	c.ok("x SELECT Trash")
	before = b.count.Load()
	if lines := c.ok("x EXPUNGE"); holding(lines, " EXPUNGE") != n-2 || b.count.Load()-before != 3 {
		t.Errorf("EXPUNGE: %d responses, %d commands", holding(lines, " EXPUNGE"), b.count.Load()-before)
	}
	c.ok("x SELECT INBOX")
	c.ok("x CLOSE")
	if in, _ := b.messages("INBOX"); in != 0 {
		t.Errorf("CLOSE left %d messages", in)
	}
	if b.most.Load() > replica.PartMessages {
		t.Errorf("one command was about %d messages", b.most.Load())
	}
}

// COPY is all or nothing, so it is one command, and has a limit that is told before anything is done.
func TestCopyOfManyIsOneCommand(t *testing.T) {
	_, b, c := crowded(t, replica.MaxCopies+1)
	lines := c.do("x COPY 1:* Trash")
	if last := lines[len(lines)-1]; !strings.Contains(last, "NO [LIMIT]") {
		t.Errorf("COPY of too many: %q", last)
	}
	if n, _ := b.messages("Trash"); n != 0 {
		t.Errorf("it copied %d", n)
	}
	before := b.count.Load()
	lines = c.ok(fmt.Sprintf("x COPY 1:%d Trash", replica.MaxCopies))
	if want := fmt.Sprintf("[COPYUID 1004 1:%d 1:%[1]d]", replica.MaxCopies); !strings.Contains(lines[len(lines)-1], want) || b.count.Load()-before != 1 {
		t.Errorf("COPY: %d commands, %.200q", b.count.Load()-before, lines[len(lines)-1])
	}
}

// Where a later part fails, the answer is NO, says that a part was done, and the client learns what.
func TestPartOfManyFails(t *testing.T) {
	n := 2*replica.PartMessages + 3
	_, b, c := crowded(t, n)
	fails := func(line string, after int64) []string {
		t.Helper()
		b.left.Store(after)
		lines := c.do("x " + line)
		b.left.Store(-1)
		last := lines[len(lines)-1]
		said := strings.Contains(last, fmt.Sprintf("NO [UNAVAILABLE] Done for the first %d messages only", after*replica.PartMessages))
		if after == 0 {
			said = strings.Contains(last, "NO [UNAVAILABLE] Outcome unknown")
		}
		if !said {
			t.Errorf("%s: %q", line, last)
		}
		return lines
	}
	fails(`STORE 1:* +FLAGS (\Seen)`, 0)
	if lines := fails(`STORE 1:* +FLAGS (\Deleted)`, 1); holding(lines, `\Deleted`) != replica.PartMessages {
		t.Errorf("STORE told of %d messages", holding(lines, `\Deleted`))
	}
	c.ok(`x STORE 1:* +FLAGS.SILENT (\Deleted)`)
	lines := fails("MOVE 1:* Trash", 1)
	if holding(lines, fmt.Sprintf("[COPYUID 1004 1:%d 1:%[1]d]", replica.PartMessages)) != 1 || holding(lines, " EXPUNGE") != replica.PartMessages {
		t.Errorf("MOVE told of %d messages: %.200q", holding(lines, " EXPUNGE"), lines[0])
	}
	if lines := fails("EXPUNGE", 1); holding(lines, " EXPUNGE") != replica.PartMessages {
		t.Errorf("EXPUNGE told of %d messages", holding(lines, " EXPUNGE"))
	}
	if in, _ := b.messages("INBOX"); in != n-2*replica.PartMessages {
		t.Errorf("%d are left", in)
	}
}

// DELETE of a large mailbox goes on where it ended early, and never touches one that cannot be deleted.
func TestDeleteOfALargeMailbox(t *testing.T) {
	n := 3*replica.PartMessages + 3
	_, b, c := crowded(t, n)
	c.ok("x CREATE big")
	c.ok("x MOVE 1:* big")
	b.left.Store(1)
	lines := c.do("x DELETE big")
	b.left.Store(-1)
	if last := lines[len(lines)-1]; !strings.Contains(last, "NO [UNAVAILABLE] Done for the first 5000 messages only") {
		t.Errorf("a DELETE that was cut off: %q", last)
	}
	if left, _ := b.messages("big"); left != n-replica.PartMessages {
		t.Errorf("%d are left", left)
	}
	c.ok("x DELETE big")
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state.byName("big") != nil {
		t.Error("it is still there")
	}
}
