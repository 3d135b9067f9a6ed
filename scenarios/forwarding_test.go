package scenarios

import (
	"testing"

	"github.com/spklab/spklab/ovnsim/forward"
)

// TestLeast is about the share that each gateway must get: exact for turns, and for a hash what a fair one
// leaves but once in a million times. P is the tail of the binomial distribution.
func TestLeast(t *testing.T) {
	for _, tc := range []struct {
		name                  string
		choice                forward.Choice
		total, gateways, want int
	}{
		{"turns", forward.RoundRobinChoice, 64, 2, 32},
		{"turns of three", forward.RoundRobinChoice, 48, 3, 16},
		{"ports, P(X<14) = 9.4e-7 and P(X<15) = 3.5e-6 of 64", forward.HashPorts, 64, 2, 14},
		{"ports, P(X<3) = 1.2e-7 and P(X<4) = 1.3e-6 of 32", forward.HashPorts, 32, 2, 3},
		{"ports, never none: P(X<1) = 1.5e-5 of 16", forward.HashPorts, 16, 2, 1},
		{"addresses", forward.HashAddresses, 64, 2, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := forwarding{Profile: forward.Profile{TCP: tc.choice}}
			if got := f.least("tcp", tc.total, tc.gateways); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}
