package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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

// freePorts is a [cluster] and a [listeners] table with ports that are free now.
func freePorts(t *testing.T) string {
	t.Helper()
	b := "[cluster]\n"
	for i, key := range []string{"listen", "gossip_listen", "smtp", "submission", "submissions", "imap", "imaps", "admin"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all stay open until the last is chosen, so that none comes twice
		if i == 2 {
			b += "[listeners]\n"
		}
		b += fmt.Sprintf("%s = %q\n", key, l.Addr())
	}
	return b
}

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// certificate writes name.crt and name.key.
func certificate(t *testing.T, dir, name, host string, until time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: now.Add(-time.Hour), NotAfter: until}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name+".crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	write(t, filepath.Join(dir, name+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What this machine lacks is said with the line that names it.
func TestCheckLooksAtTheMachine(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, "good", "mail1.example.test", now.Add(time.Hour))
	certificate(t, dir, "other", "mail1.example.test", now.Add(time.Hour))
	certificate(t, dir, "old", "mail1.example.test", now.Add(-time.Minute))
	certificate(t, dir, "foreign", "www.example.test", now.Add(time.Hour))
	write(t, filepath.Join(dir, "file"), "x")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	ports := freePorts(t)
	tls := func(cert, key string) string {
		return minimal + fmt.Sprintf("[tls]\ncert = %q\nkey = %q\n", cert, key) + ports
	}
	for _, tc := range []struct{ name, text, want string }{
		{"nothing wrong", minimal + ports, ""},
		{"a certificate", tls("good.crt", "good.key"), ""},
		{"data folder under a file", strings.Replace(minimal, `"data"`, `"file/data"`, 1) + ports, `node.toml:3: data_dir: ` + dir + `/file is not a folder`},
		{"data folder that is a file", strings.Replace(minimal, `"data"`, `"file"`, 1) + ports, `node.toml:3: data_dir: ` + dir + `/file is not a folder`},
		{"no certificate", tls("none.crt", "good.key"), `node.toml:5: tls.cert: there is no file ` + dir + `/none.crt`},
		{"no key", tls("good.crt", "none.key"), `node.toml:6: tls.key: there is no file ` + dir + `/none.key`},
		{"no PEM", tls("file", "good.key"), `node.toml:6: tls.key: ` + dir + `/file and ` + dir + `/good.key: failed to find any PEM data in certificate input: both must be PEM files, the certificate with its chain`},
		{"another's key", tls("good.crt", "other.key"), `node.toml:6: tls.key: ` + dir + `/good.crt and ` + dir + `/other.key: the key is not that of the certificate: name the two that were made together`},
		{"out of date", tls("old.crt", "old.key"), `node.toml:5: tls.cert: the certificate ran out on 2026-01-02: get a new one`},
		{"another name", tls("foreign.crt", "foreign.key"), `node.toml:5: tls.cert: the certificate is not for hostname, which is mail1.example.test; it is for www.example.test`},
		{"port taken", minimal + ports + fmt.Sprintf("metrics = %q\n", taken.Addr()), fmt.Sprintf("node.toml:14: listeners.metrics: %q is taken by another program: end that, or choose another port", taken.Addr())},
		{"foreign address", minimal + ports + "metrics = \"192.0.2.77:9100\"\n", `node.toml:14: listeners.metrics: "192.0.2.77:9100" is no address of this machine`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(dir, "node.toml")
			write(t, path, tc.text)
			err, got := Check(path, now), ""
			if err != nil {
				got = strings.ReplaceAll(err.Error(), path, "node.toml")
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestDataFolderThatCannotBeWritten(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "node.toml"), strings.Replace(minimal, `"data"`, `"locked/data"`, 1))
	if err := os.Mkdir(filepath.Join(dir, "locked"), 0o500); err != nil {
		t.Fatal(err)
	}
	if err := CheckFiles(filepath.Join(dir, "node.toml")); err == nil || !strings.Contains(err.Error(), "node.toml:3: data_dir: this user cannot write in ") {
		t.Errorf("got %v", err)
	}
}

// A node that runs has its own ports: that is no mistake.
func TestPortsOfTheRunningNodeAreItsOwn(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path := filepath.Join(dir, "node.toml")
	text := minimal + freePorts(t)
	at := strings.Index(text, "admin = ")
	write(t, path, text[:at]+fmt.Sprintf("admin = %q\n", l.Addr()))
	if err := Check(path, now); err == nil {
		t.Error("another program holds the port of the admin listener, and nothing is said")
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "data", "node.json"), "{}")
	if err := Check(path, now); err != nil {
		t.Error(err)
	}
}
