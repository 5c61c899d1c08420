package mime

import (
	"bufio"
	"io"
)

// DecodeTransfer undoes a Content-Transfer-Encoding (RFC 2045 §6). It is tolerant: characters outside of base64's alphabet are passed
// over, broken escapes of quoted-printable stay as they are. Its only errors are those of r.
func DecodeTransfer(encoding string, r io.Reader) io.Reader {
	switch encoding {
	case "base64":
		return &base64Reader{br: bufio.NewReader(r)}
	case "quoted-printable":
		return &qpReader{br: bufio.NewReader(r)}
	}
	return r
}

// base64Reader decodes quanta of four characters; "=" ends one early, and decoding goes on after it, since some senders
// join encodings.
type base64Reader struct {
	br   *bufio.Reader
	acc  uint32
	bits uint
	err  error
}

func (d *base64Reader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && d.err == nil {
		c, err := d.br.ReadByte()
		if err != nil {
			d.err = err
			break
		}
		v := base64Value[c]
		if v < 0 {
			if c == '=' {
				d.acc, d.bits = 0, 0
			}
			continue
		}
		d.acc = d.acc<<6 | uint32(v)
		if d.bits += 6; d.bits >= 8 {
			d.bits -= 8
			p[n] = byte(d.acc >> d.bits)
			n++
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, d.err
}

var base64Value = func() (t [256]int8) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range t {
		t[i] = -1
	}
	for i := range len(alphabet) {
		t[alphabet[i]] = int8(i)
	}
	return t
}()

// maxQPLine bounds the line that is decoded at once; a longer one is decoded in pieces.
const maxQPLine = 4096

type qpReader struct {
	br   *bufio.Reader
	out  []byte // decoded, not yet handed out
	buf  []byte // what out is cut from
	line []byte
	err  error
}

func (d *qpReader) Read(p []byte) (int, error) {
	for len(d.out) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		d.readLine()
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

// readLine decodes one line: blanks at its end are not of the text, "=" there joins it with the next (RFC 2045 §6.7).
func (d *qpReader) readLine() {
	d.line = d.line[:0]
	for len(d.line) < maxQPLine || d.line[len(d.line)-1] == '=' {
		c, err := d.br.ReadByte()
		if err != nil {
			d.err = err
			break
		}
		d.line = append(d.line, c)
		if c == '\n' || len(d.line) >= 2*maxQPLine {
			break
		}
	}
	line, end := cutLineEnd(d.line)
	if len(end) > 0 || d.err != nil {
		for len(line) > 0 && (line[len(line)-1] == ' ' || line[len(line)-1] == '\t') {
			line = line[:len(line)-1]
		}
		if len(line) > 0 && line[len(line)-1] == '=' {
			line, end = line[:len(line)-1], nil
		}
	} else if k := len(line); k >= 2 && line[k-2] == '=' && k < 2*maxQPLine {
		// A long line was cut between the two digits of an escape.
		if c, err := d.br.ReadByte(); err == nil {
			d.line = append(d.line, c)
			line = d.line
		}
	}
	d.buf = appendQP(d.buf[:0], line)
	d.buf = append(d.buf, end...)
	d.out = d.buf
}

func cutLineEnd(b []byte) (line, end []byte) {
	n := len(b)
	if n > 0 && b[n-1] == '\n' {
		n--
		if n > 0 && b[n-1] == '\r' {
			n--
		}
	}
	return b[:n], b[n:]
}

func appendQP(out, line []byte) []byte {
	for i := 0; i < len(line); i++ {
		if line[i] == '=' && i+2 < len(line) {
			hi, lo := hexValue(line[i+1]), hexValue(line[i+2])
			if hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		out = append(out, line[i])
	}
	return out
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
