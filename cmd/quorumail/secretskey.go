package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/durable"
)

// Secrets that others give us or that others trust (keys for DKIM, passwords of smarthosts) are sealed before they are replicated: with
// AES-256-GCM, under one key of the cluster's that stands in the data folder of each node and is never in the replicated state, nor in backups.

// secretsKeyFile is the key's file in the data folder: 32 bytes, for the node's user alone.
const secretsKeyFile = "secrets.key"

const (
	secretsKeyBytes = 32
	keyIDBytes      = 8
	// sealedFormat begins what is sealed; behind it the key's id, the nonce, and the text with its tag.
	sealedFormat = 1
)

var (
	errNoSecretsKey    = errors.New("this node does not have the cluster's " + secretsKeyFile)
	errOtherSecretsKey = errors.New("it was sealed under another " + secretsKeyFile)
)

// keyMaterial is a key, ready for use.
type keyMaterial struct {
	raw  []byte
	id   [keyIDBytes]byte
	aead cipher.AEAD
}

func newKeyMaterial(raw []byte) (*keyMaterial, error) {
	if len(raw) != secretsKeyBytes {
		return nil, fmt.Errorf("a %s of %d bytes, want %d: %w", secretsKeyFile, len(raw), secretsKeyBytes, store.ErrInvalid)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte("id of secrets.key"))
	return &keyMaterial{raw: raw, id: [keyIDBytes]byte(mac.Sum(nil)), aead: aead}, nil
}

func randomKey() []byte {
	raw := make([]byte, secretsKeyBytes)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	return raw
}

// idHex is the key's id, which may be shown: it says nothing of the key.
func (k *keyMaterial) idHex() string { return hex.EncodeToString(k.id[:]) }

// seal encrypts a secret under a name, without which it is not opened: no secret can be passed off as another.
func (k *keyMaterial) seal(name string, secret []byte) []byte {
	out := append([]byte{sealedFormat}, k.id[:]...)
	nonce := make([]byte, k.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails, as above
	return k.aead.Seal(append(out, nonce...), nonce, secret, []byte(name))
}

// open decrypts what was sealed under a name. errOtherSecretsKey; any other error means damage.
func (k *keyMaterial) open(name string, sealed []byte) ([]byte, error) {
	head := 1 + keyIDBytes
	if len(sealed) < head+k.aead.NonceSize() || sealed[0] != sealedFormat {
		return nil, fmt.Errorf("open secret %s: it is damaged, or of another program", name)
	}
	if id := [keyIDBytes]byte(sealed[1:head]); id != k.id {
		return nil, fmt.Errorf("open secret %s: %w (%x; this one is %s)", name, errOtherSecretsKey, id, k.idHex())
	}
	nonce, text := sealed[head:head+k.aead.NonceSize()], sealed[head+k.aead.NonceSize():]
	secret, err := k.aead.Open(nil, nonce, text, []byte(name))
	if err != nil {
		return nil, fmt.Errorf("open secret %s: %w", name, err)
	}
	return secret, nil
}

// secretsKey is the cluster's key as this node has it: none at first, until it is known to be the right one.
type secretsKey struct {
	key atomic.Pointer[keyMaterial]
}

func (s *secretsKey) material() (*keyMaterial, error) {
	if k := s.key.Load(); k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("%w (it asks the other nodes for it; \"quorumail status\" says what is in the way): %w", errNoSecretsKey, store.ErrUnavailable)
}

// seal encrypts a secret for the replicated state. store.ErrUnavailable while this node does not have the key.
func (s *secretsKey) seal(name string, secret []byte) ([]byte, error) {
	k, err := s.material()
	if err != nil {
		return nil, err
	}
	return k.seal(name, secret), nil
}

// open decrypts a secret of the replicated state. store.ErrUnavailable while this node does not have the key; errOtherSecretsKey.
func (s *secretsKey) open(name string, sealed []byte) ([]byte, error) {
	k, err := s.material()
	if err != nil {
		return nil, err
	}
	return k.open(name, sealed)
}

// readSecretsKey reads the key of a data folder; nil when there is none.
func readSecretsKey(dataDir string) (*keyMaterial, error) {
	raw, err := os.ReadFile(filepath.Join(dataDir, secretsKeyFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the cluster's key: %w", err)
	}
	return newKeyMaterial(raw)
}

// writeSecretsKey keeps a key in a data folder. One that is there already is put aside, not lost.
func writeSecretsKey(dataDir string, raw []byte) error {
	path := filepath.Join(dataDir, secretsKeyFile)
	switch old, err := os.ReadFile(path); {
	case err == nil && string(old) == string(raw):
		return nil
	case err == nil:
		if err := durable.Rename(path, path+".replaced"); err != nil {
			return fmt.Errorf("put the former %s aside: %w", secretsKeyFile, err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("read the cluster's key: %w", err)
	}
	return durable.WriteFile(path, raw, 0o600)
}

// makeSecretsKey makes a key where there is none.
func makeSecretsKey(dataDir string) error {
	if k, err := readSecretsKey(dataDir); err != nil || k != nil {
		return err
	}
	return writeSecretsKey(dataDir, randomKey())
}
