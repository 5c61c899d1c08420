package clock

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/quorumail/quorumail/jepsen/freeze"
)

// vdso is the vDSO of one process.
type vdso struct {
	base  int64
	image []byte
	entry int64 // of __vdso_clock_gettime in the image, where a jump can stand
	spare int64 // in the image: the unused bytes at its end
}

// take reads the offset of a program that has the function already, or gives it one.
func (c *Clock) take(pid int) error {
	v, err := c.find(pid)
	if err != nil {
		return err
	}
	code := stub()
	c.data = v.base + v.spare + int64(len(code))
	if bytes.HasPrefix(v.image[v.spare:], code) && bytes.HasPrefix(v.image[v.entry:], jump(v.entry, v.spare)) {
		data := v.image[v.spare+int64(len(code)):]
		c.slot = int(data[0]) % slots
		c.offset = time.Duration(binary.LittleEndian.Uint64(data[slotAt(c.slot):]))
		return nil
	}
	if len(bytes.Trim(v.image[v.spare:], "\x00")) > 0 || len(v.image)-int(v.spare) < len(code)+dataBytes {
		return fmt.Errorf("%w: the vDSO has no room", ErrUnsupported)
	}
	return c.patch(pid, v, code)
}

// patch writes the function while nobody reads it, and then, while the program stands, the jump to it.
func (c *Clock) patch(pid int, v vdso, code []byte) (err error) {
	if _, err := c.mem.WriteAt(code, v.base+v.spare); err != nil {
		return fmt.Errorf("write into the vDSO: %w", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		stopped, err := freeze.Stop(pid)
		if err != nil {
			return err
		}
		free := !within(pid, v.base, v.base+int64(len(v.image)))
		if free {
			_, err = c.mem.WriteAt(jump(v.entry, v.spare), v.base+v.entry)
		}
		if err := errors.Join(err, freeze.Resume(stopped)); err != nil || free {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("a thread is always inside the vDSO")
		}
	}
}

// within tells whether a thread of a program that stands is at an address of a range. The rest of the old function stays, so that a signal
// handler may return into it; only the bytes of the jump itself are overwritten.
func within(pid int, from, to int64) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	if err != nil {
		return true
	}
	for _, path := range threads {
		raw, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		fields := strings.Fields(string(raw)) // proc_pid_syscall(5): the last is the program counter; "running" has none
		if err != nil || len(fields) < 2 {
			return true
		}
		pc, err := strconv.ParseInt(strings.TrimPrefix(fields[len(fields)-1], "0x"), 16, 64)
		if err == nil && pc >= from && pc < to {
			return true
		}
	}
	return false
}

// find reads the vDSO out of a program's memory.
func (c *Clock) find(pid int) (vdso, error) {
	if runtime.GOARCH != "amd64" {
		return vdso{}, fmt.Errorf("%w: the machine code is for x86-64, this is %s", ErrUnsupported, runtime.GOARCH)
	}
	from, to, err := mapping(pid)
	if err != nil {
		return vdso{}, err
	}
	v := vdso{base: from, image: make([]byte, to-from)}
	if _, err := c.mem.ReadAt(v.image, from); err != nil {
		return vdso{}, fmt.Errorf("read the vDSO: %w", err)
	}
	file, err := elf.NewFile(bytes.NewReader(v.image))
	if err != nil {
		return vdso{}, fmt.Errorf("%w: parse the vDSO: %w", ErrUnsupported, err)
	}
	if file.Machine != elf.EM_X86_64 {
		return vdso{}, fmt.Errorf("%w: the program is for %v", ErrUnsupported, file.Machine)
	}
	if v.entry, err = entry(file, v.image); err != nil {
		return vdso{}, err
	}
	v.spare = end(file, v.image)
	return v, nil
}

// mapping finds where the vDSO lies.
func mapping(pid int) (from, to int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("look for the vDSO: %w", err)
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			_, err := fmt.Sscanf(line, "%x-%x", &from, &to)
			return from, to, err
		}
	}
	return 0, 0, fmt.Errorf("%w: the kernel gives the program no vDSO", ErrUnsupported)
}

// entry finds where the function begins, behind the mark for indirect jumps (endbr64) if it has one.
func entry(file *elf.File, image []byte) (int64, error) {
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return 0, fmt.Errorf("%w: read the vDSO's names: %w", ErrUnsupported, err)
	}
	for _, s := range symbols {
		if s.Name != "__vdso_clock_gettime" || s.Size < 4+jumpBytes || s.Value+s.Size > uint64(len(image)) {
			continue
		}
		if bytes.HasPrefix(image[s.Value:], []byte{0xf3, 0x0f, 0x1e, 0xfa}) {
			return int64(s.Value) + 4, nil
		}
		return int64(s.Value), nil
	}
	return 0, fmt.Errorf("%w: the vDSO has no clock_gettime", ErrUnsupported)
}

// end finds the first bytes behind all that the ELF file describes, at a multiple of 16. The table of sections is the last of it.
func end(file *elf.File, image []byte) int64 {
	last := uint64(0)
	for _, s := range file.Sections {
		if s.Type != elf.SHT_NOBITS {
			last = max(last, s.Offset+s.FileSize)
		}
	}
	table := binary.LittleEndian.Uint64(image[0x28:]) // e_shoff
	last = max(last, table+uint64(len(file.Sections))*64)
	return min(int64(last+15)&^15, int64(len(image)))
}
