package clock

import "encoding/binary"

// The data behind the function: the number of the slot that counts (a byte, padded to 8), and the slots, each an offset in nanoseconds.
const (
	slots     = 16
	dataBytes = 8 + slots*8
)

func slotAt(i int) int64 { return int64(8 + i*8) }

// stub is the machine code of clock_gettime(edi clock, rsi *timespec) for x86-64, without the data that follow it. Only registers that a
// function may change are changed (System V ABI: rax, rcx, rdx, r8 to r11).
func stub() []byte {
	var b []byte
	emit := func(code ...byte) { b = append(b, code...) }
	emit(0xb8, 228, 0, 0, 0) // mov eax, 228 (clock_gettime)
	emit(0x0f, 0x05)         // syscall
	emit(0x85, 0xc0)         // test eax, eax
	emit(0x75, 0)            // jne out
	refused := len(b)
	emit(0x85, 0xff)       // test edi, edi (CLOCK_REALTIME is 0)
	emit(0x74, 5)          // je add
	emit(0x83, 0xff, 0x05) // cmp edi, 5 (CLOCK_REALTIME_COARSE)
	emit(0x75, 0)          // jne out
	other := len(b)
	// add:
	emit(0x4c, 0x8d, 0x05, 0, 0, 0, 0) // lea r8, [rip+data]
	data := len(b)
	emit(0x41, 0x0f, 0xb6, 0x08)       // movzx ecx, byte [r8]
	emit(0x49, 0x8b, 0x4c, 0xc8, 0x08) // mov rcx, [r8+rcx*8+8]
	emit(0x41, 0xb9)                   // mov r9d, 1e9
	b = binary.LittleEndian.AppendUint32(b, 1e9)
	emit(0x48, 0x8b, 0x06)       // mov rax, [rsi]
	emit(0x49, 0x0f, 0xaf, 0xc1) // imul rax, r9
	emit(0x48, 0x03, 0x46, 0x08) // add rax, [rsi+8]
	emit(0x48, 0x01, 0xc8)       // add rax, rcx
	emit(0x48, 0x99)             // cqo
	emit(0x49, 0xf7, 0xf9)       // idiv r9
	emit(0x48, 0x89, 0x06)       // mov [rsi], rax
	emit(0x48, 0x89, 0x56, 0x08) // mov [rsi+8], rdx
	emit(0x31, 0xc0)             // xor eax, eax
	out := len(b)
	emit(0xc3) // ret
	for len(b)%8 != 0 {
		emit(0xcc) // int3: never reached
	}
	b[refused-1] = byte(out - refused)
	b[other-1] = byte(out - other)
	binary.LittleEndian.PutUint32(b[data-4:], uint32(len(b)-data))
	return b
}

// jump is the code that leads from one address to another, which is at most 2 GiB away.
func jump(from, to int64) []byte {
	return binary.LittleEndian.AppendUint32([]byte{0xe9}, uint32(int32(to-(from+jumpBytes))))
}

const jumpBytes = 5
