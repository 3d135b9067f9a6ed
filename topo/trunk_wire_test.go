package topo_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/topo"
)

// TestTrunkRefuses puts frames onto a cable of tagged networks: those without a tag, or with a priority alone, come
// out on the untagged network as they are, those of a network's tag on that network without it, and no other ones.
func TestTrunkRefuses(t *testing.T) {
	r := open(t, "trunk")
	lock(t, r)
	l := testLab("trunk")
	l.Networks = append(l.Networks, topo.Network{Name: "red"}, topo.Network{Name: "blue"})
	l.Workers[0].NICs[1].VLANs = []topo.CableVLAN{{Network: "red", Tag: 100}, {Network: "blue", Tag: 4094}}
	for _, network := range []string{"red", "blue"} {
		l.Clients = append(l.Clients, topo.Client{Name: network, NICs: []topo.NIC{{Name: "eth0", Network: network}}})
	}
	if err := r.Converge(t.Context(), topo.NewPlan(topo.Base(l)), nil); err != nil {
		t.Fatal(err)
	}
	taps := map[string]*tap{}
	for _, at := range []string{"c1", "red", "blue"} {
		taps[at] = listen(t, r.Netns(at), "eth0")
	}
	const priority = 5 << 13
	sent := []struct {
		tci    int // -1: no tag
		mark   string
		at     string // empty: nowhere
		tagged bool   // there, too
	}{
		{99, "tag 99", "", false}, {101, "tag 101", "", false}, {4093, "tag 4093", "", false}, {priority | 300, "tag 300 with a priority", "", false},
		{priority, "priority alone", "c1", true}, {priority | 100, "tag 100 with a priority", "red", false},
		{100, "tag 100", "red", false}, {4094, "tag 4094", "blue", false}, {-1, "no tag", "c1", false},
	}
	for _, s := range sent {
		send(t, r.Netns("w1"), "ens224", s.tci, s.mark)
	}
	for _, at := range []string{"red", "blue", "c1"} { // what was sent last arrives last
		taps[at].await(t, map[string]string{"red": "tag 100", "blue": "tag 4094", "c1": "no tag"}[at])
	}
	for _, s := range sent {
		for at, tap := range taps {
			seen := tap.seen[s.mark]
			if want := s.at == at; want != (seen != nil) || want && s.tagged != *seen {
				t.Errorf("%q at %s: %v", s.mark, at, seen != nil)
			}
		}
	}
}

// etherType is one that IEEE 802 leaves to experiments.
const etherType = 0x88b5

// send has a frame with a tag (tci, -1 for none) leave an interface for everybody.
func send(t *testing.T, netns, link string, tci int, mark string) {
	t.Helper()
	frame := slices.Concat(bytes.Repeat([]byte{0xff}, 6), []byte{2, 0, 0, 0, 0, 9})
	if tci >= 0 {
		frame = binary.BigEndian.AppendUint16(append(frame, 0x81, 0x00), uint16(tci))
	}
	frame = append(binary.BigEndian.AppendUint16(frame, etherType), mark+"\n"...)
	frame = append(frame, make([]byte, 64)...)
	err := topo.Do(netns, func() error {
		fd, at, err := packetSocket(link)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }() // nothing is buffered
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: at})
	})
	if err != nil {
		t.Fatalf("send %q: %v", mark, err)
	}
}

// packetSocket is one for whole frames, in the caller's namespace, with the interface's index.
func packetSocket(link string) (fd, index int, err error) {
	l, err := net.InterfaceByName(link)
	if err != nil {
		return 0, 0, err
	}
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	return fd, l.Index, err
}

// tap hears the frames of send that come in at an interface.
type tap struct {
	fd   int
	seen map[string]*bool // by mark: with a tag
}

func listen(t *testing.T, netns, link string) *tap {
	t.Helper()
	tap := &tap{seen: map[string]*bool{}}
	err := topo.Do(netns, func() error {
		fd, at, err := packetSocket(link)
		if err != nil {
			return err
		}
		tap.fd = fd
		patience := unix.Timeval{Sec: 20}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
			return fmt.Errorf("set patience: %w", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
			return fmt.Errorf("ask for tags: %w", err)
		}
		const all = unix.ETH_P_ALL&0xff<<8 | unix.ETH_P_ALL>>8 // in network byte order
		return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: at, Protocol: all})
	})
	if err != nil {
		t.Fatalf("listen at %s of %s: %v", link, netns, err)
	}
	t.Cleanup(func() { _ = unix.Close(tap.fd) }) // it was only read
	return tap
}

// await reads frames up to the one with that mark.
func (p *tap) await(t *testing.T, mark string) {
	t.Helper()
	frame, aux := make([]byte, 2048), make([]byte, 256)
	for p.seen[mark] == nil {
		n, auxLen, _, _, err := unix.Recvmsg(p.fd, frame, aux, 0)
		if err != nil {
			t.Fatalf("wait for %q: %v", mark, err)
		}
		tagged := hasTag(t, aux[:auxLen])
		if at := bytes.Index(frame[:n], []byte{etherType >> 8, etherType & 0xff}); at > 0 {
			text, _, _ := bytes.Cut(frame[at+2:n], []byte("\n"))
			p.seen[string(text)] = &tagged
		}
	}
}

// hasTag reads the tag that the kernel keeps beside a frame (struct tpacket_auxdata, packet(7)).
func hasTag(t *testing.T, aux []byte) bool {
	t.Helper()
	messages, err := unix.ParseSocketControlMessage(aux)
	if err != nil || len(messages) != 1 || len(messages[0].Data) < 4 {
		t.Fatalf("what the kernel says of a frame: %v, %v", messages, err)
	}
	return binary.NativeEndian.Uint32(messages[0].Data)&unix.TP_STATUS_VLAN_VALID != 0
}
