package raftlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealBytes is how much a checksum takes at the end of an entry's data.
const sealBytes = 4

// sum covers everything but the time of the entry, which only its metrics use.
func sum(e *raft.Log, data []byte) uint32 {
	var h [21]byte
	binary.BigEndian.PutUint64(h[:], e.Index)
	binary.BigEndian.PutUint64(h[8:], e.Term)
	h[16] = byte(e.Type)
	binary.BigEndian.PutUint32(h[17:], uint32(len(e.Extensions)))
	c := crc32.Checksum(h[:], castagnoli)
	c = crc32.Update(c, castagnoli, e.Extensions)
	return crc32.Update(c, castagnoli, data)
}

func sealAll(entries []*raft.Log) []*raft.Log {
	sealed := make([]*raft.Log, len(entries))
	for i, e := range entries {
		c := *e
		c.Data = make([]byte, 0, len(e.Data)+sealBytes)
		c.Data = append(c.Data, e.Data...)
		c.Data = binary.BigEndian.AppendUint32(c.Data, sum(e, e.Data))
		sealed[i] = &c
	}
	return sealed
}

func unseal(index uint64, e *raft.Log) error {
	n := len(e.Data) - sealBytes
	if n < 0 || e.Index != index || binary.BigEndian.Uint32(e.Data[n:]) != sum(e, e.Data[:n]) {
		return fmt.Errorf("entry %d: %w", index, ErrRot)
	}
	e.Data = e.Data[:n]
	return nil
}

// averageSize follows the size of the entries.
type averageSize struct{ bits atomic.Uint64 }

// averageWeight is how many entries the average forgets slowly.
const averageWeight = 4096

// count has one caller at a time.
func (a *averageSize) count(entries []*raft.Log) {
	v := math.Float64frombits(a.bits.Load())
	for _, e := range entries {
		size := float64(len(e.Data) + 64)
		if v == 0 {
			v = size
		}
		v += (size - v) / averageWeight
	}
	a.bits.Store(math.Float64bits(v))
}

func (a *averageSize) bytes() int64 { return int64(math.Float64frombits(a.bits.Load())) }
