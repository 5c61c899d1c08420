package tlspolicy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quorumail/quorumail/queue/route"
	"github.com/quorumail/quorumail/queue/route/dns"
)

// Values of TLSA records (RFC 6698 §2.1).
const (
	daneTA, daneEE       = 2, 3
	wholeCert, publicKey = 0, 1
	full, sha2256        = 0, 1
	sha2512              = 2
)

var (
	// ErrDANEUnusable: there is no record that says something here: see [CanVerifyDANE].
	ErrDANEUnusable = errors.New("no TLSA record can be used")
	// ErrDANEMismatch: this is not the host that the records speak of. No mail may go there.
	ErrDANEMismatch = errors.New("the certificate is none of those that the TLSA records name")
)

// TLSARecords finds what the DNS says of the certificate of a host. None means that DANE does not apply: the host's names and addresses are not
// authentic, or there are no records, or they are not authentic (RFC 7672 §2.2). An error wraps [dns.ErrTemporary] and means that this is not
// known, so that no mail may go to this host now (RFC 7672 §2.1.2): an attacker could keep the records back.
func TLSARecords(ctx context.Context, r dns.Resolver, h route.Host) ([]dns.TLSA, error) {
	if !h.Authentic || len(h.Addrs) == 0 {
		return nil, nil
	}
	answer, err := r.LookupTLSA(ctx, h.Addrs[0].Port(), h.Name)
	switch {
	case errors.Is(err, dns.ErrTemporary):
		return nil, err
	case err != nil, !answer.Authentic:
		return nil, nil
	}
	return answer.Records, nil
}

// CanVerifyDANE says whether any of the records can be used. If none can, and there are some, the connection must be encrypted all the same,
// whoever is there (RFC 7672 §2.2).
func CanVerifyDANE(records []dns.TLSA) bool { return len(usable(records)) > 0 }

// record is a TLSA record and what it says.
type record dns.TLSA

func usable(records []dns.TLSA) (list []record) {
	for _, r := range records {
		if r := record(r); r.usable() {
			list = append(list, r)
		}
	}
	return list
}

// VerifyDANE says whether a TLSA record vouches for a host: chain is what the host sent, its own certificate first, and names are those that
// DANE-TA certificates may have, the host's and the MXDomain of its [route.Plan] (RFC 7672 §3.2.2). The error wraps [ErrDANEUnusable] or
// [ErrDANEMismatch].
func VerifyDANE(records []dns.TLSA, chain []*x509.Certificate, names []string, now time.Time) error {
	list := strongest(usable(records))
	switch {
	case len(list) == 0:
		return ErrDANEUnusable
	case len(chain) == 0:
		return fmt.Errorf("%w: there is none", ErrDANEMismatch)
	}
	err := error(ErrDANEMismatch)
	for _, r := range list {
		// RFC 7672 §3.1.1: for DANE-EE, neither names nor dates count.
		if r.Usage == daneEE && r.matches(chain[0]) {
			return nil
		}
		if r.Usage == daneTA {
			trouble := r.vouches(chain, names, now)
			if trouble == nil {
				return nil
			}
			err = fmt.Errorf("%w: %w", ErrDANEMismatch, trouble)
		}
	}
	return err
}

// usable: RFC 7672 §3.1.3, PKIX-TA and PKIX-EE mean nothing between mail hosts, since there is no set of authorities that all trust. Values
// that nobody knows, and data that cannot be, make a record unusable, too (RFC 7671 §4.1, §10.1.1).
func (r record) usable() bool {
	if r.Usage != daneTA && r.Usage != daneEE {
		return false
	}
	if r.Selector != wholeCert && r.Selector != publicKey {
		return false
	}
	switch r.Matching {
	case sha2256:
		return len(r.Data) == sha256.Size
	case sha2512:
		return len(r.Data) == sha512.Size
	case full:
		_, err := r.parse()
		return err == nil
	}
	return false
}

// parse reads the data of a record that has all of it: a certificate, or one that has nothing but the public key.
func (r record) parse() (*x509.Certificate, error) {
	if r.Selector == wholeCert {
		return x509.ParseCertificate(r.Data)
	}
	key, err := x509.ParsePKIXPublicKey(r.Data)
	return &x509.Certificate{PublicKey: key}, err
}

// strongest: RFC 7671 §9, of records with the same usage and selector that differ in their digest, the strongest kind counts alone, lest the
// weakest decide.
func strongest(records []record) []record {
	return slices.DeleteFunc(slices.Clone(records), func(r record) bool {
		return r.Matching == sha2256 && slices.ContainsFunc(records, func(other record) bool {
			return other.Matching == sha2512 && other.Usage == r.Usage && other.Selector == r.Selector
		})
	})
}

// matches: RFC 6698 §2.1.2, §2.1.3.
func (r record) matches(cert *x509.Certificate) bool {
	data := cert.Raw
	if r.Selector == publicKey {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case sha2256:
		sum := sha256.Sum256(data)
		return bytes.Equal(sum[:], r.Data)
	case sha2512:
		sum := sha512.Sum512(data)
		return bytes.Equal(sum[:], r.Data)
	}
	return bytes.Equal(data, r.Data)
}

// vouches: RFC 7671 §5.2, a chain of certificates, all in force, must lead from the host's to the record's, and the former be for one of the
// names.
func (r record) vouches(chain []*x509.Certificate, names []string, now time.Time) error {
	anchors, others := r.anchors(chain)
	if len(anchors) == 0 {
		return errors.New("the trust anchor is not in the chain")
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now}
	for _, c := range anchors {
		options.Roots.AddCert(c)
	}
	for _, c := range others {
		options.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(options); err != nil {
		return err
	}
	return forOne(chain[0], names)
}

// anchors finds the certificates that the record makes trustworthy: those of the chain above the host's own that match; the record's own, which
// hosts may leave out when the record has all of it; and what was signed with its key, if it has nothing else (RFC 7671 §5.2.2, §5.2.3).
func (r record) anchors(chain []*x509.Certificate) (anchors, others []*x509.Certificate) {
	var held *x509.Certificate
	if r.Matching == full {
		held, _ = r.parse() // usable has seen that this works
	}
	for i, c := range chain {
		if i > 0 && r.matches(c) || held != nil && r.Selector == publicKey && held.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil {
			anchors = append(anchors, c)
		} else if i > 0 {
			others = append(others, c)
		}
	}
	if held != nil && r.Selector == wholeCert {
		anchors = append(anchors, held)
	}
	return anchors, others
}

// forOne: RFC 7672 §3.2.2.
func forOne(cert *x509.Certificate, names []string) error {
	err := errors.New("no name to look for")
	for _, name := range names {
		if err = cert.VerifyHostname(name); err == nil {
			return nil
		}
	}
	return err
}
