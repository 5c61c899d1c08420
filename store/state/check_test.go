package state

import (
	"encoding/binary"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/kv"
	"github.com/quorumail/quorumail/store/storepb"
)

// planter breaks a state behind the machine's back.
type planter struct {
	t *testing.T
	kv.Batch
}

func (p planter) set(k []byte, v []byte) {
	p.t.Helper()
	if err := p.Set(k, v); err != nil {
		p.t.Fatal(err)
	}
}

func (p planter) put(k []byte, v proto.Message) {
	p.t.Helper()
	raw, err := marshal.Marshal(v)
	if err != nil {
		p.t.Fatal(err)
	}
	p.set(k, raw)
}

func (p planter) remove(k []byte) {
	p.t.Helper()
	if found, err := has(p, k); err != nil || !found {
		p.t.Fatalf("the key %q to remove is not there (%v)", k, err)
	}
	if err := p.Delete(k); err != nil {
		p.t.Fatal(err)
	}
}

// change rewrites a record.
func change[T proto.Message](p planter, k []byte, v T, f func(T)) {
	p.t.Helper()
	if err := must(p, k, v); err != nil {
		p.t.Fatal(err)
	}
	f(v)
	p.put(k, v)
}

// Each invariant is broken in one way or more, and found. In the state there is account 1 with mailboxes 1 (INBOX) to 6; UIDs 1, 2 and
// 4 in INBOX, of emails 1, 2 and 4; UID 3 expunged, so that email 3 has a tombstone; the body of email 4 is missing at c.
func TestCheckFindsEveryKindOfDamage(t *testing.T) {
	const account, box = uint64(1), uint64(1)
	id := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	body := func(p planter, email uint64) []byte {
		e := &storepb.Email{}
		if err := must(p, key(tabEmail, email), e); err != nil {
			p.t.Fatal(err)
		}
		return e.BodyId
	}
	for name, c := range map[string]struct {
		plant func(planter)
		want  string
	}{
		"version": {func(p planter) {
			change(p, key(tabCluster), &storepb.ClusterRecord{}, func(r *storepb.ClusterRecord) { r.Epoch = 0 })
		}, "cluster's record"},
		"foreign key":             {func(p planter) { p.set([]byte("Z"), nil) }, "no table"},
		"unknown table":           {func(p planter) { p.set(key('!'), nil) }, "no table"},
		"undecodable":             {func(p planter) { p.set(key(tabServer, "a"), []byte{0xff}) }, "does not decode"},
		"server in another place": {func(p planter) { p.put(key(tabServer, "z"), &storepb.Server{Id: "y"}) }, "server \"z\""},
		"invite in another place": {func(p planter) { p.put(key(tabInvite, "z"), &storepb.Invite{}) }, "invite"},
		"nameless setting":        {func(p planter) { p.set(key(tabSetting), nil) }, "without a name"},
		"result without process":  {func(p planter) { p.put(key(tabResult, make([]byte, 16), uint64(1)), &storepb.Result{}) }, "result of command 1"},
		"result given up":         {func(p planter) { p.put(key(tabResult, incarnation, uint64(1)), &storepb.Result{}) }, "result of command 1"},
		"result from the future":  {func(p planter) { p.put(key(tabResult, incarnation, uint64(1e9)), &storepb.Result{}) }, "result of command 1000000000"},
		"incarnation": {func(p planter) {
			p.put(key(tabIncarnation, make([]byte, 16)), &storepb.Incarnation{Lowest: 5, Highest: 1})
		}, "incarnation"},
		"missing and not live":    {func(p planter) { p.set(missingKey("a", make([]byte, 40)), nil) }, "not live"},
		"missing without server":  {func(p planter) { p.set(key(tabMissing, "x"), nil) }, "missing body without"},
		"inline from the future":  {func(p planter) { p.set(inlineKey(1e9, make([]byte, 40)), nil) }, "not applied"},
		"address of nobody":       {func(p planter) { p.set(key(tabAddress, "x@example.test"), append([]byte{'a'}, id(9)...)) }, "leads to no account"},
		"address of another":      {func(p planter) { p.set(key(tabAddress, "x@example.test"), append([]byte{'a'}, id(account)...)) }, "leads to no account"},
		"alias of another name":   {func(p planter) { p.set(key(tabAddress, "x@example.test"), []byte{'l'}) }, "is no alias's"},
		"address of nothing":      {func(p planter) { p.set(key(tabAddress, "x@example.test"), nil) }, "leads to nothing"},
		"account without address": {func(p planter) { p.remove(key(tabAddress, "an@example.test")) }, "does not lead to account"},
		"account never given out": {func(p planter) {
			change(p, key(tabCluster), &storepb.ClusterRecord{}, func(r *storepb.ClusterRecord) { r.NextAccount = 0 })
		}, "given out up to 0"},
		"no INBOX":                {func(p planter) { p.remove(key(tabName, account, inbox)) }, "no INBOX"},
		"credential of nobody":    {func(p planter) { p.put(key(tabCredential, uint64(9), "x"), &storepb.Credential{}) }, "does not exist"},
		"usage of nobody":         {func(p planter) { p.put(key(tabUsage, uint64(9)), &storepb.Usage{}) }, "does not exist"},
		"subscription of nobody":  {func(p planter) { p.set(key(tabSubscribed, uint64(9), "x"), nil) }, "does not exist"},
		"subscription of no name": {func(p planter) { p.set(key(tabSubscribed, account, "a//b"), nil) }, "can be no mailbox"},
		"key without account":     {func(p planter) { p.set(key(tabEntry, "x"), nil) }, "of no account"},
		"usage":                   {func(p planter) { p.put(key(tabUsage, account), &storepb.Usage{Bytes: 1, Messages: 3}) }, "is said to use 1 bytes"},
		"name of no mailbox":      {func(p planter) { p.set(key(tabName, account, "x"), id(9)) }, "no mailbox of that name"},
		"mailbox without name":    {func(p planter) { p.remove(key(tabName, account, "Sent")) }, "does not lead to mailbox"},
		"mailbox never given out": {func(p planter) {
			change(p, key(tabCluster), &storepb.ClusterRecord{}, func(r *storepb.ClusterRecord) { r.NextMailbox = 1 })
		}, "given out up to 1"},
		"UIDVALIDITY given twice": {func(p planter) {
			change(p, key(tabMailbox, account, uint64(2)), &storepb.Mailbox{}, func(m *storepb.Mailbox) { m.UidValidity++ })
		}, "there twice"},
		"UIDVALIDITY not given": {func(p planter) {
			change(p, key(tabMailbox, account, uint64(2)), &storepb.Mailbox{}, func(m *storepb.Mailbox) { m.UidValidity = 0 })
		}, "never given out"},
		"counters": {func(p planter) {
			change(p, key(tabMailbox, account, box), &storepb.Mailbox{}, func(m *storepb.Mailbox) { m.Unseen++ })
		}, "counts 3 messages, 4 unseen"},
		"UIDNEXT fell": {func(p planter) {
			change(p, key(tabMailbox, account, box), &storepb.Mailbox{}, func(m *storepb.Mailbox) { m.UidNext = 4 })
		}, "lies beyond mailbox"},
		"HIGHESTMODSEQ fell": {func(p planter) {
			change(p, key(tabMailbox, account, box), &storepb.Mailbox{}, func(m *storepb.Mailbox) { m.HighestModseq = 2 })
		}, "lies beyond mailbox"},
		"entry of no mailbox":  {func(p planter) { p.put(entryKey(account, 9, 1), &storepb.Entry{}) }, "table e has entries of mailbox"},
		"change of no mailbox": {func(p planter) { p.set(changeKey(account, 9, 1, 1), []byte{changeNew}) }, "table q has entries of mailbox"},
		"entry without change": {func(p planter) { p.remove(changeKey(account, box, 2, 1)) }, "its change says"},
		"entry lost":           {func(p planter) { p.remove(entryKey(account, box, 1)) }, "says \"n\""},
		"UID changed twice":    {func(p planter) { p.set(changeKey(account, box, 1, 1), []byte{changeFlags}) }, "twice"},
		"expunged and there":   {func(p planter) { p.set(changeKey(account, box, 2, 1), []byte{changeExpunged}) }, "which is there: true"},
		"email never given out": {func(p planter) {
			change(p, key(tabCluster), &storepb.ClusterRecord{}, func(r *storepb.ClusterRecord) { r.NextEmail = 3 })
		}, "never given out"},
		"email lost":              {func(p planter) { p.remove(key(tabEmail, uint64(1))) }, "does not exist"},
		"email and count lost":    {func(p planter) { p.remove(key(tabEmail, uint64(1))); p.remove(key(tabRefs, uint64(1))) }, "is shown and does not exist"},
		"email not counted":       {func(p planter) { p.remove(key(tabRefs, uint64(1))) }, "is not counted"},
		"wrong count":             {func(p planter) { p.put(key(tabRefs, uint64(1)), &storepb.EmailRefs{Refs: 2}) }, "shown 2 times and is 1"},
		"no tombstone":            {func(p planter) { p.remove(key(tabTombstone, uint64(0), uint64(3))) }, "has a tombstone: false"},
		"tombstone of the living": {func(p planter) { p.set(key(tabTombstone, uint64(0), uint64(1)), nil) }, "has a tombstone"},
		"tombstone of nothing":    {func(p planter) { p.set(key(tabTombstone, uint64(0), uint64(99)), nil) }, "email 99 has a tombstone"},
		"email without body":      {func(p planter) { p.remove(key(tabBody, body(p, 1))) }, "not listed as its own"},
		"body of no email":        {func(p planter) { p.set(key(tabBody, make([]byte, 40)), id(99)) }, "whose body it is not"},
		"body of another email":   {func(p planter) { p.set(key(tabBody, body(p, 1)), id(2)) }, "whose body it is not"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Open(Config{Blobs: blob.NewMemory(), Self: "a"})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			b := (&bench{Machine: m, t: t}).found()
			an := b.account("an@example.test")
			for range 3 {
				b.do(add(b.body("hello"), an))
			}
			b.do(add(b.beside("a", "b"), an))
			b.do(&storepb.Command{Op: &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: an, Mailbox: box, Uids: store.PackUIDs(store.UIDSet{{First: 3, Last: 3}})}}})
			if err := m.Check(); err != nil {
				t.Fatalf("before: %v", err)
			}
			p := planter{t, m.db.NewBatch()}
			c.plant(p)
			if err := p.Commit(false); err != nil {
				t.Fatal(err)
			}
			if err := m.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want %q, found: %v", c.want, err)
			}
		})
	}
}

func TestCountsCountsSparseAndDenseNumbers(t *testing.T) {
	var c counts
	numbers := []uint64{0, 1, 2, 511, 512, 1 << 40, 1<<64 - 1}
	for times := range uint32(3) {
		for _, n := range numbers {
			if got := c.add(n); got != times+1 {
				t.Errorf("%d was counted %d times, want %d", n, got, times+1)
			}
		}
	}
	for i, n := range numbers {
		if i%2 == 0 && (c.take(n) != 3 || c.take(n) != 0) {
			t.Errorf("%d was not there three times", n)
		}
	}
	left := 0
	c.each(func(uint64) { left++ })
	if left != 3 || c.take(77) != 0 {
		t.Errorf("%d numbers are left, want 3", left)
	}
}

// The names of mailboxes are normalised by tables that a newer library may change. Then nodes of two programs would apply the same
// command to two names: the command's version must go up with the tables.
func TestUnicodeTablesArePartOfTheFormat(t *testing.T) {
	if got := normalisationTables; got != "15.0.0" || CommandVersion != 2 {
		t.Errorf("tables of Unicode %s with commands of version %d", got, CommandVersion)
	}
}
