package state

import (
	"encoding/binary"
	"math"

	"github.com/quorumail/quorumail/store"
)

// Every key begins with a space: 'R' for what all nodes share, followed by the group, or 'L' for what is this node's own. Then one
// byte names the table. Numbers are big-endian, so that their order is the keys'.
//
//	R group 'C'                          ClusterRecord
//	R group 'S' server                   Server
//	R group 'I' secret hash              Invite
//	R group 'K' name                     secret value (keys of the cluster)
//	R group 'G' name                     value of a setting
//	R group 'D' domain                   Domain
//	R group 'A' account                  Account
//	R group 'N' address                  'a' account, or 'l' Alias
//	R group 'P' account credential       Credential
//	R group 'U' account                  Usage
//	R group 'M' account mailbox          Mailbox
//	R group 'n' account name             mailbox
//	R group 's' account name             (subscribed)
//	R group 'e' account mailbox uid      Entry
//	R group 'q' account mailbox modseq uid  kind of change; the newest one of each uid
//	R group 'E' email                    Email
//	R group 'r' email                    EmailRefs
//	R group 't' tick email               (an email without references since that tick)
//	R group 'b' body                     email
//	R group 'x' server 0 body            (the server is not known to hold the body)
//	R group 'p' incarnation              Incarnation
//	R group 'o' incarnation seq          Result
//	R group 'W' message                  QueueMessage
//	R group 'w' message number           QueueEntry
//	R group 'h' queue id 0 message       (the message waits in a queue)
//	R group 'y' owner 0 due message number   (the entry is the owner's to work on, from that moment on)
//	R group 'Y' owner 0 message number   (the owner has an attempt under way)
//	R group 'd' hour resend key          Resend
//	R group 'T' day queue id 0 index sub TraceEvent
//	R group 'j' day term queue id        (events of that day are about an address or a Message-ID whose hash is the term)
//	R group 'u' index                    AuditEvent
//	R group 'Z' rule                     Rule
//	R group 'z' domain                   DomainRoute
//	L 'p'                                LogPosition
//	L 'a'                                (every live body must be fetched)
//	L 'i' index body                     (an inline body that may not be durable yet)
//	L 's'                                index up to which inline bodies are durable whatever L 'i' says
const (
	tabCluster     = 'C'
	tabServer      = 'S'
	tabInvite      = 'I'
	tabSecret      = 'K'
	tabSetting     = 'G'
	tabDomain      = 'D'
	tabAccount     = 'A'
	tabAddress     = 'N'
	tabCredential  = 'P'
	tabUsage       = 'U'
	tabMailbox     = 'M'
	tabName        = 'n'
	tabSubscribed  = 's'
	tabEntry       = 'e'
	tabChange      = 'q'
	tabEmail       = 'E'
	tabRefs        = 'r'
	tabTombstone   = 't'
	tabBody        = 'b'
	tabMissing     = 'x'
	tabIncarnation = 'p'
	tabResult      = 'o'
	tabQueued      = 'W'
	tabQueueEntry  = 'w'
	tabQueueID     = 'h'
	tabDue         = 'y'
	tabAttempting  = 'Y'
	tabResend      = 'd'
	tabTrace       = 'T'
	tabTraceTerm   = 'j'
	tabAudit       = 'u'
	tabRule        = 'Z'
	tabRoute       = 'z'
)

// group is the one group that there is.
const group = 0

var (
	keyPosition  = []byte("Lp")
	keyNeedsAll  = []byte("La")
	keySynced    = []byte("Ls")
	prefixInline = []byte("Li")
)

// key builds a replicated key from strings, byte slices and numbers.
func key(table byte, parts ...any) []byte {
	k := make([]byte, 0, 64)
	k = append(k, 'R', byte(group>>8), byte(group), table)
	for _, p := range parts {
		switch v := p.(type) {
		case string:
			k = append(k, v...)
		case []byte:
			k = append(k, v...)
		case uint64:
			k = binary.BigEndian.AppendUint64(k, v)
		case uint32:
			k = binary.BigEndian.AppendUint32(k, v)
		default:
			panic("state: a key part of an unknown type")
		}
	}
	return k
}

// after is the first key behind all that begin with prefix.
func after(prefix []byte) []byte {
	end := append([]byte{}, prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < math.MaxUint8 {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}

func entryKey(a uint64, m uint64, uid store.UID) []byte {
	return key(tabEntry, a, m, uint32(uid))
}

func changeKey(a, m, modseq uint64, uid store.UID) []byte {
	return key(tabChange, a, m, modseq, uint32(uid))
}

func inlineKey(index uint64, body []byte) []byte {
	k := binary.BigEndian.AppendUint64(append([]byte{}, prefixInline...), index)
	return append(k, body...)
}
