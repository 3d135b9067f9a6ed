// Package bpf holds the eBPF programs of the proxy: their C sources, one header a concern, the
// compiled object, and the Go types and counter names that are generated from the C.
package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -output-stem spk -type spk_ct -type spk_layout -type spk_clock -type spk_side -type spk_snat -type spk_ct_flag -type spk_ct_state -type spk_owner_flag -type spk_local_kind Spk spk.bpf.c -- -mcpu=v3 -O2 -Wall -Wextra -Werror -idirafter /usr/include/x86_64-linux-gnu
//go:generate go tool stringer -type SpkSpkCounter -trimprefix SpkSpkCounterSPK_ -output counter_string.go

// Layout is the version of what the pinned maps hold. Maps of another layout are not reused.
const Layout = SpkSpkLayoutSPK_LAYOUT

// TickShift: conntrack's time is CLOCK_MONOTONIC_COARSE in ticks of 1<<TickShift nanoseconds.
const TickShift = SpkSpkClockSPK_TICK_SHIFT

// The generated types by the names that Go code uses. Addresses and ports are in network byte
// order, as on the wire.
type (
	Key4       = SpkSpkKey4
	Key6       = SpkSpkKey6
	Ct         = SpkSpkCt
	Ct4        = SpkSpkCt4
	Ct6        = SpkSpkCt6
	VSKey4     = SpkSpkVsKey4
	VSKey6     = SpkSpkVsKey6
	VS         = SpkSpkVs
	VSInfo     = SpkSpkVsInfo
	Owner      = SpkSpkOwner
	Cursor     = SpkSpkCursor
	Traffic    = SpkSpkTraffic
	EgressKey4 = SpkSpkEgressKey4
	EgressKey6 = SpkSpkEgressKey6
	Egress     = SpkSpkEgress
	EgressInfo = SpkSpkEgressInfo
	Local      = SpkSpkLocal
	Addr6      = SpkSpkAddr6
	Port       = SpkSpkPort
	Config     = SpkSpkConfig

	Counter   = SpkSpkCounter
	Prog      = SpkSpkProg
	Side      = SpkSpkSide
	SNAT      = SpkSpkSnat
	CtFlag    = SpkSpkCtFlag
	CtState   = SpkSpkCtState
	OwnerFlag = SpkSpkOwnerFlag
	LocalKind = SpkSpkLocalKind
)

// Values of the types' fields.
const (
	External = SpkSpkSideSPK_EXTERNAL
	Internal = SpkSpkSideSPK_INTERNAL

	SNATNone    = SpkSpkSnatSPK_SNAT_NONE
	SNATAutomap = SpkSpkSnatSPK_SNAT_AUTOMAP

	CtForward      = SpkSpkCtFlagSPK_CT_FORWARD
	CtPeerInternal = SpkSpkCtFlagSPK_CT_PEER_INTERNAL

	StateSeen = SpkSpkCtStateSPK_ST_SEEN
	StateFIN  = SpkSpkCtStateSPK_ST_FIN
	StateRST  = SpkSpkCtStateSPK_ST_RST

	OwnerUsed     = SpkSpkOwnerFlagSPK_OWNER_USED
	OwnerEgress   = SpkSpkOwnerFlagSPK_OWNER_EGRESS
	OwnerDraining = SpkSpkOwnerFlagSPK_OWNER_DRAINING
	OwnerRemoved  = SpkSpkOwnerFlagSPK_OWNER_REMOVED

	LocalSelf = SpkSpkLocalKindSPK_LOCAL_SELF
	LocalVIP  = SpkSpkLocalKindSPK_LOCAL_VIP

	ProgSlow4 = SpkSpkProgSPK_PROG_SLOW4
	ProgSlow6 = SpkSpkProgSPK_PROG_SLOW6
)

// Counters returns every counter with a name to show, in the order of the enum.
func Counters() []Counter {
	var out []Counter
	for c := SpkSpkCounterSPK_OK + 1; c < SpkSpkCounterSPK_COUNTERS; c++ {
		out = append(out, c)
	}
	return out
}
