package bench

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/spklab/spklab/dataplane/bench/bpf"
	"github.com/spklab/spklab/dataplane/internal/nstest"
	"github.com/spklab/spklab/roottest"
)

// A yardstick's own object stands for one from outside.
const objectFile = "bpf/bench_bpfel.o"

func objectPacket(t *testing.T) (packet []byte, key string) {
	t.Helper()
	k := kinds()[0]
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	b, err := k.build(clientFlow(k, 0), mac, mac, "A")
	if err != nil {
		t.Fatal(err)
	}
	return b, hex.EncodeToString(b[ip4Addrs:ip4Transport+4]) + "06000000"
}

// TestObject: an object is loaded, its maps are filled as the setup says, and its program gets
// the packet; without the entry its verdict is another one.
func TestObject(t *testing.T) {
	roottest.Need(t)
	packet, key := objectPacket(t)
	entry := fmt.Sprintf(`{"maps": {"bench_hash4": [{"key": "%s", "value": "%s"}]}}`, key, strings.Repeat("00", 56))
	for _, tt := range []struct{ name, program, setup, verdict string }{
		{"xdp, known", "bench_hash4_xdp", entry, "verdict 3"},
		{"xdp, unknown", "bench_hash4_xdp", `{}`, "verdict 1"},
		{"tc, known", "bench_hash4_tc", entry, "verdict 7"},
		{"tc, unknown", "bench_hash4_tc", `{}`, "verdict 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			setup, err := ReadSetup(strings.NewReader(tt.setup))
			if err != nil {
				t.Fatal(err)
			}
			r, err := RunObject(Options{Rounds: 1, Quick: true}, Object{File: objectFile, Program: tt.program, Setup: setup, Packet: packet})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Ratios) != 3 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], tt.verdict+",") {
				t.Errorf("%d ratios, notes %q, want %s", len(r.Ratios), r.Notes, tt.verdict)
			}
		})
	}
}

// TestPinnedObject: a program and a map that somebody else has loaded and filled.
func TestPinnedObject(t *testing.T) {
	roottest.Need(t)
	packet, _ := objectPacket(t)
	dir := nstest.BPFFS(t)
	k := kinds()[0]
	y, err := newYardstick(slab, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer y.close()
	if err := y.learn(k, []flow{k.get(packet)}); err != nil {
		t.Fatal(err)
	}
	for path, pin := range map[string]func(string) error{
		"table": y.coll.Maps[bpf.BenchMapBenchHash4].Pin, "program": y.program(xdp, k).Pin,
	} {
		if err := pin(filepath.Join(dir, path)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := RunObject(Options{Rounds: 1, Quick: true}, Object{Pinned: filepath.Join(dir, "program"), Packet: packet})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.Notes[0], "verdict 3,") {
		t.Error(r.Notes)
	}
	// The same map under an object of its own: flags must be those of the pinned one.
	_, err = RunObject(Options{Rounds: 1, Quick: true}, Object{
		File: objectFile, Program: "bench_hash4_xdp", Packet: packet, Pins: map[string]string{"bench_hash4": filepath.Join(dir, "table")},
	})
	if err == nil || !strings.Contains(err.Error(), ebpf.ErrMapIncompatible.Error()) {
		t.Errorf("a map with other flags was taken: %v", err)
	}
}

// TestObjectFlows: every flow of an object's packet is a different one.
func TestObjectFlows(t *testing.T) {
	packet, _ := objectPacket(t)
	k, flows, err := Object{Packet: packet, Flows: 65536}.flows()
	if err != nil || k != kinds()[0] {
		t.Fatalf("%v, %v", k, err)
	}
	seen := map[flow]bool{}
	for _, f := range flows {
		seen[f] = true
	}
	if len(seen) != 65536 {
		t.Errorf("%d flows", len(seen))
	}
}

func TestObjectMistakes(t *testing.T) {
	packet, _ := objectPacket(t)
	options := append([]byte(nil), packet...)
	options[etherBytes] = 0x46
	icmp := append([]byte(nil), packet...)
	icmp[etherBytes+9] = 1
	for _, tt := range []struct {
		name   string
		packet []byte
		flows  int
		want   string
	}{
		{"short", packet[:40], 1, "64 bytes"},
		{"options", options, 1, "without options"},
		{"ICMP", icmp, 1, "TCP or UDP"},
		{"three flows", packet, 3, "power of two"},
		{"too many flows", packet, 1 << 20, "power of two"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Object{Packet: tt.packet, Flows: tt.flows}.flows()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestReadPacket(t *testing.T) {
	file := filepath.Join(t.TempDir(), "frame")
	if err := os.WriteFile(file, []byte{1, 2, 0xff}, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"0102ff", "01 02 FF", "01:02:ff", file} {
		if b, err := ReadPacket(text); err != nil || string(b) != "\x01\x02\xff" {
			t.Errorf("%q: %x, %v", text, b, err)
		}
	}
	if _, err := ReadPacket("no such thing"); err == nil {
		t.Error("no error")
	}
}

func TestReadSetup(t *testing.T) {
	if _, err := ReadSetup(strings.NewReader(`{"map": {}}`)); err == nil || !strings.Contains(err.Error(), "map") {
		t.Errorf("a wrong word: %v", err)
	}
}
