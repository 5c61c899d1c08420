package smtp

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// queueIDs are written in the alphabet whose order is that of the bytes, so that ids sort as they were made.
var queueIDs = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewQueueID names a message in traces, replies and queues: 16 characters, 6 bytes of milliseconds then 4 random ones.
func NewQueueID(now time.Time) string {
	var b [10]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	_, _ = rand.Read(b[6:]) // never fails: it ends the process rather than return an error
	return queueIDs.EncodeToString(b[:])
}
