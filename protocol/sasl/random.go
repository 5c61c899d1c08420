package sasl

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
)

// alphabet has 32 characters, and none that looks like another: no i, l, o, u.
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

const (
	appGroups, appGroupLetters = 5, 4 // 100 bits
	passwordLetters            = 20   // 100 bits
)

// NewAppPassword makes a password for one program, to be read from a screen and typed: five groups of four characters, "k3vd-0h2t-…", with
// 100 bits of randomness.
func NewAppPassword() string {
	groups := make([]string, appGroups)
	for i := range groups {
		groups[i] = randomLetters(appGroupLetters)
	}
	return strings.Join(groups, "-")
}

// NewPassword makes a password for a user: 20 characters, 100 bits of randomness.
func NewPassword() string { return randomLetters(passwordLetters) }

func randomLetters(n int) string {
	b := random(n)
	for i := range b {
		b[i] = alphabet[b[i]%byte(len(alphabet))] // 256 is a multiple of 32: every letter is as likely
	}
	return string(b)
}

// normalizeApp undoes what people do to such a password when they type it: capitals, spaces, missing or other hyphens, and the letters that
// the alphabet has not.
func normalizeApp(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case ' ', '-', '\u2010', '\u2011', '\u2013', '\u00a0':
			return -1
		case 'o':
			return '0'
		case 'i', 'l':
			return '1'
		}
		return r
	}, strings.ToLower(s))
}

const randomPrefix = "$sha256$"

// HashRandom makes the stored form of a password from [NewAppPassword]. One round of SHA-256 is enough, for its 100 bits cannot be guessed
// however fast one tries, and an account may have many of them, all to be tried at a login. It must not be used for a password that a
// person chose.
func HashRandom(password string) string {
	salt := random(saltBytes)
	sum := sumRandom(salt, password)
	return randomPrefix + base64.RawStdEncoding.EncodeToString(salt) + "$" + base64.RawStdEncoding.EncodeToString(sum[:])
}

func sumRandom(salt []byte, password string) [sha256.Size]byte {
	return sha256.Sum256(append(append([]byte{}, salt...), normalizeApp(password)...))
}

func verifyRandom(stored, password string) (bool, error) {
	salt64, sum64, ok := strings.Cut(strings.TrimPrefix(stored, randomPrefix), "$")
	salt, err := base64.RawStdEncoding.Strict().DecodeString(salt64)
	if !ok || err != nil || len(salt) < 8 {
		return false, fmt.Errorf("%w: sha256: unreadable salt", ErrStored)
	}
	want, err := base64.RawStdEncoding.Strict().DecodeString(sum64)
	if err != nil || len(want) != sha256.Size {
		return false, fmt.Errorf("%w: sha256: unreadable hash", ErrStored)
	}
	got := sumRandom(salt, password)
	return subtle.ConstantTimeCompare(got[:], want) == 1, nil
}
