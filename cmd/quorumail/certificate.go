package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// certificateFiles is the certificate for mail clients that the configuration names. It is read again when a file has changed, at the
// first handshake after that: whatever renews it need not start the node again.
type certificateFiles struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex
	shown  *tls.Certificate // guarded by mu
	of     [2]fileMark      // the files that shown was read from; guarded by mu
	failed [2]fileMark      // the files that could not be used and of which the log tells already; guarded by mu
}

// fileMark tells versions of a file apart.
type fileMark struct {
	modified time.Time
	bytes    int64
	inode    uint64
}

// newCertificateFiles reads the files, which must hold a certificate and its key.
func newCertificateFiles(cert, key string, log *slog.Logger) (*certificateFiles, error) {
	c := &certificateFiles{cert: cert, key: key, log: log}
	marks, err := c.marks()
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s: %w", cert, err)
	}
	c.shown, c.of = &pair, marks
	return c, nil
}

// inode tells a file that was renamed into place apart from one that was changed within the clock's grain.
func inode(info os.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}

func (c *certificateFiles) marks() (m [2]fileMark, err error) {
	for i, path := range []string{c.cert, c.key} {
		info, err := os.Stat(path)
		if err != nil {
			return m, fmt.Errorf("look at the certificate: %w", err)
		}
		m[i] = fileMark{modified: info.ModTime(), bytes: info.Size(), inode: inode(info)}
	}
	return m, nil
}

// get is a tls.Config's GetCertificate. While the files cannot be used, perhaps because only one of them has been replaced yet, the certificate
// from before is shown.
func (c *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	marks, err := c.marks()
	if err == nil && marks == c.of {
		return c.shown, nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(c.cert, c.key)
	}
	if err != nil {
		if marks != c.failed {
			c.log.Error("the changed certificate cannot be used, the one from before is shown on", "pkg", "main", "file", c.cert, "err", err)
			c.failed = marks
		}
		return c.shown, nil
	}
	c.shown, c.of, c.failed = &pair, marks, [2]fileMark{}
	c.log.Info("the certificate for mail clients was read again", "pkg", "main", "file", c.cert)
	return c.shown, nil
}
