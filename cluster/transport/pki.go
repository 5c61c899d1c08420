package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"
)

// nameSuffix makes a server id the DNS name in its certificate.
const nameSuffix = ".node.quorumail.internal"

// certificateLife is long: nothing may stop a cluster because a date passed, and a lost node is removed from the membership.
const certificateLife = 20 * 365 * 24 * time.Hour

// CA is the cluster's own certificate authority.
type CA struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority.
func NewCA(clusterName string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of the authority: %w", err)
	}
	tmpl := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: "Quorumail cluster " + clusterName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(certificateLife), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign the authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{cert, key}, nil
}

// ParseCA reads what PEM and KeyPEM wrote.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	cert, err := ParseCertificate(certPEM)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("the key of the authority is no PEM")
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the key of the authority: %w", err)
	}
	return &CA{cert, key}, nil
}

// PEM is the authority's certificate.
func (c *CA) PEM() []byte { return certPEM(c.Cert.Raw) }

// KeyPEM is its private key: whoever has it can make itself a node.
func (c *CA) KeyPEM() ([]byte, error) { return keyPEM(c.key) }

// Pin is the fingerprint that an invite carries.
func (c *CA) Pin() [32]byte { return sha256.Sum256(c.Cert.Raw) }

// NewKey makes a node's private key and a request to certify it.
func NewKey() (key, request []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make the node's key: %w", err)
	}
	request, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
	if err != nil {
		return nil, nil, fmt.Errorf("make the certificate request: %w", err)
	}
	key, err = keyPEM(k)
	return key, request, err
}

// SignNode certifies the key in request as the node id's.
func (c *CA) SignNode(request []byte, id string) ([]byte, error) {
	return c.sign(request, &x509.Certificate{Subject: pkix.Name{CommonName: id}, DNSNames: []string{id + nameSuffix},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
}

// SignServer certifies the key in request for mail clients that connect to one of hosts.
func (c *CA) SignServer(request []byte, hosts ...string) ([]byte, error) {
	t := &x509.Certificate{Subject: pkix.Name{CommonName: hosts[0]}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return c.sign(request, t)
}

func (c *CA) sign(request []byte, t *x509.Certificate) ([]byte, error) {
	req, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return nil, fmt.Errorf("read the certificate request: %w", err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check the certificate request: %w", err)
	}
	t.SerialNumber, t.NotBefore, t.NotAfter = serial(), time.Now().Add(-time.Hour), c.Cert.NotAfter
	t.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, t, c.Cert, req.PublicKey, c.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate: %w", err)
	}
	return certPEM(der), nil
}

// ParseCertificate reads one certificate in PEM.
func ParseCertificate(raw []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errors.New("the certificate is no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	return n
}

// peerID is the server id in a verified peer's certificate.
func peerID(cs tls.ConnectionState) (string, error) {
	if len(cs.PeerCertificates) == 0 {
		return "", errors.New("the peer showed no certificate")
	}
	return nodeID(cs.PeerCertificates[0])
}

// nodeID is the server id that a certificate names.
func nodeID(c *x509.Certificate) (string, error) {
	for _, n := range c.DNSNames {
		if id, ok := strings.CutSuffix(n, nameSuffix); ok {
			return id, nil
		}
	}
	return "", errors.New("the certificate names no node")
}
