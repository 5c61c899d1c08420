package transport

import (
	"bufio"
	"bytes"
	"testing"
)

func TestFramesComeBackAsTheyWereSent(t *testing.T) {
	for _, f := range []frame{
		{id: 1, kind: kindRequest, method: "propose", body: []byte("x")},
		{id: 2, kind: kindRequest, method: "", body: nil},
		{id: 3, kind: kindOK, body: bytes.Repeat([]byte("ab"), 400<<10)},
		{id: 1<<64 - 1, kind: kindError, body: []byte("no")},
	} {
		got, err := readFrame(bufio.NewReader(bytes.NewReader(f.append(nil))), maxFrameBytes)
		if err != nil || got.id != f.id || got.kind != f.kind || got.method != f.method || !bytes.Equal(got.body, f.body) {
			t.Errorf("frame %d of kind %d came back as %d of kind %d, %q with %d bytes: %v", f.id, f.kind, got.id, got.kind, got.method, len(got.body), err)
		}
	}
}

func TestFramesAreBounded(t *testing.T) {
	f := frame{id: 1, kind: kindOK, body: make([]byte, 1000)}
	if _, err := readFrame(bufio.NewReader(bytes.NewReader(f.append(nil))), 500); err == nil {
		t.Error("a frame over the limit was read")
	}
}

// FuzzReadFrame: whatever comes, reading ends, costs no more memory than what came, and what was read is what it says.
func FuzzReadFrame(f *testing.F) {
	f.Add(frame{id: 1, kind: kindRequest, method: "term"}.append(nil))
	f.Add(frame{id: 1, kind: kindOK, body: []byte("12345678")}.append(nil))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 255})
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := readFrame(bufio.NewReader(bytes.NewReader(raw)), maxFrameBytes)
		if err != nil {
			return
		}
		if again := got.append(nil); !bytes.Equal(again, raw[:len(again)]) {
			t.Errorf("%x reads as %x", raw, again)
		}
		if cap(got.body) > 2*len(raw)+1024 && cap(got.body) > 256<<10 {
			t.Errorf("%d bytes made a buffer of %d", len(raw), cap(got.body))
		}
	})
}
