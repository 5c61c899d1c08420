package state

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// A command over any bound is refused, on every node alike. None of them may stop the node: it would stop all, at the same entry, for ever.
func TestHostileCommandsAreRefused(t *testing.T) {
	long := strings.Repeat("x", 20<<10) // no key may be so long
	many := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprint("$k", i))
		}
		return out
	}
	ids := func(n, size int) (out [][]byte) {
		for range n {
			out = append(out, make([]byte, size))
		}
		return out
	}
	b := newBench(t, t.TempDir())
	an := b.account("an@example.test")
	good := b.body("hello")
	ref := func(change func(*storepb.BodyRef)) *storepb.Command {
		r := proto.CloneOf(good)
		change(r)
		return add(r, an)
	}
	target := func(change func(*storepb.Target)) *storepb.Command {
		c := add(proto.CloneOf(good), an)
		change(c.GetAddMessage().Targets[0])
		return c
	}
	message := func(change func(*storepb.AddMessage)) *storepb.Command {
		c := add(proto.CloneOf(good), an)
		change(c.GetAddMessage())
		return c
	}
	server := func(s *storepb.Server) *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_RegisterServer{RegisterServer: &storepb.RegisterServer{Server: s}}}
	}
	account := func(a *storepb.Account, credentials ...*storepb.Credential) *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Create: true, Account: a, Credentials: credentials}}}
	}
	alias := func(a *storepb.Alias) *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_PutAlias{PutAlias: &storepb.PutAlias{Create: true, Alias: a}}}
	}
	mb := b.inbox(an)
	secret := bytes.Repeat([]byte{1}, 32)
	for name, c := range map[string]*storepb.Command{
		"no body":              message(func(m *storepb.AddMessage) { m.Body = nil }),
		"nobody":               message(func(m *storepb.AddMessage) { m.Targets = nil }),
		"summary":              message(func(m *storepb.AddMessage) { m.Summary = make([]byte, maxSummaryBytes+1) }),
		"queue id":             message(func(m *storepb.AddMessage) { m.QueueId = long }),
		"envelope":             message(func(m *storepb.AddMessage) { m.EnvelopeFrom = long }),
		"short body id":        ref(func(r *storepb.BodyRef) { r.Id = r.Id[:39] }),
		"long body id":         ref(func(r *storepb.BodyRef) { r.Id = []byte(long) }),
		"rotten inline body":   ref(func(r *storepb.BodyRef) { r.Inline = append([]byte{0}, r.Inline[1:]...) }),
		"cut inline body":      ref(func(r *storepb.BodyRef) { r.Inline = r.Inline[:len(r.Inline)-1] }),
		"body of another id":   ref(func(r *storepb.BodyRef) { r.Id = bytes.Repeat([]byte{1}, 40) }),
		"wrong length":         ref(func(r *storepb.BodyRef) { r.RawBytes++ }),
		"wrong encoded length": ref(func(r *storepb.BodyRef) { r.EncodedBytes++ }),
		"huge length":          ref(func(r *storepb.BodyRef) { r.Inline, r.RawBytes = nil, math.MaxInt64 }),
		"negative length":      ref(func(r *storepb.BodyRef) { r.Inline, r.RawBytes = nil, -1 }),
		"huge inline body":     ref(func(r *storepb.BodyRef) { r.Inline = make([]byte, maxInlineBytes+1) }),
		"acknowledged too often": ref(func(r *storepb.BodyRef) {
			r.Inline = nil
			for range maxAcks + 1 {
				r.Quorum = append(r.Quorum, &storepb.Ack{Server: long})
			}
		}),
		"epoch of the future":   ref(func(r *storepb.BodyRef) { r.Epoch = math.MaxUint64 }),
		"keywords":              target(func(x *storepb.Target) { x.Keywords = many(store.MaxKeywords + 1) }),
		"a long keyword":        target(func(x *storepb.Target) { x.Keywords = []string{long} }),
		"a keyword of two":      target(func(x *storepb.Target) { x.Keywords = []string{"a b"} }),
		"flags' keywords":       {Op: &storepb.Command_StoreFlags{StoreFlags: &storepb.StoreFlags{Account: an, Mailbox: mb.Id, Keywords: many(50_000)}}},
		"flags' mode":           {Op: &storepb.Command_StoreFlags{StoreFlags: &storepb.StoreFlags{Account: an, Mailbox: mb.Id, Mode: 3}}},
		"rubbish for UIDs":      {Op: &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: an, Mailbox: mb.Id, Uids: []byte{0xff}}}},
		"mailbox name":          {Op: &storepb.Command_CreateMailbox{CreateMailbox: &storepb.CreateMailbox{Account: an, Name: long}}},
		"special use":           {Op: &storepb.Command_CreateMailbox{CreateMailbox: &storepb.CreateMailbox{Account: an, Name: "x", SpecialUse: long}}},
		"new name":              {Op: &storepb.Command_RenameMailbox{RenameMailbox: &storepb.RenameMailbox{Account: an, Mailbox: mb.Id, Name: long}}},
		"subscription":          {Op: &storepb.Command_SetSubscribed{SetSubscribed: &storepb.SetSubscribed{Account: an, Name: long, Subscribed: true}}},
		"nobody's subscription": {Op: &storepb.Command_SetSubscribed{SetSubscribed: &storepb.SetSubscribed{Account: 999, Name: "x", Subscribed: true}}},
		"domain":                {Op: &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Create: true, Domain: &storepb.Domain{Name: long}}}},
		"no domain":             {Op: &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Create: true}}},
		"catch-all":             {Op: &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Create: true, Domain: &storepb.Domain{Name: "x.test", CatchAll: long}}}},
		"domain to remove":      {Op: &storepb.Command_RemoveDomain{RemoveDomain: &storepb.RemoveDomain{Name: long}}},
		"address":               account(&storepb.Account{Address: long + "@example.test"}),
		"address's domain":      account(&storepb.Account{Address: "a@" + long}),
		"display name":          account(&storepb.Account{Address: "x@example.test", DisplayName: long}),
		"credential":            account(&storepb.Account{Address: "x@example.test"}, &storepb.Credential{Id: long}),
		"nameless credential":   account(&storepb.Account{Address: "x@example.test"}, &storepb.Credential{}),
		"hash":                  {Op: &storepb.Command_PutCredential{PutCredential: &storepb.PutCredential{Account: an, Credential: &storepb.Credential{Id: "x", Argon2: long}}}},
		"label":                 {Op: &storepb.Command_PutCredential{PutCredential: &storepb.PutCredential{Account: an, Credential: &storepb.Credential{Id: "x", Label: long}}}},
		"credential to remove":  {Op: &storepb.Command_RemoveCredential{RemoveCredential: &storepb.RemoveCredential{Account: an, Id: long}}},
		"alias":                 alias(&storepb.Alias{Address: long + "@example.test", Targets: []string{"an@example.test"}}),
		"alias's target":        alias(&storepb.Alias{Address: "x@example.test", Targets: []string{long}}),
		"alias's targets":       alias(&storepb.Alias{Address: "x@example.test", Targets: many(maxAliasTargets + 1)}),
		"alias's description":   alias(&storepb.Alias{Address: "x@example.test", Targets: []string{"an@example.test"}, Description: long}),
		"alias to remove":       {Op: &storepb.Command_RemoveAlias{RemoveAlias: &storepb.RemoveAlias{Address: long}}},
		"setting":               {Op: &storepb.Command_PutSetting{PutSetting: &storepb.PutSetting{Name: long}}},
		"setting to reset":      {Op: &storepb.Command_PutSetting{PutSetting: &storepb.PutSetting{Name: long, Reset_: true}}},
		"value":                 {Op: &storepb.Command_PutSetting{PutSetting: &storepb.PutSetting{Name: "x", Value: strings.Repeat("x", maxSettingBytes+1)}}},
		"secret's name":         {Op: &storepb.Command_PutSecret{PutSecret: &storepb.PutSecret{Name: long}}},
		"secret":                {Op: &storepb.Command_PutSecret{PutSecret: &storepb.PutSecret{Name: "x", Value: make([]byte, maxSecretBytes+1)}}},
		"server":                server(&storepb.Server{Id: long, DataIncarnation: disk("a")}),
		"server of two":         server(&storepb.Server{Id: "a\x00b", DataIncarnation: disk("a")}),
		"server's name":         server(&storepb.Server{Id: "x", DataIncarnation: disk("x"), Name: long}),
		"server's address":      server(&storepb.Server{Id: "x", DataIncarnation: disk("x"), Address: long}),
		"no server":             server(nil),
		"server to remove":      {Op: &storepb.Command_RemoveServer{RemoveServer: &storepb.RemoveServer{Id: long}}},
		"member to remove":      {Op: &storepb.Command_RemoveServer{RemoveServer: &storepb.RemoveServer{Id: "a"}}},
		"invite":                {Op: &storepb.Command_PutInvite{PutInvite: &storepb.PutInvite{SecretHash: []byte(long)}}},
		"unknown invite":        {Op: &storepb.Command_ConsumeInvite{ConsumeInvite: &storepb.ConsumeInvite{SecretHash: secret, Server: "x", Record: &storepb.Server{Id: "x", DataIncarnation: disk("x")}}}},
		"invite for another":    {Op: &storepb.Command_ConsumeInvite{ConsumeInvite: &storepb.ConsumeInvite{SecretHash: secret, Server: "x", Record: &storepb.Server{Id: "a", DataIncarnation: disk("a")}}}},
		"have":                  {Op: &storepb.Command_Have{Have: &storepb.Have{Server: long, Bodies: ids(1, 40)}}},
		"have a long body":      {Op: &storepb.Command_Have{Have: &storepb.Have{Server: "a", Bodies: ids(1, 20<<10)}}},
		"have too many":         {Op: &storepb.Command_Have{Have: &storepb.Have{Server: "a", Bodies: ids(maxBodiesPerCommand+1, 40)}}},
		"lost by a stranger":    {Op: &storepb.Command_Lost{Lost: &storepb.Lost{Server: "z", Bodies: ids(1, 40)}}},
		"no target voters":      {Op: &storepb.Command_Reconfigure{Reconfigure: &storepb.Reconfigure{Id: 1}}},
		"target voter twice":    {Op: &storepb.Command_Reconfigure{Reconfigure: &storepb.Reconfigure{Id: 1, TargetVoters: []string{"a", "a"}}}},
		"long target voter":     {Op: &storepb.Command_Reconfigure{Reconfigure: &storepb.Reconfigure{Id: 1, TargetVoters: []string{long}}}},
		"tick":                  {Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: math.MaxUint64}}},
		"epoch":                 {Op: &storepb.Command_AdvanceEpoch{AdvanceEpoch: &storepb.AdvanceEpoch{From: 7}}},
		"version nobody knows":  {Op: &storepb.Command_RaiseVersion{RaiseVersion: &storepb.RaiseVersion{Version: 2}}},
		"sweep":                 {Op: &storepb.Command_Sweep{Sweep: &storepb.Sweep{Emails: make([]uint64, maxSweep+1)}}},
		"long hold":             {Op: &storepb.Command_HoldSweeps{HoldSweeps: &storepb.HoldSweeps{Id: secret[:16], ForMs: math.MaxUint64}}},
		"hold without id":       {Op: &storepb.Command_HoldSweeps{HoldSweeps: &storepb.HoldSweeps{Id: []byte(long)}}},
		"renewal of nothing":    {Op: &storepb.Command_HoldSweeps{HoldSweeps: &storepb.HoldSweeps{Id: secret[:16], ForMs: 1, Renew: true}}},
		"command":               {Op: &storepb.Command_AddMessage{AddMessage: &storepb.AddMessage{Body: good, Summary: make([]byte, MaxCommandBytes)}}},
	} {
		before := b.content()
		if _, err := b.try(c); err == nil {
			t.Errorf("%s: taken", name)
		}
		if after := b.content(); after != before {
			t.Errorf("%s: refused, and the state changed", name)
		}
	}
	b.do(add(good, an)) // and the sound one is taken
}

// content is a digest of the state but for what commands that were refused leave: the position, and results.
func (b *bench) content() string {
	b.t.Helper()
	var out strings.Builder
	v := b.View()
	defer v.Close()
	err := eachReplicated(v, func(k, val []byte) error {
		if k[3] != tabResult && k[3] != tabIncarnation {
			fmt.Fprintf(&out, "%x=%x\n", k, val)
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return out.String()
}

// Whoever keeps to MaxTargets never makes a command that is too long.
func TestMessageForTheMostTargetsFitsOneCommand(t *testing.T) {
	m := &storepb.AddMessage{Summary: make([]byte, maxSummaryBytes), QueueId: strings.Repeat("q", maxQueueIDBytes), EnvelopeFrom: strings.Repeat("e", maxEnvelopeBytes),
		Body: &storepb.BodyRef{Id: make([]byte, store.BodyIDBytes), Inline: make([]byte, maxInlineBytes)}}
	for range MaxTargets {
		m.Targets = append(m.Targets, &storepb.Target{Account: math.MaxUint64, Mailbox: math.MaxUint64, Flags: math.MaxUint32, InternalDateUnix: -1, InternalDateZone: -1,
			EnforceQuota: true})
	}
	c := &storepb.Command{Version: math.MaxUint32, Seq: math.MaxUint64, Lowest: math.MaxUint64, TimeUnixMs: -1, Server: strings.Repeat("s", maxServerIDBytes),
		Incarnation: make([]byte, incarnationBytes), Op: &storepb.Command_AddMessage{AddMessage: m}}
	if n := proto.Size(c); n > MaxCommandBytes {
		t.Errorf("%d bytes, over %d", n, MaxCommandBytes)
	}
}

// Nobody who proposes such ids may make the nodes work for ever, or stop.
func TestHostileIDs(t *testing.T) {
	b := newBench(t, t.TempDir())
	command := func(seq, lowest uint64, inc []byte, server string) {
		t.Helper()
		raw, err := proto.Marshal(&storepb.Command{Version: 1, Incarnation: inc, Seq: seq, Lowest: lowest, Server: server, Op: &storepb.Command_Tick{Tick: &storepb.Tick{}}})
		if err != nil {
			t.Fatal(err)
		}
		b.index++
		if err := b.Apply([]Entry{{Index: b.index, Term: 1, Command: raw}}); err != nil {
			t.Fatal(err)
		}
	}
	other := bytes.Repeat([]byte{3}, 16)
	command(1<<62, 1, other, "a")
	command(1<<63, 1<<63-1, other, "a") // the results of half of all numbers are given up
	command(math.MaxUint64, math.MaxUint64, other, "a")
	if _, found := b.LookupResult([16]byte(other), 1<<62); found {
		t.Error("a result is kept below the lowest command under way")
	}
	if _, found := b.LookupResult([16]byte(other), math.MaxUint64); !found {
		t.Error("the newest result is gone")
	}
	before := b.content()
	command(0, 0, other, "a")
	command(2, 3, other, "a")
	command(1, 1, other[:15], "a")
	command(1, 1, bytes.Repeat([]byte{4}, 16), strings.Repeat("x", 20<<10))
	if b.content() != before {
		t.Error("a command without a proper id changed the state")
	}
}

// A field that this program does not know belongs to a newer format: to leave it out would be to apply another command.
func TestUnknownFieldStopsTheNode(t *testing.T) {
	b := newBench(t, "")
	unknown := protowire.AppendTag(nil, 1000, protowire.VarintType)
	unknown = protowire.AppendVarint(unknown, 1)
	an := b.account("an@example.test")
	for name, change := range map[string]func(*storepb.Command){
		"command":   func(c *storepb.Command) { c.ProtoReflect().SetUnknown(unknown) },
		"operation": func(c *storepb.Command) { c.GetAddMessage().ProtoReflect().SetUnknown(unknown) },
		"body":      func(c *storepb.Command) { c.GetAddMessage().Body.ProtoReflect().SetUnknown(unknown) },
		"target":    func(c *storepb.Command) { c.GetAddMessage().Targets[0].ProtoReflect().SetUnknown(unknown) },
		"other kind": func(c *storepb.Command) {
			a := &storepb.Alias{Address: "x@example.test", Targets: []string{"an@example.test"}}
			a.ProtoReflect().SetUnknown(unknown)
			c.Op = &storepb.Command_PutAlias{PutAlias: &storepb.PutAlias{Alias: a, Create: true}}
		},
	} {
		c := add(b.body("hello"), an)
		change(c)
		if err := b.Apply([]Entry{{Index: b.index + 1, Term: 1, Command: b.command(c)}}); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
}

// What is kept of a result is the same whatever a program's wording is; who proposes first gets the words all the same.
func TestWordingIsNoPartOfTheState(t *testing.T) {
	b := newBench(t, "")
	var first AppliedResult
	b.OnApplied(func(a Applied) { first = a.Results[0] })
	raw := b.command(&storepb.Command{Op: &storepb.Command_RemoveAlias{RemoveAlias: &storepb.RemoveAlias{Address: "x@example.test"}}})
	kept := b.apply(raw)
	if first.Result.Detail == "" || kept.Detail != "" || !errors.Is(ResultError(kept), store.ErrNotFound) {
		t.Errorf("answered %q, kept %q", first.Result.Detail, kept.Detail)
	}
}

// RFC 9051 §2.3.1.1: a mailbox that takes a name again has another UIDVALIDITY, whatever the clocks of the nodes say.
func TestUIDValidityIsNeverUsedAgain(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	seen := map[uint32]bool{}
	last := uint32(0)
	for _, ms := range []int64{1_700_000_000_000, math.MinInt64, -1, 0, math.MaxInt64, 1_700_000_000_000, 1} {
		c := &storepb.Command{Op: &storepb.Command_CreateMailbox{CreateMailbox: &storepb.CreateMailbox{Account: an, Name: "x"}}}
		b.command(c) // its id
		c.TimeUnixMs = ms
		raw, err := proto.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		id := b.apply(raw).Id
		v := b.View()
		mb, err := v.Mailbox(store.AccountID(an), store.MailboxID(id))
		v.Close()
		if err != nil {
			t.Fatal(err)
		}
		if mb.UidValidity <= last || seen[mb.UidValidity] {
			t.Errorf("at %d: UIDVALIDITY %d after %d", ms, mb.UidValidity, last)
		}
		last, seen[mb.UidValidity] = mb.UidValidity, true
		b.do(&storepb.Command{Op: &storepb.Command_DeleteMailbox{DeleteMailbox: &storepb.DeleteMailbox{Account: an, Mailbox: id}}})
	}
	if last > latestClock+10 {
		t.Errorf("one wrong clock used up the values to %d", last)
	}
}

// A copy into its own mailbox does not copy its own copies.
func TestCopyWithinAMailboxEnds(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	for range 5 {
		b.do(add(b.body("hello"), an))
	}
	mb := b.inbox(an)
	uids := store.UIDSet{{First: 1, Last: 2}, {First: 4, Last: 1<<32 - 1}}
	res := b.do(&storepb.Command{Op: &storepb.Command_CopyMessages{CopyMessages: &storepb.CopyMessages{Account: an, Mailbox: mb.Id, DestMailbox: mb.Id, Uids: store.PackUIDs(uids)}}})
	if len(res.Placed) != 4 {
		t.Errorf("%d copies, want 4", len(res.Placed))
	}
}

// A mailbox gives out no UID beyond 32 bits.
func TestUIDsEnd(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	mb := b.inbox(an)
	p := planter{t, b.db.NewBatch()}
	change(p, key(tabMailbox, an, mb.Id), &storepb.Mailbox{}, func(m *storepb.Mailbox) { m.UidNext = math.MaxUint32 - 1 })
	if err := p.Commit(false); err != nil {
		t.Fatal(err)
	}
	b.do(add(b.body("the last one"), an))
	if _, err := b.try(add(b.body("one too many"), an)); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("one too many: %v", err)
	}
}

// B4: a change of voters keeps its target until it ends, whoever else wants another.
func TestB4ReconfigureKeepsItsTarget(t *testing.T) {
	b := newBench(t, "")
	begin := func(id uint64, end bool, voters ...string) error {
		_, err := b.try(&storepb.Command{Op: &storepb.Command_Reconfigure{Reconfigure: &storepb.Reconfigure{Id: id, End: end, TargetVoters: voters}}})
		return err
	}
	if err := errors.Join(begin(1, false, "a", "b", "c", "d"), begin(1, false, "a", "b", "c", "d")); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{begin(2, false, "a"), begin(1, false, "a"), begin(2, true)} {
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("a second change meanwhile: %v", err)
		}
	}
	an := b.account("an@example.test")
	if _, err := b.try(add(b.beside("a", "b"), an)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a body on two of three voters and two of four target voters: %v", err)
	}
	b.do(add(b.beside("a", "b", "c"), an))
	if err := begin(1, true); err != nil {
		t.Fatal(err)
	}
	b.do(add(b.beside("a", "b"), an))
}

// B5: the id of a removed server does not come back, and what its processes had under way is over.
func TestB5RemovedServerStaysAway(t *testing.T) {
	b := newBench(t, "")
	own := bytes.Repeat([]byte{8}, 16)
	of := func(seq uint64, c *storepb.Command) *storepb.Result {
		c.Version, c.Incarnation, c.Seq, c.Lowest, c.Server = 1, own, seq, 1, "c"
		raw, err := proto.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return b.apply(raw)
	}
	register := func() *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_RegisterServer{RegisterServer: &storepb.RegisterServer{Server: &storepb.Server{Id: "c", DataIncarnation: disk("c")}}}}
	}
	of(1, register())
	b.index++
	if err := b.Apply([]Entry{{Index: b.index, Term: 1, Configuration: &storepb.LogPosition{ConfigurationIndex: b.index, Servers: servers[:2]}}}); err != nil {
		t.Fatal(err)
	}
	b.do(&storepb.Command{Op: &storepb.Command_RemoveServer{RemoveServer: &storepb.RemoveServer{Id: "c"}}})
	if res := of(2, register()); res.GetCode() != 0 || res.GetIndex() != 0 {
		t.Errorf("a command of a removed server was executed: %v", res)
	}
	if _, err := b.try(register()); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a removed server registers: %v", err)
	}
	an := b.account("an@example.test")
	if _, err := b.try(add(b.beside("a", "c"), an)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a removed server's word for a body: %v", err)
	}
}

// B8: while a backup holds sweeps nothing goes; a hold that is not renewed ends in replicated time.
func TestB8HoldKeepsWhatASweepWouldTake(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	email := b.do(add(b.body("hello"), an)).Placed[0].Email
	b.do(&storepb.Command{Op: &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: an, Mailbox: b.inbox(an).Id, All: true}}})
	id := make([]byte, 16)
	hold := func(forMs uint64, renew bool) error {
		_, err := b.try(&storepb.Command{Op: &storepb.Command_HoldSweeps{HoldSweeps: &storepb.HoldSweeps{Id: id, ForMs: forMs, Renew: renew}}})
		return err
	}
	tick := func(ms uint64) {
		b.do(&storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: ms}}})
	}
	sweep := func() error {
		_, err := b.try(&storepb.Command{Op: &storepb.Command_Sweep{Sweep: &storepb.Sweep{Emails: []uint64{email}}}})
		return err
	}
	if err := hold(1000, false); err != nil {
		t.Fatal(err)
	}
	tick(999)
	if err := errors.Join(hold(1000, true)); err != nil {
		t.Fatal(err)
	}
	tick(999)
	if err := sweep(); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a sweep during a backup: %v", err)
	}
	tick(1)
	if err := hold(1000, true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("renewal of an expired hold: %v", err)
	}
	if err := sweep(); err != nil {
		t.Errorf("a sweep after a backup that died: %v", err)
	}
}

// An incarnation's results are bounded by what its process has under way.
func TestResultsAreForgotten(t *testing.T) {
	b := newBench(t, "")
	for range 600 {
		b.do(&storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: 1}}})
	}
	n := 0
	v := b.View()
	defer v.Close()
	if err := each(v, key(tabResult), func(_, _ []byte) (bool, error) { n++; return true, nil }); err != nil || n != 1 {
		t.Errorf("%d results are kept (%v)", n, err)
	}
}
