package gossip

import (
	"encoding/json"
	"time"
)

// Health is what a node says of itself.
type Health struct {
	Version         string  `json:"version"`
	ClientAddresses string  `json:"clients,omitempty"` // where mail clients reach it, as it was configured
	Load            float64 `json:"load"`              // of its machine: processes that run or wait, for each processor
	Applied         uint64  `json:"applied"`           // index of the last log entry applied
	Ready           bool    `json:"ready"`
	NotReady        string  `json:"why,omitempty"`  // why not
	Keys            uint64  `json:"keys,omitempty"` // generation of the gossip keys in use
}

// beat is a Health with what tells older ones from newer ones.
type beat struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Run  uint64 `json:"run"`           // random, for each start of the node
	Seq  uint64 `json:"seq"`           // grows within a run
	Bye  bool   `json:"bye,omitempty"` // the last of its run
	Health
}

// Bounds of a beat, so that it fits into one datagram with room for others.
const (
	maxBeatBytes   = 1000
	maxReasonBytes = 200
	maxTextBytes   = 256
)

func (b beat) encode() ([]byte, error) {
	b.NotReady = b.NotReady[:min(len(b.NotReady), maxReasonBytes)]
	b.Version = b.Version[:min(len(b.Version), maxTextBytes)]
	b.ClientAddresses = b.ClientAddresses[:min(len(b.ClientAddresses), maxTextBytes)]
	return json.Marshal(b)
}

func decodeBeat(raw []byte) (b beat, ok bool) {
	if len(raw) > 2*maxBeatBytes || json.Unmarshal(raw, &b) != nil {
		return b, false
	}
	return b, b.ID != "" && len(b.ID) <= maxTextBytes && len(b.Name) <= maxTextBytes
}

// State is how alive a node seems to be.
type State string

// States of a node.
const (
	Unknown State = "unknown" // never heard of
	Alive   State = "alive"
	Suspect State = "suspect" // it does not answer, but may object
	Dead    State = "dead"
	Left    State = "left" // it said that it stops
)

// Member is a node as this one sees it.
type Member struct {
	ID    string
	Name  string
	State State
	Since time.Time // of the state
	Heard time.Time // when the newest beat came; zero if none did
	Health
}

// peer is what is known of a node. Its fields are guarded by Gossip.mu.
type peer struct {
	member  Member
	run     uint64
	seq     uint64
	bye     bool
	lastRun uint64 // the run before this one: its late beats are told from those of a new start
}

// newer notes a beat, unless it is older than what is known.
func (p *peer) newer(b beat, now time.Time) bool {
	switch {
	case b.Run == p.run:
		if b.Seq <= p.seq {
			return false
		}
	case b.Run == p.lastRun && p.run != 0:
		return false
	default:
		p.lastRun = p.run
	}
	p.run, p.seq, p.bye = b.Run, b.Seq, b.Bye
	p.member.Name, p.member.Health, p.member.Heard = b.Name, b.Health, now
	return true
}
