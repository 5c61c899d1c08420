package dev

import (
	"fmt"
	"path/filepath"
	"strings"
)

// guide says in a screenful how to try the cluster.
func guide(d Description, dir string) string {
	var b strings.Builder
	b.WriteString("\nThe cluster serves. Every node takes mail, every node shows it.\n\n")
	// Each node takes two lines, so that the table fits into 80 columns.
	row := "  %-5s %-8s %-16s %-16s %-16s %s\n"
	fmt.Fprintf(&b, row, "node", "pid", "smtp", "submission", "imap", "admin")
	fmt.Fprintf(&b, row, "", "", "lmtp", "submissions", "imaps", "metrics")
	leader, rest := d.Nodes[0], []Node{}
	for _, n := range d.Nodes {
		mark := ""
		if n.Leader {
			mark, leader = "leads", n
		} else {
			rest = append(rest, n)
		}
		fmt.Fprintf(&b, row, n.Name, fmt.Sprint(n.PID), n.SMTP, n.Submission, n.IMAP, n.Admin)
		fmt.Fprintf(&b, row, "", mark, n.LMTP, n.Submissions, n.IMAPS, n.Metrics)
	}
	b.WriteString("\n  accounts\n")
	for _, a := range d.Accounts[:2] {
		fmt.Fprintf(&b, "    %-20s %s\n", a.Address, a.Password)
	}
	if more := len(d.Accounts) - 2; more > 0 {
		fmt.Fprintf(&b, "    and %d more: u000@example.test and so on, all with the password %s\n", more, d.Accounts[2].Password)
	}
	// Both lines go to nodes that stay when the leader is killed.
	send, read := leader, leader
	if len(rest) > 0 {
		send, read = rest[0], rest[len(rest)-1]
	}
	b.WriteString(lines(d, send, read, leader))
	fmt.Fprintf(&b, "\nA node that was killed starts again with:  %s dev restart %s --dir %s\n", d.Bin, leader.Name, dir)
	fmt.Fprintf(&b, "Figures of %s: http://%s/metrics   its log: %s\n", leader.Name, leader.Metrics, filepath.Join(dir, leader.Name, "log"))
	fmt.Fprintf(&b, "Administer it with:  %s account list --config %s   (or --help)\n", d.Bin, d.Config)
	b.WriteString("Ctrl-C stops all of it; the next start finds the mail again.\n\n")
	return b.String()
}

// lines are what one pastes to try it.
func lines(d Description, send, read, leader Node) string {
	an, binh := d.Accounts[0], d.Accounts[1]
	var b strings.Builder
	fmt.Fprintf(&b, "\nPaste these to send a message at %s and read it at %s", send.Name, read.Name)
	if len(d.Nodes) > 2 {
		fmt.Fprintf(&b, ", kill the leader, and do both again: mail goes on")
	}
	fmt.Fprintf(&b, ":\n\n  printf 'From: <%[1]s>\\r\\nTo: <%[3]s>\\r\\nSubject: hello\\r\\n\\r\\nhello at %%s\\r\\n' \"$(date)\" | curl -sS smtp://%[4]s --user '%[1]s:%[2]s' --mail-from %[1]s --mail-rcpt %[3]s -T -\n",
		an.Address, an.Password, binh.Address, send.Submission)
	fmt.Fprintf(&b, "  curl -sS 'imap://%s/INBOX;UID=*' --user '%s:%s'\n", read.IMAP, binh.Address, binh.Password)
	if len(d.Nodes) > 2 {
		fmt.Fprintf(&b, "  kill -9 %d\n", leader.PID)
	}
	fmt.Fprintf(&b, "\nor, to send:  swaks --server %[1]s --auth-user %[2]s --auth-password %[3]s --from %[2]s --to %[4]s\n", send.Submission, an.Address, an.Password, binh.Address)
	return b.String()
}
