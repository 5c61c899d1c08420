package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/durable"
)

const (
	manifestFile     = "manifest.json"
	manifestFormat   = 1
	maxManifestBytes = 64 << 10
	bodiesDir        = "bodies"
	statePrefix      = "state-"
)

// Manifest says what a backup is. It is written last: without it there is no backup.
type Manifest struct {
	Format      int       `json:"format"`
	Taken       time.Time `json:"taken"`        // by the clock of the machine that took it
	Index       uint64    `json:"index"`        // log index of the state
	Term        uint64    `json:"term"`         // and its term
	State       string    `json:"state"`        // name of the checkpoint's file
	StateBytes  int64     `json:"state_bytes"`  // its length
	StateSHA256 string    `json:"state_sha256"` // its digest, in hex
	Bodies      int64     `json:"bodies"`       // how many there are
	BodiesHash  string    `json:"bodies_hash"`  // SHA-256 of their ids in order, in hex
	Checksum    string    `json:"checksum"`     // SHA-256 of this record with an empty checksum, in hex
}

func (m Manifest) sum() (string, error) {
	m.Checksum = ""
	raw, err := json.Marshal(m)
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), err
}

// write makes the folder a backup.
func (m *Manifest) write(dir string) (err error) {
	if m.Checksum, err = m.sum(); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, manifestFile), append(raw, '\n'), 0o600)
}

// ReadManifest reads what a backup folder says that it holds. store.ErrNotFound when it holds no finished backup.
func ReadManifest(dir string) (Manifest, error) {
	var m Manifest
	raw, err := durable.OS.ReadFile(filepath.Join(dir, manifestFile), maxManifestBytes)
	if errors.Is(err, os.ErrNotExist) {
		return m, fmt.Errorf("%s holds no finished backup: %w", dir, store.ErrNotFound)
	}
	if err != nil {
		return m, fmt.Errorf("read the backup's manifest: %w", err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("read the backup's manifest: %w", err)
	}
	if m.Format != manifestFormat {
		return m, fmt.Errorf("the backup has format %d, and this program knows %d", m.Format, manifestFormat)
	}
	if sum, err := m.sum(); err != nil || sum != m.Checksum || filepath.Base(m.State) != m.State {
		return m, fmt.Errorf("the backup's manifest is damaged (%v)", err)
	}
	return m, nil
}
