// Package remote hands one message to another mail server, and says precisely what became of each recipient.
package remote
