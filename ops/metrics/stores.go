package metrics

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/kv"
)

// Bodies makes figures of the body store, quorumail_blob_…, asked for at each scrape. How many bodies share an fsync is
// rate(puts_total) / rate(fsyncs_total).
func Bodies(get func() blob.Stats) prometheus.Collector {
	s := &snapshot[blob.Stats]{get: func() (blob.Stats, error) { return get(), nil }}
	s.add("blob", []figure[blob.Stats]{
		{"bodies", "Bodies stored here.", prometheus.GaugeValue, func(b blob.Stats) float64 { return float64(b.Bodies) }},
		{"corrupt_bodies", "Bodies stored here that are known to be corrupt.", prometheus.GaugeValue, func(b blob.Stats) float64 { return float64(b.CorruptKnown) }},
		{"live_bytes", "Bytes of bodies that are needed.", prometheus.GaugeValue, func(b blob.Stats) float64 { return float64(b.LiveBytes) }},
		{"disk_bytes", "Bytes of all segment files.", prometheus.GaugeValue, func(b blob.Stats) float64 { return float64(b.TotalBytes) }},
		{"segments", "Segment files.", prometheus.GaugeValue, func(b blob.Stats) float64 { return float64(b.Segments) }},
		{"puts_total", "Bodies written.", prometheus.CounterValue, func(b blob.Stats) float64 { return float64(b.Puts) }},
		{"put_bytes_total", "Bytes of the bodies written.", prometheus.CounterValue, func(b blob.Stats) float64 { return float64(b.PutBytes) }},
		{"deletes_total", "Bodies deleted.", prometheus.CounterValue, func(b blob.Stats) float64 { return float64(b.Deletes) }},
		{"fsyncs_total", "Fsyncs of segment files.", prometheus.CounterValue, func(b blob.Stats) float64 { return float64(b.Fsyncs) }},
		{"sync_waits_total", "Times that somebody waited for an fsync.", prometheus.CounterValue, func(b blob.Stats) float64 { return float64(b.SyncWaits) }},
		{"compacted_segments_total", "Segment files rewritten or removed.", prometheus.CounterValue, func(b blob.Stats) float64 { return float64(b.Compacted) }},
	})
	return s
}

// State makes figures of the store that holds the replicated state, quorumail_state_…, asked for at each scrape. Its counters begin anew
// when a checkpoint replaces the state.
func State(get func() kv.Metrics) prometheus.Collector {
	s := &snapshot[kv.Metrics]{get: func() (kv.Metrics, error) { return get(), nil }}
	s.add("state", []figure[kv.Metrics]{
		{"disk_bytes", "Bytes on disk.", prometheus.GaugeValue, func(m kv.Metrics) float64 { return float64(m.DiskBytes) }},
		{"memtable_bytes", "Bytes in memory that are not in tables yet.", prometheus.GaugeValue, func(m kv.Metrics) float64 { return float64(m.MemTableSize) }},
		{"cache_hits_total", "Blocks read from the cache.", prometheus.CounterValue, func(m kv.Metrics) float64 { return float64(m.CacheHits) }},
		{"cache_misses_total", "Blocks that the cache did not have.", prometheus.CounterValue, func(m kv.Metrics) float64 { return float64(m.CacheMisses) }},
		{"flushes_total", "Memtables written to tables.", prometheus.CounterValue, func(m kv.Metrics) float64 { return float64(m.Flushes) }},
		{"compactions_total", "Compactions of tables.", prometheus.CounterValue, func(m kv.Metrics) float64 { return float64(m.Compactions) }},
		{"compaction_debt_bytes", "Bytes that compactions still have to rewrite.", prometheus.GaugeValue, func(m kv.Metrics) float64 { return float64(m.CompactionDebt) }},
		{"written_bytes_total", "Bytes written to tables and their log.", prometheus.CounterValue, func(m kv.Metrics) float64 { return float64(m.BytesWritten) }},
		{"write_stalls_total", "Times that writing waited for flushes or compactions.", prometheus.CounterValue, func(m kv.Metrics) float64 { return float64(m.WriteStalls) }},
		{"read_amplification", "Tables that a read may have to look into.", prometheus.GaugeValue, func(m kv.Metrics) float64 { return float64(m.ReadAmp) }},
		{"open_views", "Views that are open and keep old data on disk.", prometheus.GaugeValue, func(m kv.Metrics) float64 { return float64(m.OpenSnapshots) }},
		{"tombstones", "Deleted keys that still take space.", prometheus.GaugeValue, func(m kv.Metrics) float64 { return float64(m.TombstonesCount) }},
	})
	return s
}

// Log makes figures of the replicated log in a folder, quorumail_raftlog_…: how many bytes its files have. It shrinks when a snapshot
// lets old entries go; a log that only grows has none.
func Log(dir string) prometheus.Collector {
	s := &snapshot[int64]{get: func() (int64, error) { return folderBytes(dir) }}
	s.add("raftlog", []figure[int64]{
		{"disk_bytes", "Bytes of the replicated log's files.", prometheus.GaugeValue, func(n int64) float64 { return float64(n) }},
	})
	return s
}

// folderBytes adds up the files in a folder. Those that go away meanwhile do not count.
func folderBytes(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}

// Disk makes figures of the room on the data folder's disk: how much is free, and how much must be free for this node to take new mail.
func Disk(freeBytes func() (int64, error), minFreeBytes int64) prometheus.Collector {
	s := &snapshot[int64]{get: freeBytes}
	s.add("disk", []figure[int64]{
		{"free_bytes", "Free bytes on the disk of the data folder.", prometheus.GaugeValue, func(free int64) float64 { return float64(free) }},
		{"min_free_bytes", "Free bytes below which this node takes no new mail.", prometheus.GaugeValue, func(int64) float64 { return float64(minFreeBytes) }},
	})
	return s
}
