package lab

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/quorumail/quorumail/jepsen/net"
	"golang.org/x/sys/unix"
)

// ownName is how all namespaces and cgroups of laboratories are called: with the id of the process that made them.
var ownName = regexp.MustCompile(`^qj-([0-9]+)-`)

// sweep removes what processes that are gone have left.
func sweep(log *slog.Logger) {
	leftovers("/run/netns", log, net.RemoveNamespace)
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return // a kernel without cgroups
	}
	for _, controller := range []string{"cpu", "memory"} {
		if g, err := cgroupOf(string(membership), controller); err == nil {
			leftovers(g.parent(), log, os.Remove)
		}
	}
}

// leftovers removes what is in a folder and belongs to a process that is gone.
func leftovers(dir string, log *slog.Logger, remove func(path string) error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // there is none yet
	}
	for _, e := range entries {
		m := ownName.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		pid, err := strconv.Atoi(m[1])
		if err != nil || unix.Kill(pid, 0) != unix.ESRCH {
			continue
		}
		path := filepath.Join(dir, e.Name())
		// Another laboratory may be sweeping too.
		if err := remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			log.Warn("left over by a process that is gone", "path", path, "err", err)
		}
	}
}
