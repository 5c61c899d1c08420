// Package remotetest starts real mail servers, of Debian packages, that tests send mail to or compare with.
//
// A [Lab] is a folder of a test's own, with the configuration, queue, mailboxes and logs of the servers in it. They end with the test, whatever
// becomes of it. Where they cannot run the test is skipped, with what is missing as the reason.
package remotetest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Lab is where servers run.
type Lab struct {
	Dir string
	// Roots are the ids of the processes that started the servers.
	Roots []int

	t testing.TB
}

// New makes a lab, with folders for what the servers keep. They are started by root, so without it the test is skipped.
func New(t testing.TB) *Lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mail servers must be started by root")
	}
	return &Lab{Dir: Folder(t), t: t}
}

// Folder makes a folder that servers, which run as several users, may enter. Its path is short: sockets lie in it.
func Folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Give gives a file to a user.
func Give(t testing.TB, path, name string) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}

// Program finds a program that is not in everybody's path. Without it the test is skipped.
func Program(t testing.TB, name, debianPackage string) string {
	t.Helper()
	for _, path := range []string{name, filepath.Join("/usr/sbin", name)} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	t.Skipf("%s is not there: install the Debian package %s", name, debianPackage)
	return ""
}

// FreePort finds a port of a local address that nobody listens on.
func FreePort(t testing.TB, ip string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Skipf("no port at %s: %v", ip, err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// Path is that of something in the lab.
func (l *Lab) Path(name string) string { return filepath.Join(l.Dir, name) }

// Write writes a file that every server may read.
func (l *Lab) Write(name, text string) {
	l.t.Helper()
	if err := os.WriteFile(l.Path(name), []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// mkdir makes a folder, unless it is there, and gives it to a user.
func (l *Lab) mkdir(name, owner string) {
	l.t.Helper()
	if err := os.MkdirAll(l.Path(name), 0o755); err != nil {
		l.t.Fatal(err)
	}
	Give(l.t, l.Path(name), owner)
}

// supervise runs a command and ends it when its input ends, as it does when whoever holds the other end ends, however that comes about.
const supervise = `"$@" & read line; kill $!; wait $!`

// Run starts a server, waits until it listens, and sees to its end. A master that is told to end ends all its processes.
func (l *Lab) Run(name, address string, program ...string) {
	l.t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", supervise, "sh"}, program...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a Ctrl-C of the terminal is for us alone
	cmd.WaitDelay = time.Second                          // children may keep the output open
	if err := cmd.Start(); err != nil {
		l.t.Fatalf("start %s: %v", name, err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	l.t.Cleanup(func() {
		_ = in.Close()
		select {
		case <-exited:
		case <-time.After(20 * time.Second):
			l.t.Errorf("%s does not stop", name)
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-exited
		}
	})
	l.Roots = append(l.Roots, cmd.Process.Pid)
	if err := AwaitListening(address, exited); err != nil {
		l.t.Fatalf("%s at %s: %v\n%s\n%s", name, address, err, out.String(), l.Logs())
	}
}

// Logs is the end of what the servers wrote.
func (l *Lab) Logs() string {
	var all strings.Builder
	for _, name := range []string{"postfix.log", "dovecot.log"} {
		raw, _ := os.ReadFile(l.Path(name))
		fmt.Fprintf(&all, "the end of %s:\n%s", name, raw[max(0, len(raw)-2000):])
	}
	return all.String()
}

// AwaitListening waits until somebody listens at address, or the process that should do so has ended.
func AwaitListening(address string, exited <-chan struct{}) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-exited:
			return errors.New("it ended")
		case <-tick.C:
		}
	}
	return errors.New("nobody listens there")
}
