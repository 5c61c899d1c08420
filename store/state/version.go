package state

import (
	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store/storepb"
)

// Versions of the format of commands. 1: accounts, mailboxes and messages. 2: queues, traces, rules and routes, and messages that are
// remembered for clients which send them again.

// Needs is the lowest version of commands that one is part of.
func Needs(c *storepb.Command) uint32 {
	switch op := c.Op.(type) {
	case *storepb.Command_AddMessage:
		if a := op.AddMessage; len(a.Queued) > 0 || a.Envelope != nil || len(a.ResendKey) > 0 || a.Origin != nil || len(a.Ends) > 0 {
			return 2
		}
	case *storepb.Command_QueueAttempt, *storepb.Command_QueueOutcomes, *storepb.Command_QueueRoute, *storepb.Command_QueuePlace, *storepb.Command_QueueAdmin,
		*storepb.Command_QueueHandOver, *storepb.Command_PutRule, *storepb.Command_RemoveRule, *storepb.Command_PutRoute, *storepb.Command_RemoveRoute, *storepb.Command_RemoveSecret:
		return 2
	}
	return 1
}

// Plain is a message as version 1 knows it, without what can be left out: while a cluster is being upgraded, mail for its own mailboxes goes
// on. False: it cannot be said so.
func Plain(op *storepb.AddMessage) (*storepb.AddMessage, bool) {
	plain := &storepb.AddMessage{Body: op.Body, Summary: op.Summary, QueueId: op.QueueId, EnvelopeFrom: op.EnvelopeFrom}
	for _, t := range op.Targets {
		target := proto.CloneOf(t)
		target.Recipient = ""
		plain.Targets = append(plain.Targets, target)
	}
	return plain, len(op.Queued) == 0 && len(op.Ends) == 0
}
