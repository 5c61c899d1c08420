package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Names of the mechanisms, and of the one kind of channel binding that there is here (RFC 9266): it needs TLS 1.3.
const (
	MechanismSCRAM     = "SCRAM-SHA-256"
	MechanismSCRAMPlus = "SCRAM-SHA-256-PLUS"
	bindingName        = "tls-exporter"
)

const (
	maxSCRAMMessageBytes = 4096
	nonceBytes           = 18 // 24 letters
)

// SCRAMExchange is the server's side of one login by SCRAM-SHA-256 (RFC 5802 §5, RFC 7677). Set the fields, then call Next for each response.
type SCRAMExchange struct {
	Plus    bool   // the client chose SCRAM-SHA-256-PLUS
	Binding []byte // of the channel (RFC 9266 §3); nil: there is none, and -PLUS was not offered

	// Parameters tells what a user's keys were made with. For a user that there is not, or who has none, they are made up, and the same each
	// time: else it would tell who is there (RFC 5802 §9).
	Parameters func(user string) (salt []byte, iterations int, err error)
	// Finish decides: it calls proves with each of the user's keys, until one is that of the password. An error ends the exchange.
	Finish func(user string, proves func(SCRAM) bool) error

	step        int
	user        string
	header      string // of GS2, as the client sent it
	nonce       string
	authMessage string
	draw        func() string // of the server's part of the nonce; nil: a random one
}

// Next takes a response and returns the next challenge, done with the last response. A nil response is one that the client did not send along
// with the name of the mechanism. Errors wrap ErrResponse, or are those of the functions.
func (x *SCRAMExchange) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil && x.step == 0 {
		return nil, false, nil
	}
	if len(response) > maxSCRAMMessageBytes || !utf8.Valid(response) {
		return nil, false, fmt.Errorf("%w: too long, or not UTF-8", ErrResponse)
	}
	x.step++
	switch x.step {
	case 1:
		challenge, err = x.first(string(response))
		return challenge, false, err
	case 2:
		challenge, err = x.final(string(response))
		return challenge, false, err
	case 3:
		if len(response) != 0 {
			return nil, false, fmt.Errorf("%w: the exchange is over", ErrResponse)
		}
		return nil, true, nil
	}
	return nil, false, fmt.Errorf("%w: the exchange is over", ErrResponse)
}

// first reads client-first-message and makes server-first-message (RFC 5802 §7).
func (x *SCRAMExchange) first(message string) ([]byte, error) {
	flag, rest, ok1 := strings.Cut(message, ",")
	identity, bare, ok2 := strings.Cut(rest, ",")
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("%w: no GS2 header", ErrResponse)
	}
	if err := x.checkBinding(flag); err != nil {
		return nil, err
	}
	attributes := strings.Split(bare, ",")
	// A first attribute other than the name would be an extension that must be understood (m=).
	if len(attributes) < 2 || !strings.HasPrefix(attributes[0], "n=") || !strings.HasPrefix(attributes[1], "r=") || len(attributes[1]) == 2 {
		return nil, fmt.Errorf("%w: expected a name and a nonce", ErrResponse)
	}
	var err error
	if x.user, err = saslName(attributes[0][2:]); err != nil {
		return nil, err
	}
	if err := x.checkIdentity(identity); err != nil {
		return nil, err
	}
	salt, iterations, err := x.Parameters(x.user)
	if err != nil {
		return nil, err
	}
	x.header = flag + "," + identity + ","
	x.nonce = attributes[1][2:] + x.drawn()
	reply := "r=" + x.nonce + ",s=" + base64.StdEncoding.EncodeToString(salt) + ",i=" + strconv.Itoa(iterations)
	x.authMessage = bare + "," + reply
	return []byte(reply), nil
}

func (x *SCRAMExchange) drawn() string {
	if x.draw != nil {
		return x.draw()
	}
	return base64.RawURLEncoding.EncodeToString(random(nonceBytes))
}

// checkBinding: RFC 5802 §6.
func (x *SCRAMExchange) checkBinding(flag string) error {
	switch {
	case x.Plus && flag != "p="+bindingName:
		return fmt.Errorf("%w: the channel binding here is %s", ErrResponse, bindingName)
	case x.Plus:
		return nil
	case flag == "y" && x.Binding != nil:
		// The client could have bound the channel and was not offered it: somebody between took the offer away.
		return fmt.Errorf("%w: channel binding was offered", ErrResponse)
	case flag != "n" && flag != "y":
		return fmt.Errorf("%w: channel binding belongs to %s", ErrResponse, MechanismSCRAMPlus)
	}
	return nil
}

// checkIdentity: nobody acts for others.
func (x *SCRAMExchange) checkIdentity(given string) error {
	if given == "" {
		return nil
	}
	name, ok := strings.CutPrefix(given, "a=")
	if !ok {
		return fmt.Errorf("%w: unreadable identity", ErrResponse)
	}
	if name, err := saslName(name); err != nil || name != x.user {
		return fmt.Errorf("%w: an identity other than the user", ErrResponse)
	}
	return nil
}

// saslName undoes the escapes of a name (RFC 5802 §5.1).
func saslName(s string) (string, error) {
	name := strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s)
	if s == "" || len(s) > MaxUserBytes || strings.Count(s, "=") != strings.Count(s, "=2C")+strings.Count(s, "=3D") || strings.ContainsRune(s, 0) {
		return "", fmt.Errorf("%w: unreadable name", ErrResponse)
	}
	return name, nil
}

// final reads client-final-message and makes server-final-message.
func (x *SCRAMExchange) final(message string) ([]byte, error) {
	before, proofText, ok := cutLast(message, ",p=")
	proof, err := base64.StdEncoding.Strict().DecodeString(proofText)
	if !ok || err != nil || len(proof) != sha256.Size {
		return nil, fmt.Errorf("%w: no proof", ErrResponse)
	}
	attributes := strings.Split(before, ",")
	if len(attributes) < 2 || !x.bound(attributes[0]) || attributes[1] != "r="+x.nonce {
		return nil, fmt.Errorf("%w: another channel binding or nonce", ErrResponse)
	}
	x.authMessage += "," + before
	var used *SCRAM
	err = x.Finish(x.user, func(keys SCRAM) bool {
		ok := keys.proves(proof, x.authMessage)
		if ok {
			used = &keys
		}
		return ok
	})
	if err != nil {
		return nil, err
	}
	if used == nil {
		return nil, fmt.Errorf("%w: accepted without a proof", ErrResponse)
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(mac(used.ServerKey[:], x.authMessage))), nil
}

// bound is whether the client bound the channel that it said, and that this is.
func (x *SCRAMExchange) bound(attribute string) bool {
	text, ok := strings.CutPrefix(attribute, "c=")
	got, err := base64.StdEncoding.Strict().DecodeString(text)
	want := []byte(x.header)
	if x.Plus {
		want = append(want, x.Binding...)
	}
	return ok && err == nil && bytes.Equal(got, want)
}

// proves is whether a client's proof was made with the password of these keys (RFC 5802 §3).
func (s SCRAM) proves(proof []byte, authMessage string) bool {
	signature := mac(s.StoredKey[:], authMessage)
	clientKey := make([]byte, len(signature))
	subtle.XORBytes(clientKey, signature, proof)
	digest := sha256.Sum256(clientKey)
	return hmac.Equal(digest[:], s.StoredKey[:])
}

// cutLast is strings.Cut at the last separator.
func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}
