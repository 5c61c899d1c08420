package mime

import (
	"bytes"
	"testing"
)

// A summary of a real message comes back whole from its stored form, which is small, and does not depend on which line ends a file has.
func TestCorpusSummaries(t *testing.T) {
	corpus(t, func(t *testing.T, raw []byte) {
		s := summarize(raw)
		stored := s.Marshal()
		if len(stored) > MaxSummaryBytes {
			t.Errorf("the stored summary has %d bytes", len(stored))
		}
		if back, err := UnmarshalSummary(stored); err != nil || !back.Equal(s) {
			t.Fatalf("stored and read again: %v", err)
		}
		lf := bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
		wire := summarize(bytes.ReplaceAll(lf, []byte("\n"), []byte("\r\n")))
		if a, b := len(s.Structure.TextParts()), len(wire.Structure.TextParts()); a != b || wire.Preview != s.Preview {
			t.Errorf("line ends make a difference: %d and %d texts, previews %q and %q", a, b, s.Preview, wire.Preview)
		}
	})
}
