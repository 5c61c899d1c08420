package dkim

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
)

// Record is the TXT record that makes a key known.
type Record struct {
	// Name is the full name of the record, without a dot at its end.
	Name string
	// Value is its text in one piece, for forms that split it themselves.
	Value string
}

// Record returns the record of the key's public half (RFC 6376 §3.6.1, RFC 8463 §4). Errors wrap [ErrKey].
func (k Key) Record() (Record, error) {
	signer, err := k.signer()
	if err != nil {
		return Record{}, err
	}
	// An RSA key stands there as SubjectPublicKeyInfo, an Ed25519 key as its 32 bytes.
	public, ok := signer.Public().(ed25519.PublicKey)
	der := []byte(public)
	if !ok {
		if der, err = x509.MarshalPKIXPublicKey(signer.Public()); err != nil {
			return Record{}, fmt.Errorf("%w: %s: %w", ErrKey, k.name(), err)
		}
	}
	return Record{
		Name:  k.name(),
		Value: "v=DKIM1; k=" + string(k.Algorithm) + "; p=" + base64.StdEncoding.EncodeToString(der),
	}, nil
}

// maxString is how long one string of a TXT record can be (RFC 1035 §3.3.14).
const maxString = 255

// Strings is the value in strings that fit into a TXT record. Verifiers join them without anything between (RFC 6376 §3.6.2.2).
func (r Record) Strings() []string {
	var out []string
	for rest := r.Value; rest != ""; {
		n := min(len(rest), maxString)
		out, rest = append(out, rest[:n]), rest[n:]
	}
	return out
}

// Zone is the record as a zone file has it, on as many lines as there are strings.
func (r Record) Zone() string {
	return r.Name + ". IN TXT ( \"" + strings.Join(r.Strings(), "\"\n\t\"") + "\" )\n"
}
