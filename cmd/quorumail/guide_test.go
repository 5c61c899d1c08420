package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// devGuide is a "quorumail dev" as people run it.
type devGuide struct {
	t   *testing.T
	dir string
	out *os.File
	cmd *exec.Cmd
}

func (g *devGuide) start(bin string) {
	g.t.Helper()
	g.cmd = exec.Command(bin, "dev", "--dir", g.dir)
	g.cmd.Stdout, g.cmd.Stderr = g.out, g.out
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(g.stop)
}

// stop is Ctrl-C.
func (g *devGuide) stop() {
	if g.cmd.ProcessState != nil {
		return
	}
	_ = g.cmd.Process.Signal(os.Interrupt)
	if err := g.cmd.Wait(); err != nil {
		g.t.Errorf("dev ended with %v:\n%s", err, g.text())
	}
	_ = g.out.Close()
}

func (g *devGuide) text() string {
	g.t.Helper()
	raw, err := os.ReadFile(g.out.Name())
	if err != nil {
		g.t.Fatal(err)
	}
	return string(raw)
}

func (g *devGuide) waitFor(text string) {
	g.t.Helper()
	await(g.t, "dev prints "+text, func() bool {
		if strings.Contains(g.text(), "\nquorumail: ") {
			g.t.Fatalf("dev gave up:\n%s", g.text())
		}
		return strings.Contains(g.text(), text)
	})
}

// line is the line of the output that contains part.
func (g *devGuide) line(part string) string {
	g.t.Helper()
	for line := range strings.Lines(g.text()) {
		if strings.Contains(line, part) {
			return strings.TrimSpace(line)
		}
	}
	g.t.Fatalf("no line with %q in:\n%s", part, g.text())
	return ""
}
