package state

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store/kv"
	"github.com/quorumail/quorumail/store/storepb"
)

// restoreBatchBytes is how much of a checkpoint is committed at a time.
const restoreBatchBytes = 4 << 20

// Restore replaces the state with a checkpoint, in a new folder that takes over in one step. Bodies do not come along: NeedsAllBodies
// says so until they are fetched. An error leaves everything as it was, but for one of the disk.
func (m *Machine) Restore(r io.Reader) error {
	db, name, err := m.nextStore()
	if err != nil {
		return err
	}
	pos, err := readCheckpoint(r, db)
	if err != nil {
		err = errors.Join(fmt.Errorf("read a checkpoint: %w", err), db.Close())
		if name != "" {
			err = errors.Join(err, m.cfg.FS.RemoveAll(m.path(name)))
		}
		return err
	}
	return m.swap(db, name, pos)
}

// nextStore makes an empty store beside the one in use.
func (m *Machine) nextStore() (kv.Store, string, error) {
	if m.cfg.Dir == "" {
		return kv.NewMemory(), "", nil
	}
	var n uint64
	if _, err := fmt.Sscanf(m.db.name, "kv-%d", &n); err != nil {
		return nil, "", fmt.Errorf("read the name of the state %q: %w", m.db.name, err)
	}
	name := fmt.Sprintf("kv-%d", n+1)
	if err := m.cfg.FS.RemoveAll(m.path(name)); err != nil {
		return nil, "", fmt.Errorf("remove a state that was cut off: %w", err)
	}
	db, err := m.openStore(name)
	return db, name, err
}

func (m *Machine) swap(db kv.Store, name string, pos *storepb.LogPosition) error {
	if name != "" {
		if err := m.disk().WriteFile(m.path(currentFile), []byte(name), 0o600); err != nil {
			// Nobody knows which one the file names now.
			err = errors.Join(fmt.Errorf("let a restored state take over: %w", err), db.Close())
			if m.cfg.OnFatal != nil {
				m.cfg.OnFatal(err)
			}
			return err
		}
	}
	m.mu.Lock()
	old := m.db
	m.db = newGeneration(db, name)
	m.restores++
	m.needsAll.Store(true)
	m.posMu.Lock()
	m.pos = pos
	m.posMu.Unlock()
	m.mu.Unlock()
	if name != "" {
		old.dropped = func() error { return m.cfg.FS.RemoveAll(m.path(old.name)) }
	}
	if err := old.release(); err != nil {
		m.cfg.Logger.Warn("drop the state that was replaced", "pkg", "state", "err", err) // the next start does it
	}
	m.tell(Applied{Index: pos.Index, Restored: true})
	return nil
}

// readCheckpoint writes the pairs of a checkpoint into an empty store, durably, if the stream is whole and makes sense.
func readCheckpoint(r io.Reader, db kv.Store) (*storepb.LogPosition, error) {
	b := db.NewBatch()
	defer func() { b.Close() }()
	if err := b.Set(keyNeedsAll, nil); err != nil {
		return nil, err
	}
	pos, err := eachPair(r, func(k, v []byte) error {
		if err := b.Set(k, v); err != nil {
			return err
		}
		if b.Len() < restoreBatchBytes {
			return nil
		}
		if err := b.Commit(false); err != nil {
			return err
		}
		err := b.Close()
		b = db.NewBatch()
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := b.Commit(false); err != nil {
		return nil, err
	}
	if err := checkVersion(db); err != nil {
		return nil, err
	}
	return pos, db.Flush()
}

// eachPair reads a checkpoint: the position, then every replicated key in ascending order. It calls f for each pair, the position's
// too; k and v are valid until f returns. What f was given counts only when eachPair returns no error.
func eachPair(r io.Reader, f func(k, v []byte) error) (*storepb.LogPosition, error) {
	p := &pairReader{in: bufio.NewReaderSize(r, 256<<10), h: sha256.New()}
	magic, err := p.take(len(checkpointMagic))
	if err != nil {
		return nil, err
	}
	if string(magic) != checkpointMagic {
		return nil, errors.New("this is no checkpoint that this program knows")
	}
	k, v, err := p.pair()
	if err != nil {
		return nil, err
	}
	pos := &storepb.LogPosition{}
	if string(k) != string(keyPosition) {
		return nil, errors.New("a checkpoint without a position")
	}
	if err := proto.Unmarshal(v, pos); err != nil {
		return nil, fmt.Errorf("decode the position: %w", err)
	}
	for last := []byte(nil); ; last = append(last[:0], k...) {
		if err := f(k, v); err != nil {
			return nil, err
		}
		if k, v, err = p.pair(); err != nil {
			return nil, err
		}
		if k == nil {
			return pos, p.end()
		}
		if !isReplicated(k) || bytes.Compare(k, last) <= 0 {
			return nil, fmt.Errorf("%.100q is no key of a checkpoint, or not in its place", k)
		}
	}
}

// tables are all that a checkpoint may hold.
var tables = string([]byte{tabCluster, tabServer, tabInvite, tabSecret, tabSetting, tabDomain, tabAccount, tabAddress, tabCredential, tabUsage, tabMailbox, tabName,
	tabSubscribed, tabEntry, tabChange, tabEmail, tabRefs, tabTombstone, tabBody, tabMissing, tabIncarnation, tabResult,
	tabQueued, tabQueueEntry, tabQueueID, tabDue, tabAttempting, tabResend, tabTrace, tabTraceTerm, tabAudit, tabRule, tabRoute})

func isReplicated(k []byte) bool {
	prefix := key(0)
	return len(k) >= len(prefix) && bytes.Equal(k[:len(prefix)-1], prefix[:len(prefix)-1]) && strings.IndexByte(tables, k[len(prefix)-1]) >= 0
}

// pairReader reads the pieces of a checkpoint, and hashes them.
type pairReader struct {
	in  *bufio.Reader
	h   hash.Hash
	buf bytes.Buffer
}

// take reads n bytes. They are valid until the next take. A length that is a lie costs no more memory than bytes come.
func (p *pairReader) take(n int) ([]byte, error) {
	p.buf.Reset()
	if _, err := io.CopyN(&p.buf, p.in, int64(n)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	p.h.Write(p.buf.Bytes())
	return p.buf.Bytes(), nil
}

// pair reads a key and its value; no key at the end.
func (p *pairReader) pair() (k, v []byte, err error) {
	b, err := p.take(8)
	if err != nil {
		return nil, nil, err
	}
	nk, nv := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if nk == 0 && nv == 0 {
		return nil, nil, nil
	}
	if nk == 0 || nk > kv.MaxKeyBytes || nv > kv.MaxValueBytes {
		return nil, nil, fmt.Errorf("a key of %d and a value of %d bytes", nk, nv)
	}
	if b, err = p.take(int(nk + nv)); err != nil {
		return nil, nil, err
	}
	return b[:nk:nk], b[nk:], nil
}

// end compares the digest, behind which nothing may come.
func (p *pairReader) end() error {
	want := p.h.Sum(nil)
	got := make([]byte, sha256.Size)
	if _, err := io.ReadFull(p.in, got); err != nil {
		return fmt.Errorf("read the digest: %w", err)
	}
	if !bytes.Equal(got, want) {
		return errors.New("the digest does not match")
	}
	if _, err := p.in.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("something comes behind the digest (%v)", err)
	}
	return nil
}
