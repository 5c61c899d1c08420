package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/bench"
)

// methodSpent is the call by which nodes ask each other what they have used.
const methodSpent = "node/spent"

func spentCommand() *cobra.Command {
	return withJSON(&cobra.Command{Use: "spent", Short: "What all nodes have used since they started: processor time, and bytes written to disk", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := call[bench.Spent](cmd, "spent", admin.Empty{})
			if err != nil {
				return err
			}
			return show(cmd, s, "CPU-SECONDS WRITTEN-BYTES", [][]string{{fmt.Sprintf("%.2f", s.CPUSeconds), strconv.FormatInt(s.WrittenBytes, 10)}})
		}})
}

// processSpent is what this process has used since it started: processor time, and bytes that it made the disk write.
func processSpent() (bench.Spent, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return bench.Spent{}, fmt.Errorf("read the processor time: %w", err)
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	s := bench.Spent{CPUSeconds: seconds(u.Utime) + seconds(u.Stime)}
	raw, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return s, nil // not on this system: then only the processor time is told
	}
	for line := range bytes.Lines(raw) {
		if v, ok := bytes.CutPrefix(line, []byte("write_bytes: ")); ok {
			s.WrittenBytes, err = strconv.ParseInt(string(bytes.TrimSpace(v)), 10, 64)
		}
	}
	return s, err
}

func answerSpent(context.Context, cluster.ServerID, []byte) ([]byte, error) {
	s, err := processSpent()
	if err != nil {
		return nil, err
	}
	return json.Marshal(s)
}

// spent adds up what all nodes have used.
func (n *node) spent(ctx context.Context, _ admin.Empty) (bench.Spent, error) {
	var sum bench.Spent
	for _, m := range n.cluster.Configuration().Servers {
		raw, err := n.cluster.Call(ctx, m.ID, methodSpent, nil)
		if err != nil {
			return sum, fmt.Errorf("ask node %s: %w", m.ID, err)
		}
		var s bench.Spent
		if err := json.Unmarshal(raw, &s); err != nil {
			return sum, fmt.Errorf("read the answer of node %s: %w", m.ID, err)
		}
		sum.CPUSeconds, sum.WrittenBytes = sum.CPUSeconds+s.CPUSeconds, sum.WrittenBytes+s.WrittenBytes
	}
	return sum, nil
}
