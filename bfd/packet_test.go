package bfd

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBytes(t *testing.T) {
	tests := []struct {
		name string
		p    Packet
		want string
	}{
		// What ovn-controller 23.03 sends: no diagnostic, multiplier 5, a second both ways.
		{"down", Packet{State: Down, Multiplier: 5, Mine: 0x6fa0e155, MinTx: time.Second, MinRx: time.Second}, "204005186fa0e15500000000000f4240000f424000000000"},
		{"poll", Packet{State: Up, Poll: true, Multiplier: 3, Mine: 1, Yours: 2, MinTx: 50 * time.Millisecond, MinRx: time.Second}, "20e0031800000001000000020000c350000f424000000000"},
		{"final, expired, demand", Packet{Diagnostic: TimeExpired, State: Init, Final: true, Demand: true, ControlPlaneAlone: true, Multiplier: 1, Mine: 1, Yours: 2, MinEchoRx: time.Microsecond}, "219a01180000000100000002000000000000000000000001"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.p.Bytes()
			if got := hex.EncodeToString(b); got != tt.want {
				t.Fatalf("got  %s\nwant %s", got, tt.want)
			}
			back, err := Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.p, back); diff != "" {
				t.Errorf("read back (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	good := Packet{State: Up, Multiplier: 3, Mine: 1, Yours: 2}.Bytes()
	tests := []struct {
		name   string
		change func(b []byte) []byte
		want   string
	}{
		{"short", func(b []byte) []byte { return b[:23] }, "control packet of 23 octets"},
		{"version", func(b []byte) []byte { b[0] = 0x40; return b }, "version 2"},
		{"length too small", func(b []byte) []byte { b[3] = 23; return b }, "length 23 in a datagram of 24"},
		{"length too large", func(b []byte) []byte { b[3] = 25; return b }, "length 25 in a datagram of 24"},
		{"multiplier", func(b []byte) []byte { b[2] = 0; return b }, "detection multiplier 0"},
		{"multipoint", func(b []byte) []byte { b[1] |= 1; return b }, "multipoint"},
		{"my discriminator", func(b []byte) []byte { b[7] = 0; return b }, "no discriminator"},
		{"your discriminator", func(b []byte) []byte { b[11] = 0; return b }, "no discriminator of ours in state up"},
		{"authentication", func(b []byte) []byte { b[1] |= 4; return b }, "authentication, which is not in use"},
		{"poll and final", func(b []byte) []byte { b[1] |= 0x30; return b }, "poll and final"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse(tt.change(append([]byte{}, good...))); err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// FuzzParse checks that what is taken can be said again.
func FuzzParse(f *testing.F) {
	f.Add(Packet{State: Up, Multiplier: 3, Mine: 1, Yours: 2}.Bytes())
	f.Add(append(Packet{State: Down, Multiplier: 1, Mine: 1, Poll: true}.Bytes(), 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(p.Bytes())
		if diff := cmp.Diff(p, again); err != nil || diff != "" {
			t.Errorf("%x: %v\n%s", b, err, diff)
		}
	})
}
