package state

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/storepb"
)

// Bounds on what one command may carry. Apply refuses what is over them, the same everywhere: a key or value that the store below
// would refuse must never come so far, for then every node would stop at the same entry, for ever.
const (
	// MaxCommandBytes is the longest encoded command.
	MaxCommandBytes = 1 << 20
	// MaxTargets is the most targets of one message. As many, without keywords and each with the largest numbers, fit MaxCommandBytes
	// together with the longest summary and inline body.
	MaxTargets = 10_000
	// MaxMessages bounds the entries of mailboxes that one STORE, EXPUNGE, COPY or MOVE looks at, and those that the end of a mailbox or an
	// account may take along. All other commands wait meanwhile, on every node, and a read barrier does not wait for long: this many take
	// well under a second. Who has more to do proposes several commands (package replica, split.go).
	MaxMessages = 20_000

	maxSummaryBytes = 64 << 10
	maxInlineBytes  = 64 << 10
	maxAcks         = 100
	maxQueueIDBytes = 100
	// maxEnvelopeBytes: RFC 5321 §4.5.3.1.3 allows a path of 256 octets; SMTPUTF8 and long domains get room.
	maxEnvelopeBytes = 1000

	// maxQueueRefs bounds the entries of queues that one command is about.
	maxQueueRefs   = 1000
	maxReasonBytes = 2000

	maxNameBytes     = 1000
	maxNameDepth     = 20
	maxSubscriptions = 20_000

	maxDomainBytes      = 255
	maxAddressBytes     = 320
	maxTextBytes        = 1000 // display names, descriptions, labels
	maxVerifierBytes    = 1000 // a password's hash or keys
	maxCredentials      = 200  // of one account
	maxAliasTargets     = 10000
	maxSettingNameBytes = 200
	maxSettingBytes     = 64 << 10
	maxSecretNameBytes  = 200
	maxSecretBytes      = 64 << 10

	maxServerIDBytes    = 64
	maxTargetVoters     = 100
	maxLiveInvites      = 1000
	maxBodiesPerCommand = 10000
	// maxSweep bounds the emails of one sweep.
	maxSweep = 10000
	// maxTickMs bounds one step of the replicated clock.
	maxTickMs = 24 * 3600 * 1000
	// maxHolds and maxHoldMs bound how long, and for how many, sweeps can be held.
	maxHolds  = 16
	maxHoldMs = 24 * 3600 * 1000
)

const (
	incarnationBytes = 16
	secretHashBytes  = 32
)

// validServerID: a server's id is a part of keys, where a zero byte ends it.
func validServerID(id string) bool {
	return id != "" && len(id) <= maxServerIDBytes && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

// validText: free text that is shown to people.
func validText(s string, maxBytes int) bool {
	return len(s) <= maxBytes && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// validKeyword: an atom, so that case is that of ASCII, which no table of Unicode changes (RFC 9051 §9, flag-keyword).
func validKeyword(k string) bool {
	return k != "" && len(k) <= store.MaxKeywordBytes &&
		!strings.ContainsFunc(k, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`(){%*"\]`, r) })
}

func validAddress(address string) bool {
	i := strings.LastIndexByte(address, '@')
	return i > 0 && i < len(address)-1 && validText(address, maxAddressBytes) && validDomain(address[i+1:])
}

func validDomain(name string) bool {
	return name != "" && validText(name, maxDomainBytes) && !strings.ContainsAny(name, "@ ")
}

func validCredential(c *storepb.Credential) bool {
	return c.GetId() != "" && validText(c.Id, 64) && validText(c.Kind, 20) && validText(c.Label, maxTextBytes) &&
		len(c.Argon2) <= maxVerifierBytes && len(c.Scram) <= maxVerifierBytes
}

// validBody: what a reference must be before anything else is looked at. An inline body is opened, for one that the blob store would
// refuse must be refused here, on every node alike.
func validBody(ref *storepb.BodyRef) bool {
	id, err := store.BodyIDFromBytes(ref.GetId())
	if err != nil || ref.RawBytes < 0 || ref.RawBytes > blob.MaxRawBytes || ref.EncodedBytes < 0 || ref.EncodedBytes > 2*blob.MaxRawBytes || len(ref.Quorum) > maxAcks {
		return false
	}
	if len(ref.Inline) == 0 {
		return true
	}
	raw, err := blob.CheckContainer(id, ref.Inline)
	return err == nil && raw == ref.RawBytes && int64(len(ref.Inline)) == ref.EncodedBytes
}

// validEntries: recipients that a message can wait for.
func validEntries(entries []*storepb.QueueEntry) bool {
	for _, e := range entries {
		local := store.Queue(e.Queue) == store.QueueLocal
		if e.Queue < uint32(store.QueueIn) || e.Queue > uint32(store.QueueRemote) || local != (e.Account != 0) ||
			!validRecipient(e.Address) || e.Original != "" && !validRecipient(e.Original) || len(e.Orcpt) > maxEnvelopeBytes ||
			len(e.Reason) > maxReasonBytes || len(e.Peer) > maxTextBytes || len(e.Status) > 20 || e.Notice > uint32(store.NoticeExpanded) ||
			e.Notice != 0 && store.Notice(e.Notice) != store.NoticeDelivered && store.Notice(e.Notice) != store.NoticeExpanded {
			return false
		}
	}
	return true
}

// validRecipient: "postmaster" needs no domain, and a domain may be an address literal.
func validRecipient(address string) bool { return address != "" && validText(address, maxAddressBytes) }

// validOrigin: what a message says of how it came, and of how to treat it.
func validOrigin(op *storepb.AddMessage) bool {
	o, e := op.GetOrigin(), op.GetEnvelope()
	for _, s := range append([]string{o.GetClient(), o.GetHelo(), o.GetTls(), o.GetAccountAddress(), o.GetListener(), o.GetMessageId(), o.GetChecks(), e.GetRet(), e.GetEnvid()}, o.GetRecipients()...) {
		if len(s) > maxTextBytes {
			return false
		}
	}
	return len(op.ResendKey) == 0 || len(op.ResendKey) == store.ResendKeyBytes
}

// hasUnknown tells whether a command has fields that this program does not know. To skip them would be to apply another command than
// the node that wrote it meant.
func hasUnknown(c *storepb.Command) bool {
	if add := c.GetAddMessage(); add != nil { // most commands: spare them the reflection
		unknown := len(c.ProtoReflect().GetUnknown()) + len(add.ProtoReflect().GetUnknown()) + len(add.GetBody().ProtoReflect().GetUnknown())
		for _, t := range add.Targets {
			unknown += len(t.ProtoReflect().GetUnknown())
		}
		for _, a := range add.GetBody().GetQuorum() {
			unknown += len(a.ProtoReflect().GetUnknown())
		}
		for _, e := range add.Queued {
			unknown += len(e.ProtoReflect().GetUnknown())
		}
		for _, x := range add.Ends {
			unknown += len(x.ProtoReflect().GetUnknown()) + len(x.GetRef().ProtoReflect().GetUnknown())
		}
		unknown += len(add.GetEnvelope().ProtoReflect().GetUnknown()) + len(add.GetOrigin().ProtoReflect().GetUnknown())
		return unknown > 0
	}
	return unknownIn(c.ProtoReflect())
}

func unknownIn(m protoreflect.Message) bool {
	if len(m.GetUnknown()) > 0 {
		return true
	}
	found := false
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				found = found || unknownIn(v.List().Get(i).Message())
			}
		default:
			found = unknownIn(v.Message())
		}
		return !found
	})
	return found
}
