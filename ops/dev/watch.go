package dev

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
)

// watchEvery is how often the nodes are looked at.
const watchEvery = time.Second

// watch says when a node ended or is back, and keeps the live line: who leads, and how far each node is. It ends with ctx.
func (l *layout) watch(ctx context.Context, s *screen, bin string, line bool) {
	up := map[string]int{}
	for _, n := range l.Nodes {
		up[n.Name] = l.pid(n.Name)
	}
	for {
		for _, n := range l.Nodes {
			pid := l.pid(n.Name)
			switch {
			case pid == 0 && up[n.Name] != 0 && ctx.Err() == nil:
				s.say("node %s (process %d) ended; start it again with: %s dev restart %s --dir %s", n.Name, up[n.Name], bin, n.Name, l.dir)
			case pid != 0 && pid != up[n.Name]:
				s.say("node %s runs again, as process %d", n.Name, pid)
			}
			up[n.Name] = pid
		}
		if line {
			s.show(l.liveLine(ctx))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(watchEvery):
		}
	}
}

func (l *layout) liveLine(ctx context.Context) string {
	leader, parts := "nobody", []string{}
	for _, n := range l.Nodes {
		var st admin.Status
		ask, cancel := context.WithTimeout(ctx, time.Second)
		err := l.client(n.Name).Call(ask, "status", admin.Empty{}, &st)
		cancel()
		switch {
		case err != nil:
			parts = append(parts, n.Name+" down")
		case st.Ready:
			parts = append(parts, fmt.Sprintf("%s %d", n.Name, st.Applied))
		default:
			parts = append(parts, fmt.Sprintf("%s %d (not ready)", n.Name, st.Applied))
		}
		if err == nil && st.State == "leader" {
			leader = fmt.Sprintf("%s (process %d)", st.Name, l.pid(n.Name))
		}
	}
	return "leads: " + leader + " | applied: " + strings.Join(parts, ", ")
}
