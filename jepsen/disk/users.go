package disk

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// users finds the programs that have something open in one of the folders, this one not counted.
func users(folders []string) (pids []int) {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	for _, dir := range all {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err == nil && pid != os.Getpid() && uses(dir, folders) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// uses looks at what a program has open, and at where it is.
func uses(proc string, folders []string) bool {
	links := []string{filepath.Join(proc, "cwd")}
	fds, _ := os.ReadDir(filepath.Join(proc, "fd")) // it may have ended
	for _, fd := range fds {
		links = append(links, filepath.Join(proc, "fd", fd.Name()))
	}
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil {
			continue
		}
		for _, folder := range folders {
			if to == folder || strings.HasPrefix(to, folder+"/") {
				return true
			}
		}
	}
	return false
}
