package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// BodyIDBytes is the length of a BodyID.
const BodyIDBytes = sha256.Size + NonceBytes

// NonceBytes is the length of the nonce in a BodyID.
const NonceBytes = 8

// BodyID names one stored copy-set of a message body: the SHA-256 of the uncompressed bytes, then a nonce of the transaction that
// brought them. The nonce keeps two transactions with the same bytes apart, so that the fate of one never decides over the other.
type BodyID [BodyIDBytes]byte

// NewBodyID joins a digest and a nonce.
func NewBodyID(digest [sha256.Size]byte, nonce [NonceBytes]byte) BodyID {
	var id BodyID
	copy(id[:], digest[:])
	copy(id[sha256.Size:], nonce[:])
	return id
}

// ParseBodyID reads the hexadecimal form that String writes. The error wraps ErrInvalid.
func ParseBodyID(s string) (BodyID, error) {
	var id BodyID
	if len(s) != hex.EncodedLen(BodyIDBytes) {
		return BodyID{}, fmt.Errorf("body id of %d characters, want %d: %w", len(s), hex.EncodedLen(BodyIDBytes), ErrInvalid)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return BodyID{}, fmt.Errorf("body id %q: %w", s, ErrInvalid)
	}
	return id, nil
}

// BodyIDFromBytes reads the binary form, as commands and keys carry it. The error wraps ErrInvalid.
func BodyIDFromBytes(b []byte) (BodyID, error) {
	if len(b) != BodyIDBytes {
		return BodyID{}, fmt.Errorf("body id of %d bytes, want %d: %w", len(b), BodyIDBytes, ErrInvalid)
	}
	return BodyID(b), nil
}

// String is the id in lower-case hexadecimal.
func (id BodyID) String() string { return hex.EncodeToString(id[:]) }

// Digest is the SHA-256 of the uncompressed body.
func (id BodyID) Digest() [sha256.Size]byte { return [sha256.Size]byte(id[:sha256.Size]) }

// Nonce tells apart the transactions that brought the same bytes.
func (id BodyID) Nonce() [NonceBytes]byte { return [NonceBytes]byte(id[sha256.Size:]) }

// IsZero tells whether this is no id at all.
func (id BodyID) IsZero() bool { return id == BodyID{} }
