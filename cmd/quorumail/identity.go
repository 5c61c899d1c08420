package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/cluster/transport"
	"github.com/quorumail/quorumail/store/durable"
)

// identity is who this node is for as long as its data folder lives (node.json).
type identity struct {
	ID              cluster.ServerID `json:"id"`
	DataIncarnation string           `json:"data_incarnation"` // 16 bytes in hex; marks the log, state and bodies as one
	Founder         bool             `json:"founder"`          // made the cluster; it may have to do so again if it died early
	Starts          uint64           `json:"starts"`           // counted before the node does anything else (storepb.Server.Boot)
}

const identityFile = "node.json"

// marked are the folders that belong together: one that was replaced shows (B5).
var marked = []string{"raft", "state", "blobs"}

const markFile = "incarnation"

func randomHex(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(raw)
}

func newIdentity(founder bool) identity {
	return identity{ID: cluster.ServerID(randomHex(8)), DataIncarnation: randomHex(16), Founder: founder, Starts: 1}
}

// loadIdentity reads node.json; os.ErrNotExist when this node has never started.
func loadIdentity(dataDir string) (identity, error) {
	var id identity
	raw, err := os.ReadFile(filepath.Join(dataDir, identityFile))
	if err != nil {
		return id, err
	}
	if err := json.Unmarshal(raw, &id); err != nil {
		return id, fmt.Errorf("read %s: %w", identityFile, err)
	}
	return id, id.checkMarks(dataDir)
}

// countStart makes this start durably later than those before it.
func (id *identity) countStart(dataDir string) error {
	id.Starts++
	return id.write(dataDir)
}

func (id identity) write(dataDir string) error {
	raw, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dataDir, identityFile), raw, 0o600)
}

// save makes the identity durable, the marks first: with node.json the node exists.
func (id identity) save(dataDir string) error {
	for _, d := range marked {
		dir := filepath.Join(dataDir, d)
		if err := durable.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := durable.WriteFile(filepath.Join(dir, markFile), []byte(id.DataIncarnation), 0o600); err != nil {
			return err
		}
	}
	return id.write(dataDir)
}

func (id identity) checkMarks(dataDir string) error {
	for _, d := range marked {
		raw, err := os.ReadFile(filepath.Join(dataDir, d, markFile))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("read the mark of %s: %w", d, err)
		}
		if string(raw) != id.DataIncarnation {
			return fmt.Errorf("the folder %s is not the one that node %s had: its data are lost or of another node. Remove the node from the cluster (quorumail node remove %s), empty %s, and join anew with an invite",
				filepath.Join(dataDir, d), id.ID, id.ID, dataDir)
		}
	}
	return nil
}

func (id identity) incarnation() [16]byte {
	raw, err := hex.DecodeString(id.DataIncarnation)
	if err != nil || len(raw) != 16 {
		return [16]byte{} // loadIdentity compared it with the marks; a wrong length is refused when the server registers
	}
	return [16]byte(raw)
}

// credentials are the node's certificate, its key, and the cluster's authority; of a node that joins, the cluster's key for secrets, too, if
// whoever let it in had that.
type credentials struct{ cert, key, ca, secrets []byte }

func (c credentials) files() map[string][]byte {
	return map[string][]byte{"node.crt": c.cert, "node.key": c.key, "ca.pem": c.ca}
}

func (c credentials) save(dataDir string) error {
	for name, raw := range c.files() {
		if err := durable.WriteFile(filepath.Join(dataDir, name), raw, 0o600); err != nil {
			return err
		}
	}
	if len(c.secrets) == 0 {
		return nil
	}
	return writeSecretsKey(dataDir, c.secrets)
}

func loadCredentials(dataDir string) (c credentials, err error) {
	for name, p := range map[string]*[]byte{"node.crt": &c.cert, "node.key": &c.key, "ca.pem": &c.ca} {
		if *p, err = os.ReadFile(filepath.Join(dataDir, name)); err != nil {
			return c, fmt.Errorf("read the node's certificate: %w", err)
		}
	}
	return c, nil
}

// founder's authority stands in this file until it is in the replicated state.
const authorityKeyFile = "ca.key"

// found makes a new cluster's authority and this node's certificate.
func found(dataDir, name string) (identity, error) {
	id := newIdentity(true)
	ca, err := transport.NewCA(name)
	if err != nil {
		return id, err
	}
	caKey, err := ca.KeyPEM()
	if err != nil {
		return id, err
	}
	key, req, err := transport.NewKey()
	if err != nil {
		return id, err
	}
	cert, err := ca.SignNode(req, string(id.ID))
	if err != nil {
		return id, err
	}
	if err := durable.WriteFile(filepath.Join(dataDir, authorityKeyFile), caKey, 0o600); err != nil {
		return id, err
	}
	if err := (credentials{cert: cert, key: key, ca: ca.PEM()}).save(dataDir); err != nil {
		return id, err
	}
	if err := makeSecretsKey(dataDir); err != nil {
		return id, err
	}
	return id, id.save(dataDir)
}
