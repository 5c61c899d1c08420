// Package smtp says what the bytes of SMTP mean: addresses and paths (RFC 5321, RFC 6531), enhanced status codes (RFC 3463), trace
// fields (RFC 5321 §4.4) and line ends (RFC 5321 §2.3.8).
//
// Data flow: bytes of a client or of a message come in; values in one normal form, or an error that says what is wrong, go out. Whoever
// compares addresses compares [Address.Canonical], and nothing else. Nothing here is durable, there are no goroutines, no clock and no
// network; everything is bounded by the limits named in address.go.
package smtp
