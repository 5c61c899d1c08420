package dkim

import (
	"bufio"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"

	"github.com/emersion/go-msgauth/dkim"
)

// maxBlank bounds blanks and line ends that follow each other in a body, in bytes. Whether they count depends on what comes behind them, so
// that they must be remembered; nobody writes so many.
const maxBlank = 256 << 10

// Signer signs with the keys of one sender. It may be used by several goroutines.
type Signer struct {
	keys    []Key
	private []crypto.Signer
}

// NewSigner reads the keys. Errors wrap [ErrKey].
func NewSigner(keys ...Key) (*Signer, error) {
	s := &Signer{keys: keys}
	for _, k := range keys {
		private, err := k.signer()
		if err != nil {
			return nil, err
		}
		s.private = append(s.private, private)
	}
	return s, nil
}

// Sign is Signer.Sign for keys that are used once.
func Sign(ctx context.Context, keys []Key, open func() (io.ReadCloser, error)) ([]byte, error) {
	s, err := NewSigner(keys...)
	if err != nil {
		return nil, err
	}
	return s.Sign(ctx, open)
}

// Sign returns one DKIM-Signature field per key, each with its CRLF, in the order of the keys. It opens the message once. Errors are those of
// reading it, of ctx, or wrap [ErrUnsignable]; there are no fields then.
func (s *Signer) Sign(ctx context.Context, open func() (io.ReadCloser, error)) ([]byte, error) {
	if len(s.keys) == 0 {
		return nil, nil
	}
	message, err := open()
	if err != nil {
		return nil, fmt.Errorf("sign: open the message: %w", err)
	}
	defer message.Close()
	r := bufio.NewReaderSize(&cancellable{message, ctx.Err}, 16<<10)
	h, err := readHeader(r)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	header, names, err := choose(h)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return s.sign(header, names, r)
}

func (s *Signer) sign(header []byte, names []string, body io.Reader) (fields []byte, err error) {
	signers, err := s.start(names)
	if err != nil {
		return nil, err
	}
	err = feed(signers, header, body)
	for _, signer := range signers {
		// Close also after an error: it ends the goroutine. What was signed then is dropped.
		err = errors.Join(err, signer.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	for _, signer := range signers {
		fields = append(fields, signer.Signature()...)
	}
	return fields, nil
}

// start makes a signer of the library for each key. Each has a goroutine, which its Close ends.
func (s *Signer) start(names []string) (signers []*dkim.Signer, err error) {
	for i, k := range s.keys {
		signer, err := dkim.NewSigner(&dkim.SignOptions{
			Domain: k.Domain, Selector: k.Selector, Signer: s.private[i], Hash: crypto.SHA256, HeaderKeys: names,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		})
		if err != nil {
			for _, started := range signers {
				err = errors.Join(err, started.Close())
			}
			return nil, fmt.Errorf("sign with %s: %w", k, err)
		}
		signers = append(signers, signer)
	}
	return signers, nil
}

// feed writes the message to all signers.
func feed(signers []*dkim.Signer, header []byte, body io.Reader) error {
	all := make([]io.Writer, len(signers))
	for i, signer := range signers {
		all[i] = signer
	}
	w := io.MultiWriter(all...)
	if _, err := w.Write(header); err != nil {
		return err
	}
	_, err := io.Copy(&blankGuard{w: w}, body)
	return err
}

// blankGuard refuses bodies with more than maxBlank bytes of blanks in a row.
type blankGuard struct {
	w io.Writer
	n int
}

func (g *blankGuard) Write(p []byte) (int, error) {
	for _, c := range p {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			g.n = 0
			continue
		}
		if g.n++; g.n > maxBlank {
			return 0, fmt.Errorf("%w: more than %d blanks in a row", ErrUnsignable, maxBlank)
		}
	}
	return g.w.Write(p)
}

// cancellable is a reader that ends with its context.
type cancellable struct {
	io.Reader
	stopped func() error
}

func (r *cancellable) Read(p []byte) (int, error) {
	if err := r.stopped(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
