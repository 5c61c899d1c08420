package gossip

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// keyBytes makes AES-256.
const keyBytes = 32

// maxKeys bounds the keys in use at once: the present one, and during a rotation the next.
const maxKeys = 4

// Keys are the secrets of the cluster's gossip. Messages are encrypted with the first; any of them opens a message.
type Keys struct {
	// Generation grows with every change, so that a node can tell which step of a rotation it has taken.
	Generation uint64   `json:"generation"`
	Keys       [][]byte `json:"keys"`
	// Used tells, while there are several keys, that the newest is the first already.
	Used bool `json:"used,omitempty"`
}

func newKey() []byte {
	k := make([]byte, keyBytes)
	_, _ = rand.Read(k) // never fails: crypto/rand ends the program instead
	return k
}

// NewKeys makes the first key of a cluster.
func NewKeys() Keys { return Keys{Generation: 1, Keys: [][]byte{newKey()}} }

// The three steps of a rotation. All nodes must have taken one before the next begins, or some could not read others: Install makes a new
// key known, Use encrypts with it, Drop forgets the others. Rotating and Used tell which step is next.

// Install adds a new key that nobody encrypts with yet.
func (k Keys) Install() Keys {
	return Keys{Generation: k.Generation + 1, Keys: append(slices.Clone(k.Keys[:1]), newKey())}
}

// Use makes the newest key the one to encrypt with.
func (k Keys) Use() Keys {
	last := len(k.Keys) - 1
	return Keys{Generation: k.Generation + 1, Keys: [][]byte{k.Keys[last], k.Keys[0]}, Used: true}
}

// Drop forgets all keys but the one to encrypt with.
func (k Keys) Drop() Keys { return Keys{Generation: k.Generation + 1, Keys: slices.Clone(k.Keys[:1])} }

// Rotating tells whether a rotation was begun and not ended.
func (k Keys) Rotating() bool { return len(k.Keys) > 1 }

// Marshal encodes the keys as ParseKeys reads them.
func (k Keys) Marshal() ([]byte, error) { return json.Marshal(k) }

// ParseKeys reads what Marshal wrote.
func ParseKeys(raw []byte) (Keys, error) {
	var k Keys
	if err := json.Unmarshal(raw, &k); err != nil {
		return k, fmt.Errorf("read the keys of the gossip: %w", err)
	}
	return k, k.check()
}

func (k Keys) check() error {
	if len(k.Keys) == 0 || len(k.Keys) > maxKeys {
		return fmt.Errorf("%d keys for the gossip", len(k.Keys))
	}
	for _, key := range k.Keys {
		if len(key) != keyBytes {
			return errors.New("a key of the gossip has the wrong length")
		}
	}
	return nil
}
