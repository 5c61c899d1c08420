package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// Algorithm is the kind of a key, as k= of its record has it.
type Algorithm string

const (
	// RSA signs as rsa-sha256, which all verifiers know.
	RSA Algorithm = "rsa"
	// Ed25519 signs as ed25519-sha256 (RFC 8463).
	Ed25519 Algorithm = "ed25519"
)

const (
	rsaBits    = 2048 // RFC 8301 §3.2; larger ones make records that do not fit everywhere
	minRSABits = 1024 // the same section: what is shorter is not verified
)

// ErrKey is wrapped by errors about keys.
var ErrKey = errors.New("bad DKIM key")

// Key is one signing key of a domain.
type Key struct {
	// Domain is whose mail it signs, with A-labels (RFC 6376 §3.5, d=).
	Domain string
	// Selector tells it from other keys of the domain: one or more labels, "qm2026a" for instance.
	Selector string
	// Algorithm is what the private key is for.
	Algorithm Algorithm
	// Private is the private key in PKCS #8, DER. It is a secret.
	Private []byte
}

// GenerateRSA makes a key of 2048 bits, which takes a good part of a second. Errors wrap [ErrKey].
func GenerateRSA(domain, selector string) (Key, error) {
	private, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return Key{}, fmt.Errorf("%w: generate: %w", ErrKey, err)
	}
	return newKey(domain, selector, RSA, private)
}

// GenerateEd25519 makes a key. Errors wrap [ErrKey].
func GenerateEd25519(domain, selector string) (Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Key{}, fmt.Errorf("%w: generate: %w", ErrKey, err)
	}
	return newKey(domain, selector, Ed25519, private)
}

func newKey(domain, selector string, algorithm Algorithm, private crypto.PrivateKey) (Key, error) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	ascii, err := asciiDomain(domain)
	if err != nil {
		return Key{}, err
	}
	k := Key{Domain: ascii, Selector: selector, Algorithm: algorithm, Private: der}
	return k, k.checkNames()
}

func asciiDomain(domain string) (string, error) {
	parsed, err := smtp.ParseDomain(domain)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	ascii, err := smtp.ASCIIDomain(parsed)
	if err != nil || strings.HasPrefix(ascii, "[") {
		return "", fmt.Errorf("%w: %q is no domain name", ErrKey, domain)
	}
	return ascii, nil
}

// checkNames: RFC 6376 §3.1, a selector is sub-domains.
func (k Key) checkNames() error {
	selector, err := asciiDomain(k.Selector)
	if err != nil || selector != k.Selector {
		return fmt.Errorf("%w: selector %q: labels of small letters, digits and hyphens are needed", ErrKey, k.Selector)
	}
	if domain, err := asciiDomain(k.Domain); err != nil || domain != k.Domain {
		return fmt.Errorf("%w: domain %q: a domain name in small letters with A-labels is needed", ErrKey, k.Domain)
	}
	if name := k.name(); len(name) > smtp.MaxDomainBytes {
		return fmt.Errorf("%w: %q is too long for the DNS", ErrKey, name)
	}
	return nil
}

// name is where the record stands (RFC 6376 §3.6.2.1).
func (k Key) name() string { return k.Selector + "._domainkey." + k.Domain }

// signer reads the private key.
func (k Key) signer() (crypto.Signer, error) {
	if err := k.checkNames(); err != nil {
		return nil, err
	}
	private, err := x509.ParsePKCS8PrivateKey(k.Private)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKey, k.name(), err)
	}
	switch p := private.(type) {
	case *rsa.PrivateKey:
		if k.Algorithm == RSA && p.N.BitLen() >= minRSABits {
			return p, nil
		}
	case ed25519.PrivateKey:
		if k.Algorithm == Ed25519 {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%w: %s: the private key is not for %s of at least %d bits", ErrKey, k.name(), k.Algorithm, minRSABits)
}

// String names the key, without its secret.
func (k Key) String() string { return k.name() + " (" + string(k.Algorithm) + ")" }

// GoString is String, so that no format shows the secret.
func (k Key) GoString() string { return k.String() }

// LogValue is String, so that no log shows the secret.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }
