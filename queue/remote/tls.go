package remote

import (
	"context"
	"crypto/tls"
	"strings"
)

// tlsState is what is known of a connection's TLS.
type tlsState struct {
	tls.ConnectionState
	verified bool // the peer is who it should be
}

func (t *tlsState) version() string {
	if t == nil {
		return ""
	}
	return tls.VersionName(t.Version)
}

// policyFor is what a host must meet. RFC 8689 §4.2.1 raises it where the message asks for TLS: STARTTLS, and a peer proven by its
// certificate or by DANE.
func policyFor(route Route, host Host, requireTLS bool) TLSPolicy {
	policy := host.TLS
	if policy == TLSDefault {
		policy = route.TLS
	}
	if policy == TLSDefault {
		policy = TLSMay
	}
	proven := policy == TLSVerify || policy == TLSImplicit || policy == TLSEncrypt && host.VerifyPeer != nil
	if requireTLS && !proven {
		return TLSVerify
	}
	return policy
}

// startTLS does what the policy says about STARTTLS (RFC 3207).
func (s *session) startTLS(ctx context.Context) error {
	policy := s.to.policy
	if policy == TLSNone || policy == TLSImplicit || s.to.clear {
		return nil
	}
	if !s.ext.starttls {
		if policy == TLSMay {
			return nil
		}
		return &tlsFailure{failure: *deferred(0, "4.7.4", "TLS is required, and the server does not offer it"), untrusted: true}
	}
	r, err := s.command(s.c.cfg.Timeouts.Mail, "STARTTLS")
	switch {
	case err != nil:
		return broken("STARTTLS", err)
	case r.code == 220:
	case policy == TLSMay && r.code != 421 && r.code >= 400: // RFC 3207 §4: the session goes on as it was
		return nil
	default:
		return &tlsFailure{failure: *answered("STARTTLS", r).temporary()}
	}
	if s.br.Buffered() > 0 {
		// RFC 3207 §6: what comes before the handshake could be anybody's, and would be taken for an answer given under TLS.
		return &tlsFailure{failure: *deferred(0, "4.7.0", "bytes after the answer to STARTTLS: somebody meddles with the connection")}
	}
	if err := s.handshake(ctx); err != nil {
		return err
	}
	return s.hello() // RFC 3207 §4.2: nothing learned before counts
}

// temporary makes a refusal one that may pass: what a server refuses as a whole need not be refused tomorrow.
func (f *failure) temporary() *failure {
	f.status = Deferred
	f.enhanced = "4" + f.enhanced[1:]
	return f
}

func (s *session) handshake(ctx context.Context) error {
	if err := s.deadline(s.c.cfg.Timeouts.Handshake); err != nil {
		return broken("TLS handshake", err)
	}
	conn := tls.Client(s.conn, s.tlsConfig())
	if err := conn.HandshakeContext(ctx); err != nil {
		return handshakeFailed(err)
	}
	s.use(conn)
	proven := s.to.policy == TLSVerify || s.to.policy == TLSImplicit || s.to.policy == TLSEncrypt && s.to.host.VerifyPeer != nil
	s.tls = &tlsState{ConnectionState: conn.ConnectionState(), verified: proven}
	return nil
}

func (s *session) tlsConfig() *tls.Config {
	cfg := &tls.Config{
		ServerName: strings.TrimSuffix(s.to.host.Name, "."),
		RootCAs:    s.c.cfg.RootCAs,
		MinVersion: tls.VersionTLS12,
	}
	switch s.to.policy {
	case TLSMay:
		cfg.MinVersion = tls.VersionTLS10 // still better than clear (RFC 7435 §3)
		cfg.InsecureSkipVerify = true
	case TLSEncrypt:
		cfg.InsecureSkipVerify = true
	}
	if verify := s.to.host.VerifyPeer; verify != nil {
		cfg.VerifyConnection = func(state tls.ConnectionState) error {
			if err := verify(state); err != nil {
				return &peerError{err}
			}
			return nil
		}
	}
	return cfg
}
