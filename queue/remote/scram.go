package remote

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/quorumail/quorumail/protocol/sasl"
)

// scramClient is the client of SCRAM-SHA-256 without channel binding (RFC 5802 §3, RFC 7677).
type scramClient struct {
	username, password string
	nonce              string
	first              string // client-first-message-bare
	serverSignature    []byte
	step               int
	proven             bool // the server knows the password
}

func newSCRAMClient(username, password string) *scramClient {
	return &scramClient{username: username, password: password, nonce: rand.Text()}
}

func (c *scramClient) Start() (string, []byte, error) {
	name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(c.username) // RFC 5802 §5.1
	c.first = "n=" + name + ",r=" + c.nonce
	return "SCRAM-SHA-256", []byte("n,," + c.first), nil
}

func (c *scramClient) Next(challenge []byte) ([]byte, error) {
	c.step++
	switch c.step {
	case 1:
		return c.prove(string(challenge))
	case 2:
		return []byte{}, c.checkServer(string(challenge))
	}
	return nil, errors.New("scram: a challenge too many")
}

// prove answers server-first-message.
func (c *scramClient) prove(serverFirst string) ([]byte, error) {
	nonce, salt, iterations, err := parseServerFirst(serverFirst)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(nonce, c.nonce) || len(nonce) == len(c.nonce) {
		return nil, errors.New("scram: the server's nonce is not made from ours")
	}
	prepared, err := sasl.Prepare(c.password)
	if err != nil {
		return nil, err
	}
	salted, err := pbkdf2.Key(sha256.New, prepared, salt, iterations, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("scram: %w", err)
	}
	withoutProof := "c=biws,r=" + nonce // "n,," in base64
	message := c.first + "," + serverFirst + "," + withoutProof
	clientKey := mac(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	proof := make([]byte, sha256.Size)
	subtle.XORBytes(proof, clientKey, mac(stored[:], message))
	c.serverSignature = mac(mac(salted, "Server Key"), message)
	return []byte(withoutProof + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

// parseServerFirst reads "r=nonce,s=salt,i=iterations". The iterations are bounded, for each costs us time.
func parseServerFirst(s string) (nonce string, salt []byte, iterations int, err error) {
	parts := strings.Split(s, ",")
	if len(parts) < 3 || !strings.HasPrefix(parts[0], "r=") || !strings.HasPrefix(parts[1], "s=") || !strings.HasPrefix(parts[2], "i=") {
		return "", nil, 0, errors.New("scram: not a first message of a server")
	}
	if salt, err = base64.StdEncoding.DecodeString(parts[1][2:]); err != nil || len(salt) == 0 {
		return "", nil, 0, errors.New("scram: unreadable salt")
	}
	iterations, err = strconv.Atoi(parts[2][2:])
	if err != nil || iterations < sasl.MinSCRAMIterations || iterations > sasl.MaxSCRAMIterations {
		return "", nil, 0, errors.New("scram: unreadable iterations, or out of range")
	}
	return parts[0][2:], salt, iterations, nil
}

// checkServer: the server must know the password as well (RFC 5802 §3).
func (c *scramClient) checkServer(serverFinal string) error {
	value, ok := strings.CutPrefix(serverFinal, "v=")
	got, err := base64.StdEncoding.DecodeString(value)
	if !ok || err != nil || !hmac.Equal(got, c.serverSignature) {
		return errors.New("scram: the server does not know the password")
	}
	c.proven = true
	return nil
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}
