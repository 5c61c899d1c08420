package main

import (
	"net"
	"testing"
)

func TestCutClosesWhatClientsWaitOn(t *testing.T) {
	var s sockets
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := s.listener(raw)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	waiting := dial()
	if _, err := l.Accept(); err != nil {
		t.Fatal(err)
	}
	ended := dial()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if len(s.open) != 2 {
		t.Errorf("%d sockets are remembered, want the listener and one connection", len(s.open))
	}
	s.cut()
	for _, c := range []net.Conn{waiting, ended} {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a client still waits")
		}
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}
