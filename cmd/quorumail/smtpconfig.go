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
		Counts: func() smtpd.Counts { return smtpCounts(listenerNames[mode], n.cfg.Limits.MaxConnections, lookup) }, Store: smtpStore{n.replica}, Resolver: n.directory, Auth: n.directory.SMTPAuth(),
		SpoolRoom: func() smtpd.SpoolRoom { return n.replica.NewRoom() },
		SpoolDir:  filepath.Join(n.cfg.DataDir, "blobs"), NewSummarizer: newSummarizer, Checks: &n.flow.checks,
		TrustedNetworks: func() []netip.Prefix { return config.SMTPTrustedNetworks.From(lookup) },
		QuotaGrace:      func() time.Duration { return config.DeliveryQuotaGrace.From(lookup) },
		VerifyForUsers:  func() bool { return config.SMTPVerifyForUsers.From(lookup) },
		GreetDelay:      func() time.Duration { return config.SMTPGreetDelay.From(lookup) },
		AccountRate:     n.accountRate(), AddressRate: n.addressRate(),
		Metrics: n.figures.smtp, Logger: n.log}
}

// listenerNames are the listeners' names in the configuration.
var listenerNames = map[smtpd.Mode]string{smtpd.MX: "smtp", smtpd.Submission: "submission", smtpd.Submissions: "submissions", smtpd.LMTP: "lmtp"}

// smtpCounts are a listener's limits as the settings say; most is how many connections the node itself bears.
func smtpCounts(listener string, most int, lookup config.Lookup) smtpd.Counts {
	of := func(s config.SettingOf[config.PerListener]) int { return s.From(lookup).Of(listener) }
	connections := of(config.SMTPMaxConnections)
	if connections == 0 {
		connections = most
	}
	return smtpd.Counts{Connections: min(connections, most), ConnectionsPerAddress: of(config.SMTPMaxConnectionsPerAddress),
		MessageBytes: config.SMTPMaxMessageBytes.From(lookup), Recipients: of(config.SMTPMaxRecipients), Commands: of(config.SMTPMaxCommands),
		Errors: of(config.SMTPMaxErrors), Unrecognised: of(config.SMTPMaxUnrecognised), FailedLogins: of(config.SMTPMaxFailedLogins)}
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
