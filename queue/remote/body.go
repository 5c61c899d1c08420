package remote

import (
	"bytes"
	"errors"
	"io"
)

// errBareLine is met by a message that is not what it was when it was looked at first.
var errBareLine = errors.New("a bare CR or LF in the message")

// dotWriter writes a message as DATA wants it: a dot is put before each line that begins with one (RFC 5321 §4.5.2). It looks once more at
// line ends: a message with a bare one is never finished.
type dotWriter struct {
	w   io.Writer
	mid bool // within a line
	cr  bool // the last byte was a CR
}

func (d *dotWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n') + 1
		if end == 0 {
			end = len(p)
		}
		if err := d.piece(p[:end]); err != nil {
			return 0, err
		}
		p = p[end:]
	}
	return n, nil
}

// piece writes a line or a part of one.
func (d *dotWriter) piece(p []byte) error {
	if err := d.checkEnd(p); err != nil {
		return err
	}
	if !d.mid && p[0] == '.' {
		if _, err := io.WriteString(d.w, "."); err != nil {
			return err
		}
	}
	d.mid = p[len(p)-1] != '\n'
	_, err := d.w.Write(p)
	return err
}

// checkEnd: CR before LF only, LF behind CR only.
func (d *dotWriter) checkEnd(p []byte) error {
	text, ended := bytes.CutSuffix(p, []byte{'\n'})
	if d.cr && len(text) > 0 {
		return errBareLine
	}
	cr := bytes.IndexByte(text, '\r')
	if cr >= 0 && cr != len(text)-1 || ended && cr < 0 && !d.cr {
		return errBareLine
	}
	d.cr = !ended && cr >= 0
	return nil
}

// close writes what ends DATA (RFC 5321 §4.1.1.4): a line end if one lacks, and the dot.
func (d *dotWriter) close() error {
	if d.cr {
		return errBareLine
	}
	end := ".\r\n"
	if d.mid {
		end = "\r\n.\r\n"
	}
	_, err := io.WriteString(d.w, end)
	return err
}

// errSize is met by a chunk whose bytes are not as many as were announced.
var errSize = errors.New("the message has not the size that it had")

// chunkWriter writes a message as one chunk (RFC 3030 §2) of the size announced.
type chunkWriter struct {
	w    io.Writer
	left int64
}

func (c *chunkWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		return 0, errSize
	}
	c.left -= int64(len(p))
	return c.w.Write(p)
}

// close completes the last line where its end was counted and was not there.
func (c *chunkWriter) close(open bool) error {
	if open {
		if _, err := c.Write([]byte("\r\n")); err != nil {
			return err
		}
	}
	if c.left != 0 {
		return errSize
	}
	return nil
}
