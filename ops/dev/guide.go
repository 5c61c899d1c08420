package dev

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
)

// guide says in a screenful how to try the cluster.
func guide(d Description) string {
	var b strings.Builder
	b.WriteString("\nThe cluster serves. Every node takes mail, every node shows it.\n\n")
	fmt.Fprintf(&b, "  %-5s %-8s %-16s %-16s %-16s %-16s %s\n", "node", "pid", "smtp", "submission", "imap", "imaps", "")
	var leader, other Node
	for _, n := range d.Nodes {
		mark := ""
		if n.Leader {
			mark, leader = "leads", n
		} else {
			other = n
		}
		fmt.Fprintf(&b, "  %-5s %-8d %-16s %-16s %-16s %-16s %s\n", n.Name, n.PID, n.SMTP, n.Submission, n.IMAP, n.IMAPS, mark)
	}
	if other.Name == "" {
		other = d.Nodes[0]
	}
	b.WriteString("\n  accounts\n")
	for _, a := range d.Accounts[:min(len(d.Accounts), 2)] {
		fmt.Fprintf(&b, "    %s  %s\n", a.Address, a.Password)
	}
	if more := len(d.Accounts) - 2; more > 0 {
		fmt.Fprintf(&b, "    … and %d more: u000@example.test and so on, all with the password %s\n", more, d.Accounts[2].Password)
	}
	an, binh := d.Accounts[0], d.Accounts[1]
	fmt.Fprintf(&b, `
Send a message at one node, read it at another, then kill the leader and do both again:

  printf 'From: <%[1]s>\r\nTo: <%[3]s>\r\nSubject: hello\r\n\r\nhello\r\n' | curl -sS smtp://%[5]s --user '%[1]s:%[2]s' --mail-from %[1]s --mail-rcpt %[3]s -T -
  curl -sS 'imap://%[6]s/INBOX;UID=*' --user '%[3]s:%[4]s'
  kill -9 %[7]d

A node that was killed starts again with:  %[8]s dev restart %[9]s --dir %[10]s
Ctrl-C stops all of it; the next start finds the mail again.

`, an.Address, an.Password, binh.Address, binh.Password, other.Submission, d.Nodes[len(d.Nodes)-1].IMAP, leader.PID, d.Bin, leader.Name, parent(d.Config, 2))
	return b.String()
}

func parent(path string, levels int) string {
	for range levels {
		path = path[:strings.LastIndexByte(path, '/')]
	}
	return path
}

// watch prints the live line until ctx ends: who leads, and how far each node is.
func (l *layout) watch(ctx context.Context, out io.Writer) {
	for {
		fmt.Fprintf(out, "\r\x1b[K%s", l.liveLine(ctx))
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
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
			parts = append(parts, fmt.Sprintf("%s %d (%s)", n.Name, st.Applied, st.NotReady))
		}
		if err == nil && st.Leader == st.Name && st.State == "leader" {
			leader = st.Name
		}
	}
	return "leads: " + leader + " | applied: " + strings.Join(parts, ", ")
}
