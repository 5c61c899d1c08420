package tlspolicy_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// certTime lies within the time of all certificates but those that a test changes.
var certTime = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// issue makes a certificate, by its own key when parent is nil; change may alter what is signed.
func issue(t *testing.T, parent *authority, change func(*x509.Certificate)) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: serial.String()}, NotBefore: certTime.AddDate(-1, 0, 0), NotAfter: certTime.AddDate(50, 0, 0)}
	if change != nil {
		change(template)
	}
	signer, signed := crypto.Signer(key), template
	if parent != nil {
		signer, signed = parent.key, parent.cert
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, signed, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key}
}

func isCA(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
}

func named(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = names }
}

func (a *authority) tls() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{a.cert.Raw}, PrivateKey: a.key, Leaf: a.cert}
}
