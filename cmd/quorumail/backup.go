package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/backup"
	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/ops/directory"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/durable"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

func backupCommand() *cobra.Command {
	c := &cobra.Command{Use: "backup DIR", Short: "Copy the whole cluster's mail and settings, through this node, into a folder; again, to bring it up to date", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			node, err := client(cmd)
			if err != nil {
				return err
			}
			defer node.Close()
			r, err := backup.Take(cmd.Context(), adminSource{node}, args[0], slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
			if err != nil {
				return fmt.Errorf("back up: %w", err)
			}
			say(cmd, "The backup does not hold the file %s of the nodes' data folders, without which DKIM keys and passwords of smarthosts cannot be restored: keep a copy of it elsewhere.\n", secretsKeyFile)
			return show(cmd, r, "TAKEN INDEX MESSAGES COPIED COPIED_BYTES DROPPED", [][]string{{r.Taken.Format(time.RFC3339), strconv.FormatUint(r.Index, 10), strconv.FormatInt(r.Bodies, 10),
				strconv.FormatInt(r.Copied, 10), strconv.FormatInt(r.CopiedBytes, 10), strconv.FormatInt(r.Dropped, 10)}})
		}}
	c.AddCommand(withJSON(&cobra.Command{Use: "verify DIR", Short: "Read all of a backup and compare every digest", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		m, err := backup.Verify(cmd.Context(), args[0])
		if err != nil {
			return fmt.Errorf("verify the backup: %w", err)
		}
		return show(cmd, m, "TAKEN INDEX MESSAGES", [][]string{{m.Taken.Format(time.RFC3339), strconv.FormatUint(m.Index, 10), strconv.FormatInt(m.Bodies, 10)}})
	}}))
	return withJSON(c)
}

func restoreCommand() *cobra.Command {
	c := &cobra.Command{Use: "restore DIR", Short: "Found a new cluster from a backup: make the empty data folder of --config its first node", Args: cobra.ExactArgs(1),
		Long: "Founds a new cluster from a backup: makes the empty data folder of --config its first node. DKIM keys and passwords of smarthosts are in the backup in\n" +
			"encrypted form; --secrets-key names the file secrets.key of a data folder of the former cluster, which opens them.",
		Example: "  quorumail restore /backup/mail --secrets-key /safe/secrets.key --config /etc/quorumail/node.toml",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			key, err := secretsKeyFlag(cmd)
			if err != nil {
				return err
			}
			m, lost, err := restore(cmd.Context(), cfg, args[0], key)
			if err != nil {
				return fmt.Errorf("restore: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "restored %d messages as of %s; start the node with \"quorumail serve\", and let others join it\n", m.Bodies, m.Taken.Format(time.RFC3339))
			if len(lost) > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "not restored, for want of the former cluster's %s: %s. Empty the data folder and restore again with --secrets-key FILE, or make these anew (quorumail dkim rotate, quorumail route set).\n",
					secretsKeyFile, strings.Join(lost, ", "))
			}
			return nil
		}}
	c.Flags().String("secrets-key", "", "the former cluster's file secrets.key")
	return c
}

// secretsKeyFlag reads the file that --secrets-key names; nil when it names none.
func secretsKeyFlag(cmd *cobra.Command) (*keyMaterial, error) {
	path, _ := cmd.Flags().GetString("secrets-key")
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read --secrets-key: %w", err)
	}
	k, err := newKeyMaterial(raw)
	if err != nil {
		return nil, fmt.Errorf("--secrets-key %s: %w", path, err)
	}
	return k, nil
}

// restoringFile stands in a data folder while a backup is restored into it.
const restoringFile = "restoring"

// restore makes a data folder the first node of a new cluster, with the mail of a backup, and an identity and an authority of its own (B5).
// node.json comes last: until then there is no node, and the restore can be run again. lost are the secrets that only the former cluster's key,
// which was not given, would open.
func restore(ctx context.Context, cfg *config.Config, dir string, key *keyMaterial) (m backup.Manifest, lost []string, err error) {
	if _, err := os.Stat(filepath.Join(cfg.DataDir, identityFile)); !errors.Is(err, os.ErrNotExist) {
		return m, nil, fmt.Errorf("%s holds a node already: restore into an empty folder", cfg.DataDir)
	}
	if err := durable.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return m, nil, err
	}
	mark := filepath.Join(cfg.DataDir, restoringFile)
	if err := durable.WriteFile(mark, nil, 0o600); err != nil {
		return m, nil, err
	}
	m, err = backup.Restore(ctx, dir, backup.Target{StateDir: filepath.Join(cfg.DataDir, "state"), BlobDir: filepath.Join(cfg.DataDir, "blobs"),
		ClusterID: randomHex(16), DropSecrets: []string{secretCACert, secretCAKey, secretGossipKeys, secretKeyID}, Logger: newLogger(cfg, new(slog.LevelVar)),
		Look: func(v *state.View) (err error) {
			lost, err = lostSecrets(v, key)
			return err
		}})
	if err != nil {
		return m, nil, err
	}
	if key != nil {
		if err := writeSecretsKey(cfg.DataDir, key.raw); err != nil {
			return m, nil, err
		}
	}
	if _, err := found(cfg.DataDir, cfg.Name); err != nil {
		return m, nil, err
	}
	return m, lost, durable.Remove(mark)
}

// lostSecrets are the sealed secrets of a restored state, when there is no key. With one, it is an error if it is not theirs.
func lostSecrets(v *state.View, key *keyMaterial) (lost []string, err error) {
	pairs, err := readDKIM(v, "")
	if err != nil {
		return nil, err
	}
	check := func(what, name string, sealed []byte) error {
		if len(sealed) == 0 {
			return nil
		}
		if key == nil {
			lost = append(lost, what)
			return nil
		}
		if _, err := key.open(name, sealed); err != nil {
			return fmt.Errorf("%s: %w: name the right file with --secrets-key, or leave it out", what, err)
		}
		return nil
	}
	for _, p := range pairs {
		for _, k := range p.Keys {
			if err := check("the DKIM key "+k.Selector+" of "+p.domain, p.sealName(k.Selector), k.Sealed); err != nil {
				return nil, err
			}
		}
	}
	routes, err := v.Routes()
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		if err := check("the password of the route for "+r.Domain, directory.SealName(r.Domain), r.Password); err != nil {
			return nil, err
		}
	}
	return lost, nil
}

// unfinishedRestore refuses a data folder into which a restore was cut off.
func unfinishedRestore(dataDir string) error {
	if _, err := os.Stat(filepath.Join(dataDir, restoringFile)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dataDir, identityFile)); err == nil {
		return durable.Remove(filepath.Join(dataDir, restoringFile)) // it was finished but for this
	}
	return fmt.Errorf("a restore into %s was cut off: run \"quorumail restore\" again, or empty the folder", dataDir)
}

// holdRequest is the body of the method "backup.hold".
type holdRequest struct {
	ID     string `json:"id"` // 16 bytes in hex
	KeepMs int64  `json:"keep_ms"`
	Renew  bool   `json:"renew"`
}

// bodiesRequest is the body of the method "backup.bodies".
type bodiesRequest struct {
	IDs []string `json:"ids"`
}

// registerBackup says how this node serves a backup.
func (n *node) registerBackup() {
	admin.Handle(n.admin, "backup.hold", n.holdSweeps)
	admin.HandleStream(n.admin, "backup.checkpoint", func(_ context.Context, _ admin.Empty, w io.Writer) error {
		_, _, r, err := n.machine.Checkpoint()
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(w, r)
		return err
	})
	admin.HandleStream(n.admin, "backup.bodies", func(ctx context.Context, r bodiesRequest, w io.Writer) error {
		ids := make([]store.BodyID, len(r.IDs))
		for i, s := range r.IDs {
			var err error
			if ids[i], err = store.ParseBodyID(s); err != nil {
				return err
			}
		}
		return backup.SendBodies(ctx, w, ids, n.replica.OpenEncoded)
	})
}

func (n *node) holdSweeps(ctx context.Context, r holdRequest) (admin.Empty, error) {
	id, err := hex.DecodeString(r.ID)
	if err != nil || r.KeepMs < 0 {
		return admin.Empty{}, fmt.Errorf("hold sweeps as %q for %d ms: %w", r.ID, r.KeepMs, store.ErrInvalid)
	}
	_, err = n.replica.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_HoldSweeps{HoldSweeps: &storepb.HoldSweeps{Id: id, ForMs: uint64(r.KeepMs), Renew: r.Renew}}
	})
	return admin.Empty{}, err
}

// adminSource makes a running node a backup.Source.
type adminSource struct{ c *admin.Client }

func (s adminSource) Hold(ctx context.Context, id [16]byte, keep time.Duration, renew bool) error {
	return s.c.Call(ctx, "backup.hold", holdRequest{hex.EncodeToString(id[:]), keep.Milliseconds(), renew}, nil)
}

func (s adminSource) Checkpoint(ctx context.Context) (io.ReadCloser, error) {
	return s.c.Stream(ctx, "backup.checkpoint", admin.Empty{})
}

func (s adminSource) Bodies(ctx context.Context, ids []store.BodyID) (io.ReadCloser, error) {
	var r bodiesRequest
	for _, id := range ids {
		r.IDs = append(r.IDs, id.String())
	}
	return s.c.Stream(ctx, "backup.bodies", r)
}
