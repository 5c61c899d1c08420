package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

var errWrong = errors.New("wrong password")

// exchange is one for a user "user" with these passwords.
func exchange(t *testing.T, passwords ...string) *SCRAMExchange {
	t.Helper()
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	return &SCRAMExchange{
		Parameters: func(string) ([]byte, int, error) { return salt, 4096, nil },
		Finish: func(user string, proves func(SCRAM) bool) error {
			for _, p := range passwords {
				keys, err := DeriveSCRAM(p, salt, 4096)
				if err != nil {
					return err
				}
				if proves(keys) && user == "user" {
					return nil
				}
			}
			return errWrong
		},
	}
}

// RFC 7677 §3.
func TestSCRAMExampleOfTheRFC(t *testing.T) {
	x := exchange(t, "pencil")
	x.draw = func() string { return "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" }
	for _, step := range []struct{ response, challenge string }{
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"},
		{"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
	} {
		got, done, err := x.Next([]byte(step.response))
		if err != nil || done || string(got) != step.challenge {
			t.Fatalf("%s: %q, %v, %v", step.response, got, done, err)
		}
	}
	if _, done, err := x.Next([]byte{}); err != nil || !done {
		t.Errorf("the end: %v, %v", done, err)
	}
	if _, _, err := x.Next([]byte{}); !errors.Is(err, ErrResponse) {
		t.Errorf("after the end: %v", err)
	}
}

// scramClient makes a client's messages, as RFC 5802 §3 has them.
type scramClient struct {
	header, name, password string
	binding                []byte
	change                 func(final string) string
}

func (c scramClient) run(x *SCRAMExchange) error {
	challenge, done, err := x.Next(nil)
	if err != nil || done || len(challenge) != 0 {
		return fmt.Errorf("begin: %q, %v, %w", challenge, done, err)
	}
	bare := "n=" + c.name + ",r=abc"
	first, _, err := x.Next([]byte(c.header + bare))
	if err != nil {
		return err
	}
	fields := strings.Split(string(first), ",")
	salt, err := base64.StdEncoding.DecodeString(fields[1][2:])
	if err != nil {
		return err
	}
	iterations, err := strconv.Atoi(fields[2][2:])
	if err != nil {
		return err
	}
	salted, err := pbkdf2.Key(sha256.New, c.password, salt, iterations, sha256.Size)
	if err != nil {
		return err
	}
	sum := func(key []byte, text string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	clientKey := sum(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	without := "c=" + base64.StdEncoding.EncodeToString(append([]byte(c.header), c.binding...)) + "," + fields[0]
	message := bare + "," + string(first) + "," + without
	proof := sum(stored[:], message)
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	final := without + ",p=" + base64.StdEncoding.EncodeToString(proof)
	if c.change != nil {
		final = c.change(final)
	}
	last, _, err := x.Next([]byte(final))
	if err != nil {
		return err
	}
	if want := "v=" + base64.StdEncoding.EncodeToString(sum(sum(salted, "Server Key"), message)); string(last) != want {
		return fmt.Errorf("the server's proof is %q, want %q", last, want)
	}
	_, done, err = x.Next([]byte{})
	if err == nil && !done {
		err = errors.New("not done")
	}
	return err
}

func TestSCRAMExchange(t *testing.T) {
	binding := bytes.Repeat([]byte{7}, 32)
	for name, tt := range map[string]struct {
		client  scramClient
		plus    bool
		binding []byte
		want    error
	}{
		"right":                      {client: scramClient{header: "n,,", name: "user", password: "pencil"}},
		"the second password":        {client: scramClient{header: "n,,", name: "user", password: "crayon"}},
		"wrong":                      {client: scramClient{header: "n,,", name: "user", password: "pencils"}, want: errWrong},
		"another user":               {client: scramClient{header: "n,,", name: "other", password: "pencil"}, want: errWrong},
		"as oneself":                 {client: scramClient{header: "n,a=user,", name: "user", password: "pencil"}},
		"as another":                 {client: scramClient{header: "n,a=root,", name: "user", password: "pencil"}, want: ErrResponse},
		"bound":                      {client: scramClient{header: "p=tls-exporter,,", name: "user", password: "pencil", binding: binding}, plus: true, binding: binding},
		"bound wrongly":              {client: scramClient{header: "p=tls-exporter,,", name: "user", password: "pencil", binding: binding[1:]}, plus: true, binding: binding, want: ErrResponse},
		"bound to another":           {client: scramClient{header: "p=tls-unique,,", name: "user", password: "pencil", binding: binding}, plus: true, binding: binding, want: ErrResponse},
		"plus without binding":       {client: scramClient{header: "n,,", name: "user", password: "pencil"}, plus: true, binding: binding, want: ErrResponse},
		"binding without plus":       {client: scramClient{header: "p=tls-exporter,,", name: "user", password: "pencil", binding: binding}, binding: binding, want: ErrResponse},
		"the offer was taken away":   {client: scramClient{header: "y,,", name: "user", password: "pencil"}, binding: binding, want: ErrResponse},
		"there was no offer":         {client: scramClient{header: "y,,", name: "user", password: "pencil"}},
		"the client does not want":   {client: scramClient{header: "n,,", name: "user", password: "pencil"}, binding: binding},
		"an extension":               {client: scramClient{header: "n,,m=x,", name: "user", password: "pencil"}, want: ErrResponse},
		"an unknown flag":            {client: scramClient{header: "x,,", name: "user", password: "pencil"}, want: ErrResponse},
		"a name that is not escaped": {client: scramClient{header: "n,,", name: "us=er", password: "pencil"}, want: ErrResponse},
		"no name":                    {client: scramClient{header: "n,,", name: "", password: "pencil"}, want: ErrResponse},
		"no proof": {client: scramClient{header: "n,,", name: "user", password: "pencil", change: func(s string) string {
			s, _, _ = strings.Cut(s, ",p=")
			return s
		}}, want: ErrResponse},
		"another nonce": {client: scramClient{header: "n,,", name: "user", password: "pencil", change: func(s string) string {
			return strings.Replace(s, "r=abc", "r=abd", 1)
		}}, want: ErrResponse},
		"another header": {client: scramClient{header: "n,,", name: "user", password: "pencil", change: func(s string) string {
			return strings.Replace(s, "c=biws", "c=eSws", 1)
		}}, want: ErrResponse},
	} {
		t.Run(name, func(t *testing.T) {
			x := exchange(t, "pencil", "crayon")
			x.Plus, x.Binding = tt.plus, tt.binding
			if err := tt.client.run(x); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// A proof is of one exchange alone.
func TestSCRAMProofCannotBeReplayed(t *testing.T) {
	var final string
	c := scramClient{header: "n,,", name: "user", password: "pencil", change: func(s string) string { final = s; return s }}
	if err := c.run(exchange(t, "pencil")); err != nil {
		t.Fatal(err)
	}
	c.change = func(string) string { return final }
	if err := c.run(exchange(t, "pencil")); !errors.Is(err, ErrResponse) {
		t.Errorf("replayed: %v", err)
	}
}

func TestFakeSaltIsAlwaysTheSame(t *testing.T) {
	a, b := FakeSalt([]byte("key"), "an@example.test"), FakeSalt([]byte("key"), "an@example.test")
	if !bytes.Equal(a, b) || len(a) != saltBytes {
		t.Errorf("%x, %x", a, b)
	}
	if bytes.Equal(a, FakeSalt([]byte("key"), "bob@example.test")) || bytes.Equal(a, FakeSalt([]byte("other"), "an@example.test")) {
		t.Error("another user or site has the same")
	}
}

func FuzzSCRAMExchange(f *testing.F) {
	f.Add("n,,n=user,r=abc", "c=biws,r=abcX,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", false)
	f.Add("p=tls-exporter,a=user,n=us=2Cer,r=abc,x=y", "c=,r=,p=", true)
	f.Add("n,,n=,r=", ",p=", false)
	f.Fuzz(func(t *testing.T, first, final string, plus bool) {
		x := &SCRAMExchange{Plus: plus, Binding: []byte("b"), draw: func() string { return "X" },
			Parameters: func(string) ([]byte, int, error) { return []byte("salt"), 4096, nil },
			Finish: func(_ string, proves func(SCRAM) bool) error {
				if proves(SCRAM{}) {
					t.Fatal("keys of zeros are proved")
				}
				return errWrong
			}}
		if _, _, err := x.Next([]byte(first)); err != nil {
			return
		}
		if _, _, err := x.Next([]byte(final)); err == nil {
			t.Fatalf("%q, %q: accepted", first, final)
		}
	})
}
