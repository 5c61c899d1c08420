package net

import (
	"encoding/binary"
	"math/rand/v2"
)

// Offsets and values of Ethernet II, ARP and IPv4.
const (
	ethernetHeader = 14
	etherIPv4      = 0x0800
	etherARP       = 0x0806
	arpLength      = ethernetHeader + 28
	arpRequest     = 1
	arpReply       = 2
	protocolTCP    = 6
	protocolUDP    = 17
)

type (
	hardware [6]byte
	ipv4     [4]byte
)

// flow is what rules ask of a frame.
type flow struct {
	ports               bool // it is TCP or UDP, and carries the ports
	source, destination uint16
}

func etherType(frame []byte) uint16 { return binary.BigEndian.Uint16(frame[12:]) }

// flowOf reads the ports of a frame. What is no IPv4, or cut short, has none.
func flowOf(frame []byte) flow {
	if len(frame) < ethernetHeader+20 || etherType(frame) != etherIPv4 {
		return flow{}
	}
	packet := frame[ethernetHeader:]
	header := int(packet[0]&0x0f) * 4
	fragment := binary.BigEndian.Uint16(packet[6:]) & 0x1fff
	if packet[0]>>4 != 4 || header < 20 || fragment != 0 || len(packet) < header+4 || packet[9] != protocolTCP && packet[9] != protocolUDP {
		return flow{}
	}
	return flow{ports: true, source: binary.BigEndian.Uint16(packet[header:]), destination: binary.BigEndian.Uint16(packet[header+2:])}
}

// wanted is the IPv4 address that an ARP request asks for.
func wanted(frame []byte) (ipv4, bool) {
	if len(frame) < arpLength || etherType(frame) != etherARP || binary.BigEndian.Uint16(frame[ethernetHeader+6:]) != arpRequest {
		return ipv4{}, false
	}
	return ipv4(frame[ethernetHeader+24 : ethernetHeader+28]), true
}

// answer turns an ARP request into its answer: the asked address is at a hardware address.
func answer(request []byte, at hardware) []byte {
	reply := make([]byte, arpLength)
	copy(reply[0:], request[6:12]) // to who asked
	copy(reply[6:], at[:])
	copy(reply[12:], request[12:20]) // the types and lengths
	a := reply[ethernetHeader:]
	q := request[ethernetHeader:]
	binary.BigEndian.PutUint16(a[6:], arpReply)
	copy(a[8:], at[:])
	copy(a[14:18], q[24:28])
	copy(a[18:28], q[8:18]) // the asker's addresses
	return reply
}

// corrupt flips one bit behind the Ethernet header.
func corrupt(frame []byte, rng *rand.Rand) {
	if body := frame[ethernetHeader:]; len(body) > 0 {
		bit := rng.IntN(len(body) * 8)
		body[bit/8] ^= 1 << (bit % 8)
	}
}
