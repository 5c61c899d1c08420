package disk

import (
	"fmt"
	"os"
	"path/filepath"
)

// plain is an ordinary folder.
type plain struct{ dir string }

func newPlain(cfg Config) (Volume, error) {
	p := &plain{cfg.Dir}
	if err := os.MkdirAll(p.Path(), 0o700); err != nil {
		return nil, fmt.Errorf("make a data folder: %w", err)
	}
	return p, nil
}

func (p *plain) Kind() Kind     { return Plain }
func (p *plain) Path() string   { return filepath.Join(p.dir, "data") }
func (p *plain) Mount() error   { return nil }
func (p *plain) Unmount() error { return nil }
func (p *plain) Cut() error     { return errCut }
func (p *plain) Heal() error    { return nil }

func (p *plain) Restore() (Loss, error)                    { return Loss{}, errCut }
func (p *plain) Content(look func(dir string) error) error { return look(p.Path()) }
func (p *plain) Inject(f Fault) (func(), error)            { return nil, errInject(f) }

func (p *plain) Fill(int64) (func() error, error) {
	return nil, fmt.Errorf("%w: only %s, %s and %s can be full", ErrNotHere, FaultFS, Ext4, XFS)
}

func (p *plain) Close() error { return removeAll(p.dir) }

func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove a volume: %w", err)
	}
	return nil
}
