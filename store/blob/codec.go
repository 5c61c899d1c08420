package blob

import (
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Compressors, decompressors and buffers are taken for one frame and given back: their number follows the frames in work at the same
// time, not the open bodies. The garbage collector empties the pools when the node idles.
var (
	encoders = sync.Pool{New: func() any {
		// Attachments are base64: no repetitions, but a quarter of each byte is waste. The fastest level leaves such blocks as they are
		// unless it is told to compress literals too.
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithAllLitEntropyCompression(true), zstd.WithWindowSize(FrameBytes), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(fmt.Sprintf("zstd encoder options: %v", err)) // constants: found by the first test
		}
		return e
	}}
	decoders = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(FrameBytes), zstd.WithDecoderMaxWindow(FrameBytes))
		if err != nil {
			panic(fmt.Sprintf("zstd decoder options: %v", err))
		}
		return d
	}}
	frameBuffers = sync.Pool{New: func() any { b := make([]byte, 0, FrameBytes); return &b }}
)

// compressFrame appends the stored form of a frame to dst: compressed, or as it is if that is not shorter.
func compressFrame(dst, raw []byte) ([]byte, frame) {
	e := encoders.Get().(*zstd.Encoder)
	start := len(dst)
	dst = e.EncodeAll(raw, dst)
	encoders.Put(e)
	f := frame{}
	if len(dst)-start >= len(raw) {
		dst = append(dst[:start], raw...)
		f.raw = true
	}
	f.stored = len(dst) - start
	f.crc = crc32.Checksum(dst[start:], castagnoli)
	return dst, f
}

// expandFrame checks a stored frame and decompresses it into dst, which has room for rawBytes.
func expandFrame(dst, stored []byte, f frame, rawBytes int) ([]byte, error) {
	if crc32.Checksum(stored, castagnoli) != f.crc {
		return nil, fmt.Errorf("frame's checksum: %w", ErrCorrupt)
	}
	if f.raw {
		return append(dst[:0], stored...), nil
	}
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	out, err := d.DecodeAll(stored, dst[:0])
	if err != nil {
		return nil, fmt.Errorf("decompress frame: %w: %w", err, ErrCorrupt)
	}
	if len(out) != rawBytes {
		return nil, fmt.Errorf("frame of %d raw bytes, want %d: %w", len(out), rawBytes, ErrCorrupt)
	}
	return out, nil
}
