// Package store holds the nouns of the mail system: the identifiers, the messages, mailboxes and accounts, the commands that change
// them, and the short list of errors that callers act on.
//
// It does no I/O and imports nothing of ours but its own wire form, package storepb. Commands travel through the replicated log as
// storepb.Command; store/state says what each one does, and store/replica proposes them.
package store
