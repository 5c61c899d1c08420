package store_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/store"
)

func TestBodyIDHexIsReadBack(t *testing.T) {
	digest := sha256.Sum256([]byte("hello"))
	nonce := [store.NonceBytes]byte{1, 2, 3, 4, 5, 6, 7, 255}
	id := store.NewBodyID(digest, nonce)
	back, err := store.ParseBodyID(id.String())
	if err != nil || back != id {
		t.Fatalf("ParseBodyID(%v) = %v, %v", id, back, err)
	}
	if back.Digest() != digest || back.Nonce() != nonce {
		t.Errorf("digest or nonce changed: %x %x", back.Digest(), back.Nonce())
	}
	if fromBytes, err := store.BodyIDFromBytes(id[:]); err != nil || fromBytes != id {
		t.Errorf("BodyIDFromBytes = %v, %v", fromBytes, err)
	}
}

func TestBodyIDRefusesOtherForms(t *testing.T) {
	for _, s := range []string{"", "00", strings.Repeat("g", 80), strings.Repeat("0", 79), strings.Repeat("0", 82)} {
		if _, err := store.ParseBodyID(s); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("ParseBodyID(%q): %v, want ErrInvalid", s, err)
		}
	}
	if _, err := store.BodyIDFromBytes(make([]byte, 39)); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("short bytes: %v, want ErrInvalid", err)
	}
}
