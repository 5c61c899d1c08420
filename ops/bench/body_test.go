package bench

import (
	"math/rand/v2"
	"testing"
)

func TestBodiesCompressLikeMail(t *testing.T) {
	for _, size := range []int{1 << 10, 4 << 10, 20 << 10, 200 << 10} {
		raw, packed, err := compressed(rand.New(rand.NewPCG(1, 0)), size)
		if err != nil {
			t.Fatal(err)
		}
		if got := raw / packed; got < 1.3 || got > 1.6 {
			t.Errorf("bodies of %d bytes compress %.2f times, want 1.3 to 1.6", size, got)
		}
	}
}
