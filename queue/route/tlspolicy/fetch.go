package tlspolicy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/quorumail/quorumail/queue/route"
	"github.com/quorumail/quorumail/queue/route/dns"
)

// RFC 8461 §3.3: limits of a fetch.
const (
	fetchTimeout   = time.Minute
	maxPolicyBytes = 64 << 10
	dialTimeout    = 10 * time.Second // of one address of several
)

// fetch brings the policy of a domain from its one place (RFC 8461 §3.3).
func (s *STS) fetch(ctx context.Context, domain string) (STSPolicy, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	url := "https://mta-sts." + domain + "/.well-known/mta-sts.txt"
	raw, err := s.get(ctx, url)
	if err != nil {
		return STSPolicy{}, fmt.Errorf("get %s: %w", url, err)
	}
	p, err := ParseSTSPolicy(raw)
	if err != nil {
		return STSPolicy{}, fmt.Errorf("policy %s: %w", url, err)
	}
	return p, nil
}

func (s *STS) get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	transport := s.transport()
	defer transport.CloseIdleConnections()
	client := http.Client{
		Transport: transport,
		// RFC 8461 §3.3: redirects MUST NOT be followed. The answer that is one has the wrong status.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	return body(response)
}

// transport is for one request: the certificate must be good for the name of the policy's host (RFC 8461 §3.3), there is no proxy, and the
// address comes from our own resolver.
func (s *STS) transport() *http.Transport {
	return &http.Transport{
		DialContext:            s.dial,
		TLSClientConfig:        &tls.Config{RootCAs: s.cfg.RootCAs, MinVersion: tls.VersionTLS12},
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxPolicyBytes,
	}
}

func (s *STS) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := s.cfg.Resolver.LookupAddrs(ctx, host, dns.Any)
	if err != nil {
		return nil, err
	}
	err = errors.New("no address that can be reached")
	for _, a := range addrs.Records {
		if !route.Reachable(a) {
			continue
		}
		var c net.Conn
		if c, err = (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, netip.AddrPortFrom(a, s.cfg.Port).String()); err == nil {
			return c, nil
		}
	}
	return nil, err
}

func body(response *http.Response) ([]byte, error) {
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	// RFC 8461 §3.2: the type should be checked, since anybody may have put something else on a web server.
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return nil, fmt.Errorf("content type %q", response.Header.Get("Content-Type"))
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxPolicyBytes+1))
	if err == nil && len(raw) > maxPolicyBytes {
		err = errors.New("too large")
	}
	return raw, err
}
