package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issue writes a certificate of its own CA's and its key into dir, each by renaming, and returns the certificate.
func issue(t *testing.T, dir string, serial int64) (der []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "mail.example.test"}, DNSNames: []string{"mail.example.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	if der, err = x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key); err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(dir, "mail.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	replace(t, filepath.Join(dir, "mail.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return der
}

func replace(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// shownCertificate is the certificate that a listener shows, after the lines that lead to TLS: each is sent when the line before was answered.
func shownCertificate(address string, lines ...string) ([]byte, error) {
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	r := bufio.NewReader(c)
	for i := 0; len(lines) > 0 && i <= len(lines); i++ {
		answer := "220-"
		for strings.HasPrefix(answer, "220-") || strings.HasPrefix(answer, "250-") || i > 0 && strings.HasPrefix(lines[0], "a ") && strings.HasPrefix(answer, "* ") {
			if answer, err = r.ReadString('\n'); err != nil {
				return nil, fmt.Errorf("%s: after %d lines: %w", address, i, err)
			}
		}
		if i < len(lines) {
			if _, err := c.Write([]byte(lines[i] + "\r\n")); err != nil {
				return nil, err
			}
		} else if !strings.HasPrefix(answer, "220 ") && !strings.HasPrefix(answer, "a OK") {
			return nil, fmt.Errorf("%s: STARTTLS was answered %q", address, answer)
		}
	}
	// The test looks at the certificate itself: nobody signed it.
	tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "mail.example.test"})
	if err := tc.Handshake(); err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return tc.ConnectionState().PeerCertificates[0].Raw, nil
}

func TestCertificateFilesAreServedAndReadAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real process; run without -short")
	}
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir, ip := t.TempDir(), loopback(t)
	first := issue(t, dir, 1)
	l := &lone{t: t, bin: bin, config: filepath.Join(dir, "node.toml"), dir: filepath.Join(dir, "data")}
	text := fmt.Sprintf(`name = "n1"
hostname = "mail.example.test"
data_dir = %q
[cluster]
listen = "%[2]s:7400"
advertise = "%[2]s:7400"
gossip_listen = "%[2]s:7401"
[listeners]
smtp = "%[2]s:2525"
submission = "%[2]s:2587"
submissions = "%[2]s:2465"
imap = "%[2]s:1143"
imaps = "%[2]s:1993"
admin = "%[2]s:7402"
[tls]
cert = %[3]q
key = %[4]q
[limits]
min_free_disk = "16MiB"
`, l.dir, ip, filepath.Join(dir, "mail.crt"), filepath.Join(dir, "mail.key"))
	if err := os.WriteFile(l.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.kill()
		if t.Failed() {
			t.Logf("the node said:\n%s", l.out.String())
		}
	})
	l.start("--init")
	ways := map[string]func() ([]byte, error){
		"IMAPS":                  func() ([]byte, error) { return shownCertificate(ip + ":1993") },
		"submissions":            func() ([]byte, error) { return shownCertificate(ip + ":2465") },
		"STARTTLS at IMAP":       func() ([]byte, error) { return shownCertificate(ip+":1143", "a STARTTLS") },
		"STARTTLS at submission": func() ([]byte, error) { return shownCertificate(ip+":2587", "EHLO test", "STARTTLS") },
		"STARTTLS at SMTP":       func() ([]byte, error) { return shownCertificate(ip+":2525", "EHLO test", "STARTTLS") },
	}
	everywhere := func(when string, want []byte) {
		t.Helper()
		for name, way := range ways {
			got, err := way()
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %s: another certificate, or none: %v", when, name, err)
			}
		}
	}
	for name, way := range ways {
		await(t, name+" serves", func() bool { _, err := way(); return err == nil })
	}
	everywhere("at the start", first)
	everywhere("after both files were replaced", issue(t, dir, 2))
	second := issue(t, dir, 3)
	everywhere("replaced once more", second)
	replace(t, filepath.Join(dir, "mail.crt"), []byte("no certificate"))
	everywhere("with a file that holds none", second)
	if err := os.Remove(filepath.Join(dir, "mail.crt")); err != nil {
		t.Fatal(err)
	}
	everywhere("without the file", second)
	everywhere("with a good one again", issue(t, dir, 4))
}
