package db

import (
	"slices"
	"testing"
)

func TestSuspiciousLines(t *testing.T) {
	log := `time=1 level=INFO msg="the node takes part"
panic: runtime error: index out of range

goroutine 12 [running]:
main.f()
goroutine 13 [select]:
time=2 level=ERROR msg="this node stops" err="the log is damaged"
WARNING: DATA RACE
time=3 level=ERROR msg="invariant broken" mailbox=7
time=4 level=ERROR msg="session ended in a panic" err="index out of range" stack="goroutine 7 [running]:\n"
`
	want := []string{"panic: runtime error: index out of range", "WARNING: DATA RACE", `time=3 level=ERROR msg="invariant broken" mailbox=7`,
		`time=4 level=ERROR msg="session ended in a panic" err="index out of range" stack="goroutine 7 [running]:\n"`}
	if got := suspicious([]byte(log)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := suspicious([]byte("time=1 level=ERROR msg=\"this node stops\" err=\"fsync: input/output error\"\n")); got != nil {
		t.Errorf("a node that stops on purpose: %q", got)
	}
}
