// Package bpf holds the eBPF programs of the simulated OVN forwarding: their C sources, the
// compiled object, and the Go types and counter names that are generated from the C.
package bpf

import "github.com/cilium/ebpf"

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -output-stem lr -type lr_counter -type lr_disable -type lr_packet_in -type lr_choice -type lr_memory -type lr_kind -type lr_flow_flag -type lr_subnet_kind LR lr.bpf.c -- -mcpu=v3 -O2 -Wall -Wextra -Werror -idirafter /usr/include/x86_64-linux-gnu
//go:generate go tool stringer -type LRLrCounter -trimprefix LRLrCounterLR_ -output counter_string.go

// The generated types by the names that Go code uses.
type (
	Objects   = LRObjects
	Addr      = LRLrAddr
	Key       = LRLrKey
	Flow      = LRLrFlow
	Group     = LRLrGroup
	Pod       = LRLrPod
	Subnet    = LRLrSubnet
	SubnetKey = LRLrSubnetKey
	ChosenKey = LRLrChosenKey
	Counter   = LRLrCounter
	Profile   = LRLrProfile
	PacketIn  = LRLrPacketIn
)

// Values of the types' fields.
const (
	ByHop  = LRLrKindLR_BY_HOP
	ByMAC  = LRLrKindLR_BY_MAC
	ByHash = LRLrKindLR_BY_HASH

	RoundRobin    = LRLrChoiceLR_ROUND_ROBIN
	HashPorts     = LRLrChoiceLR_HASH_PORTS
	HashAddresses = LRLrChoiceLR_HASH_ADDRESSES

	Pins   = LRLrMemoryLR_PINS
	Learns = LRLrMemoryLR_LEARNS
	Labels = LRLrMemoryLR_LABELS

	FinPod  = LRLrFlowFlagLR_FIN_POD
	FinPeer = LRLrFlowFlagLR_FIN_PEER
	RST     = LRLrFlowFlagLR_RST

	SubnetLocal   = LRLrSubnetKindLR_LOCAL
	SubnetRemote  = LRLrSubnetKindLR_REMOTE
	SubnetCluster = LRLrSubnetKindLR_CLUSTER
	SubnetKernel  = LRLrSubnetKindLR_KERNEL

	NoSymmetry   = LRLrDisableLR_NO_SYMMETRY
	NoPinning    = LRLrDisableLR_NO_PINNING
	NoRoundRobin = LRLrDisableLR_NO_ROUND_ROBIN
)

// Load reads the compiled programs.
func Load() (*ebpf.CollectionSpec, error) { return LoadLR() }

// Counters returns every counter with a name to show, in the order of the enum.
func Counters() []Counter {
	var out []Counter
	for c := LRLrCounterLR_OK + 1; c < LRLrCounterLR_COUNTERS; c++ {
		out = append(out, c)
	}
	return out
}
