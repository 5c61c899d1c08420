package smtpd

import (
	"errors"
	"net/netip"
	"os"
	"time"
)

// trusts is whether this client of MX belongs to a trusted network.
func (s *Server) trusts(remote netip.Addr) bool {
	if s.cfg.Mode != MX || s.cfg.TrustedNetworks == nil || !remote.IsValid() {
		return false
	}
	for _, p := range s.cfg.TrustedNetworks() {
		if p.Contains(remote) {
			return true
		}
	}
	return false
}

// early lets a stranger wait for the greeting. One that does not is no mail server (RFC 5321 §4.3.1: the client waits for it), and is turned
// away: true, and the connection is closed.
func (s *Server) early(w *wire) bool {
	if s.cfg.Mode != MX || s.cfg.GreetDelay == nil || w.trusted || w.remote.IsLoopback() {
		return false
	}
	delay := s.cfg.GreetDelay()
	if delay <= 0 {
		return false
	}
	err := w.silence(delay)
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return false // it waited; or the server ends, which comes next
	}
	if err == nil {
		s.cfg.Metrics.Refused.WithLabelValues(s.cfg.Mode.String(), "early talker").Inc()
		w.log.Info("connection refused", "remote", w.remote, "reason", "early talker")
		w.say("554 5.5.0 " + s.cfg.Hostname + " You must wait for the greeting") // RFC 5321 §3.1
		w.linger = true
	}
	_ = w.close()
	return true
}

// silence waits for the client to say something: nil when it does, os.ErrDeadlineExceeded when it does not.
func (w *wire) silence(d time.Duration) error {
	w.setGreetAt(time.Now().Add(d))
	defer w.setGreetAt(time.Time{})
	w.setWaiting(true)
	defer w.setWaiting(false)
	_, err := w.br.Peek(1)
	return err
}

func (w *wire) setGreetAt(t time.Time) {
	w.mu.Lock()
	w.greetAt = t
	w.mu.Unlock()
}
