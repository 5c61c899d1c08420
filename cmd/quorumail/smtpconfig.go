package main

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/protocol/smtp/smtpd"
)

// smtpConfig says how a listener for mail behaves. What is a setting is asked for each time.
func (n *node) smtpConfig(mode smtpd.Mode, tc *tls.Config) smtpd.Config {
	lookup := n.directory.Lookup
	return smtpd.Config{Mode: mode, Hostname: n.cfg.Hostname, Node: n.cfg.Name, TLS: tc, AllowPlainAuth: n.cfg.InsecureLoopbackAuth,
		Limits: smtpd.Limits{Connections: n.cfg.Limits.MaxConnections}, Store: smtpStore{n.replica}, Resolver: n.directory, Auth: n.directory.SMTPAuth(),
		SpoolDir: filepath.Join(n.cfg.DataDir, "blobs"), NewSummarizer: newSummarizer, Checks: &n.flow.checks,
		MaxRecipients:   func() int { return config.SMTPMaxRecipients.From(lookup) },
		MaxMessageBytes: func() int64 { return config.SMTPMaxMessageBytes.From(lookup) },
		TrustedNetworks: func() []netip.Prefix { return config.SMTPTrustedNetworks.From(lookup) },
		QuotaGrace:      func() time.Duration { return config.DeliveryQuotaGrace.From(lookup) },
		VerifyForUsers:  func() bool { return config.SMTPVerifyForUsers.From(lookup) },
		GreetDelay:      func() time.Duration { return config.SMTPGreetDelay.From(lookup) },
		AccountRate:     n.accountRate(), AddressRate: n.addressRate(),
		Metrics: n.figures.smtp, Logger: n.log}
}

// saltKey is a secret that every node has, made from the key of the cluster's CA, which it does not give away.
func (n *node) saltKey() ([]byte, error) {
	v := n.replica.View()
	defer v.Close()
	key, err := v.Secret(secretCAKey)
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, key, nil, "quorumail scram salts 1", sha256.Size)
}
