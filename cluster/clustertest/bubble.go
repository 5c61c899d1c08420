package clustertest

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
)

// Bubble runs f in a synctest bubble. When it ends, no goroutine may be left in it, but for one kind: hashicorp/raft never answers the
// futures that wait in its queue when it is shut down, and whoever waits for one cannot be told to stop. In the product the process is
// at its end then.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if !strings.Contains(fmt.Sprint(r), "blocked goroutines remain") {
			panic(r)
		}
		if left := leftovers(); left != "" {
			t.Errorf("a goroutine is left:\n%s", left)
		}
	}()
	synctest.Test(t, f)
}

// leftovers are the goroutines of bubbles that wait for something else than such a future.
func leftovers() string {
	buf := make([]byte, 16<<20)
	var left []string
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if head, _, _ := strings.Cut(g, "\n"); strings.Contains(head, "synctest bubble") && !strings.Contains(g, "raft.(*deferError).Error") {
			left = append(left, g)
		}
	}
	return strings.Join(left, "\n\n")
}
