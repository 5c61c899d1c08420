package directory

import (
	"testing"

	"github.com/quorumail/quorumail/store/blob"
)

func memoryBlobs(t testing.TB) blob.Store {
	t.Helper()
	return blob.NewMemory()
}
