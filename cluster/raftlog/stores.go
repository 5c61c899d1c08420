package raftlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
	"go.etcd.io/bbolt"

	"github.com/quorumail/quorumail/store/broken"
	"github.com/quorumail/quorumail/store/durable"
)

func openStore(cfg Config, dir string, end *endFile) (entryStore, error) {
	switch cfg.Kind {
	case "wal":
		return openWAL(cfg, dir, end)
	case "bolt":
		return openBolt(cfg, dir)
	}
	return nil, fmt.Errorf("there is no log store %q: choose \"wal\" or \"bolt\"", cfg.Kind)
}

func openWAL(cfg Config, dir string, end *endFile) (entryStore, error) {
	var files types.VFS = walfs.New()
	if cfg.FS != nil {
		files = segmentFiles{cfg.FS}
	}
	meta := &segmentList{file: smallFile{durable.Disk{FS: cfg.FS}, filepath.Join(dir, "segments")}, tail: tail{files, dir, end.index}}
	if err := meta.check(!end.made); err != nil {
		return nil, err
	}
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: logWriter{cfg.Logger}, DisableTime: true})
	w, err := wal.Open(dir, wal.WithLogger(logger), wal.WithMetaStore(meta), wal.WithSegmentFiler(segment.NewFiler(dir, files)), wal.WithSegmentSize(cfg.SegmentBytes))
	if err != nil {
		return nil, openError(err, wal.ErrCorrupt, fs.ErrNotExist, io.EOF, io.ErrUnexpectedEOF)
	}
	return w, nil
}

func openBolt(cfg Config, dir string) (entryStore, error) {
	if cfg.FS != nil && vfs.Root(cfg.FS) != vfs.Default {
		return nil, errors.New("bolt maps its file into memory: it needs the operating system's file system")
	}
	b, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "log.db"), NoSync: broken.On(broken.FsyncLog), BoltOptions: &bbolt.Options{Timeout: 5 * time.Second}})
	if err != nil {
		return nil, openError(err, bbolt.ErrInvalid, bbolt.ErrChecksum, bbolt.ErrVersionMismatch)
	}
	return b, nil
}

// openError says ErrRot for the errors that mean damage. Others may go away: no permission, no space.
func openError(err error, damage ...error) error {
	for _, d := range damage {
		if errors.Is(err, d) {
			return fmt.Errorf("open the log: %w: %w", ErrRot, err)
		}
	}
	return fmt.Errorf("open the log: %w", err)
}

// segmentList is raft-wal's list of its files. raft-wal's own list is a bbolt file, of which damage can bring back the list before,
// and with it the loss of a whole segment.
type segmentList struct {
	file smallFile
	tail tail
}

// check finds a list that is lost: raft-wal would begin anew and remove every segment that is not in it.
func (s *segmentList) check(mayMake bool) error {
	raw, err := s.file.read()
	if err != nil || raw != nil {
		return err
	}
	names, err := s.tail.files.ListDir(s.tail.dir)
	if err != nil {
		return fmt.Errorf("list the segments of the log: %w", err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, ".wal") {
			return fmt.Errorf("the list of the log's segments is missing: %w", ErrRot)
		}
	}
	if !mayMake {
		return fmt.Errorf("the log's segments are missing: %w", ErrRot)
	}
	return nil
}

// Load reads the list and settles what a crash left undone in the newest segment.
func (s *segmentList) Load(string) (state types.PersistentState, err error) {
	raw, err := s.file.read()
	if err != nil || raw == nil {
		return state, err
	}
	if err := json.Unmarshal(raw, &state); err != nil {
		return state, fmt.Errorf("read the list of segments: %w: %w", ErrRot, err)
	}
	changed, err := s.tail.settle(&state)
	if err == nil && changed {
		err = s.CommitState(state)
	}
	return state, err
}

// CommitState durably replaces the list.
func (s *segmentList) CommitState(state types.PersistentState) error {
	raw, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return s.file.write(raw)
}

// errNoStable: term and vote have a file of their own.
var errNoStable = errors.New("the list of segments keeps nothing else")

// GetStable is not used.
func (s *segmentList) GetStable([]byte) ([]byte, error) { return nil, errNoStable }

// SetStable is not used.
func (s *segmentList) SetStable(_, _ []byte) error { return errNoStable }

// Close has nothing to close.
func (s *segmentList) Close() error { return nil }

// logWriter passes on what raft-wal has to say, which it says only when something went wrong.
type logWriter struct{ l *slog.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.l.Error("raft-wal", "pkg", "raftlog", "text", strings.TrimSpace(string(p)))
	return len(p), nil
}
