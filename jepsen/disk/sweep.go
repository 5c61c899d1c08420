package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Sweep removes a folder with volumes whose owner was killed: it kills the programs that still use what is in it, takes off what is mounted
// below it, dead or alive, and removes the rest.
func Sweep(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("sweep a folder: %w", err)
	}
	for _, pid := range users([]string{dir}) {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill process %d, which still uses %s: %w", pid, dir, err)
		}
	}
	points, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, point := range slices.Backward(points) { // what was mounted last lies on top
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("take off the mount %s: %w", point, err)
		}
	}
	return removeAll(dir)
}

// mountsBelow lists the mount points below a folder, in the order in which they were mounted.
func mountsBelow(dir string) (points []string, err error) {
	raw, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	blank := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`) // proc_pid_mounts(5)
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) > 1 {
			if point := blank.Replace(fields[1]); strings.HasPrefix(point, dir+"/") {
				points = append(points, point)
			}
		}
	}
	return points, nil
}
