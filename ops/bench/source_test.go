package bench

import (
	"fmt"
	"slices"
	"testing"
)

func TestMessagesAreTheSameWhetherMadeAheadOrNot(t *testing.T) {
	p := plan{clients: 3, messages: 10, sizeBytes: 2 << 10, seed: 5, aheadBytes: 1 << 20, route: func(client, seq int) (string, string) {
		return "a@example.test", fmt.Sprintf("c%d.m%d@example.test", client, seq)
	}}
	var ahead []string
	seen := map[string]bool{}
	for i, s := range p.sources() {
		for seq := i; seq < p.messages; seq += p.clients {
			m := string(s.next())
			ahead = append(ahead, m)
			if seen[m] {
				t.Errorf("message %d came before", seq)
			}
			seen[m] = true
		}
		if len(s.ready) != 0 {
			t.Errorf("client %d has %d messages too many", i, len(s.ready))
		}
	}
	var made []string
	p.aheadBytes = 1
	for i, s := range p.sources() {
		if len(s.ready) != 0 {
			t.Error("made ahead without room")
		}
		for seq := i; seq < p.messages; seq += p.clients {
			made = append(made, string(s.next()))
		}
	}
	if !slices.Equal(ahead, made) {
		t.Error("the same seed gave other messages")
	}
}
