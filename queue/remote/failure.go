package remote

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
)

// failure is why a host, a transaction or a recipient got no further. As an error it is one of a host: the next may do better.
type failure struct {
	status   Status
	code     int
	local    bool
	enhanced string
	text     string
	noWay    bool // this machine has no way to such addresses, as where it speaks one family alone
	message  bool // it concerns this message or its sender, and not whoever else has mail for the host
}

func (f *failure) Error() string {
	if f.code == 0 {
		return f.text
	}
	return fmt.Sprintf("%d %s %s", f.code, f.enhanced, f.text)
}

// answered is the failure that a reply tells. What is neither success nor an error breaks the protocol, and lasts no longer than its server.
func answered(step string, r reply) *failure {
	switch r.code / 100 {
	case 5:
		return &failure{status: Failed, code: r.code, enhanced: r.enhanced, text: r.text}
	case 4:
		return &failure{status: Deferred, code: r.code, enhanced: r.enhanced, text: r.text}
	}
	return deferred(0, "4.5.0", fmt.Sprintf("unexpected answer to %s: %d %s", step, r.code, r.text))
}

// deferred and refused are our own judgement.
func deferred(code int, enhanced, text string) *failure {
	return &failure{status: Deferred, code: code, local: true, enhanced: enhanced, text: shown(text, maxText)}
}

func refused(code int, enhanced, text string) *failure {
	return &failure{status: Failed, code: code, local: true, enhanced: enhanced, text: shown(text, maxText)}
}

// ofMessage marks a failure that says nothing of other messages.
func (f *failure) ofMessage() *failure {
	f.message = true
	return f
}

// broken is what a failed read or write means. RFC 3463 §3.5: X.4.2 is a bad connection.
func broken(step string, err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var timeout net.Error
	switch {
	case errors.Is(err, errReply):
		return deferred(0, "4.5.0", fmt.Sprintf("%s: %v", step, err))
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return deferred(0, "4.4.2", step+": no answer in time")
	}
	return deferred(0, "4.4.2", fmt.Sprintf("%s: connection lost: %v", step, err))
}

// tlsFailure is a failure that a connection in clear would not have.
type tlsFailure struct {
	failure
	untrusted bool // the peer is not who it should be, and would not be so in a minute
}

func (f *tlsFailure) Unwrap() error { return &f.failure }

func handshakeFailed(err error) *tlsFailure {
	var cert *tls.CertificateVerificationError
	var peer *peerError
	f := &tlsFailure{failure: *deferred(0, "4.7.5", fmt.Sprintf("TLS handshake: %v", err))}
	f.untrusted = errors.As(err, &cert) || errors.As(err, &peer)
	return f
}

// peerError is what VerifyPeer said.
type peerError struct{ err error }

func (e *peerError) Error() string { return e.err.Error() }
func (e *peerError) Unwrap() error { return e.err }
