package scenarios

import (
	"fmt"
	"math"

	"github.com/spklab/spklab/ovnsim/forward"
)

// forwarding is what the lab's OVN does with several gateways.
type forwarding struct {
	name string
	forward.Profile
}

// forwarding is the profile of the lab's simulation, or of the OVN release that runs in it.
func (s *scene) forwarding() forwarding {
	if r := s.lab.Release(); r != "" {
		return forwarding{"OVN " + r, must(forward.FindProfile("ovn-" + r))}
	}
	p := must(forward.FindProfile(s.lab.Spec.Fabric.Profile))
	return forwarding{"profile " + p.Name, p}
}

// choice is how the gateway of a new connection is found.
func (f forwarding) choice(proto string) forward.Choice {
	switch proto {
	case "udp":
		return f.UDP
	case "icmp":
		return f.ICMP
	}
	return f.TCP
}

// says tells in words how a gateway is chosen, and where that is not what the documents of SPK say.
func (f forwarding) says(proto string) string {
	switch f.choice(proto) {
	case forward.HashPorts:
		return f.name + " hashes addresses and ports, where the SPK documents say round robin"
	case forward.HashAddresses:
		return f.name + " hashes addresses alone, where the SPK documents say round robin"
	}
	return fmt.Sprintf("%s: round robin", f.name)
}

// least is the smallest share of connections that a gateway of several has to get, where they go to
// many addresses: exactly its part where it is its turn, what a fair hash leaves it but once in a million
// times where ports are hashed, one where the addresses alone are.
func (f forwarding) least(proto string, total, gateways int) int {
	switch f.choice(proto) {
	case forward.HashPorts:
		return max(1, improbable(total, 1/float64(gateways), 1e-6))
	case forward.HashAddresses:
		return 1
	}
	return total / gateways
}

// improbable is the largest k for which fewer than k of n independent events of one probability each happen
// with a probability of at most risk (the lower tail of the binomial distribution).
func improbable(n int, each, risk float64) int {
	term, tail := math.Pow(1-each, float64(n)), 0.0 // term is the probability of exactly k
	for k := range n {
		if tail += term; tail > risk {
			return k
		}
		term *= float64(n-k) / float64(k+1) * each / (1 - each)
	}
	return n
}
