package cluster

import (
	"errors"
	"io"
)

// ServerID names a node. It lives in the node's data folder and dies with it.
type ServerID string

// The errors of Propose and ReadBarrier.
var (
	// ErrUnavailable: nothing was appended; try later.
	ErrUnavailable = errors.New("the cluster has no leader that answers")
	// ErrUnknownOutcome: it may have been appended.
	ErrUnknownOutcome = errors.New("the outcome is not known")
	// ErrBusy: too much is under way; nothing was appended.
	ErrBusy = busyError{}
)

type busyError struct{}

func (busyError) Error() string        { return "too many proposals are under way" }
func (busyError) Is(target error) bool { return target == ErrUnavailable }

// Server is a member.
type Server struct {
	ID      ServerID
	Address string
	Voter   bool
}

// Configuration is the membership as of the log entry at Index.
type Configuration struct {
	Index   uint64
	Servers []Server
}

// Position is how far a Machine is.
type Position struct {
	Index, Term   uint64
	Configuration Configuration
}

// Entry is one committed entry of the log. Command is nil for entries that only move the position.
type Entry struct {
	Index, Term   uint64
	Command       []byte
	Configuration *Configuration // set for a change of membership
}

// Machine is what the commands change.
type Machine interface {
	// Apply applies entries in order, in one step; entries at or below Position are skipped. An error ends the node.
	Apply(entries []Entry) error
	// Position is the zero value when nothing was applied yet.
	Position() Position
	// Persist makes durable everything applied when it was called.
	Persist() error
	// Checkpoint streams the whole state.
	Checkpoint() (Position, int64, io.ReadCloser, error)
	// Restore replaces the whole state; when it returns, that is durable.
	Restore(io.Reader) error
}
