// Package bpf holds the eBPF programs of the proxy: their C sources, one header a concern, the
// compiled object, and the Go types and counter names that are generated from the C.
package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -output-stem spk -type spk_ct -type spk_layout -type spk_clock -type spk_side -type spk_snat -type spk_method -type spk_down -type spk_ct_flag -type spk_ct_state -type spk_owner_flag -type spk_local_kind -type spk_port_flag -type spk_config_flag -type spk_prog -type spk_key4 -type spk_snat_range -type spk_event -type spk_event_kind Spk spk.bpf.c -- -mcpu=v3 -O2 -Wall -Wextra -Werror -Wno-unused-parameter -idirafter /usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -output-stem spkxdp -no-global-types SpkXDP spk.bpf.c -- -DSPK_XDP -mcpu=v3 -O2 -Wall -Wextra -Werror -Wno-unused-parameter -idirafter /usr/include/x86_64-linux-gnu
//go:generate go tool stringer -type SpkSpkCounter -trimprefix SpkSpkCounterSPK_ -output counter_string.go

// Layout is the version of what the pinned maps hold. Maps of another layout are not reused.
const Layout = SpkSpkLayoutSPK_LAYOUT

// TickShift: conntrack's time is CLOCK_MONOTONIC_COARSE in ticks of 1<<TickShift nanoseconds.
const TickShift = SpkSpkClockSPK_TICK_SHIFT

// The generated types by the names that Go code uses. Addresses and ports are in network byte
// order, as on the wire.
type (
	Key4         = SpkSpkKey4
	Key6         = SpkSpkKey6
	Ct           = SpkSpkCt
	Ct4          = SpkSpkCt4
	Ct6          = SpkSpkCt6
	VSKey4       = SpkSpkVsKey4
	VSKey6       = SpkSpkVsKey6
	VS           = SpkSpkVs
	VSInfo       = SpkSpkVsInfo
	Owner        = SpkSpkOwner
	Cursor       = SpkSpkCursor
	Traffic      = SpkSpkTraffic
	EgressKey4   = SpkSpkEgressKey4
	EgressKey6   = SpkSpkEgressKey6
	Egress       = SpkSpkEgress
	EgressInfo   = SpkSpkEgressInfo
	Local        = SpkSpkLocal
	Addr6        = SpkSpkAddr6
	SubnetKey    = SpkSpkSubnetKey
	Load         = SpkSpkLoad
	Affinity     = SpkSpkAffinity
	AffinityKey  = SpkSpkAffinityKey
	SNATAddrPool = SpkSpkSnatPool
	SNATRange    = SpkSpkSnatRange
	SNATInfo     = SpkSpkSnatInfo
	Service      = SpkSpkService
	Frag         = SpkSpkFrag
	FragKey      = SpkSpkFragKey
	NAT64        = SpkSpkNat64
	VLANKey      = SpkSpkVlanKey
	VLAN         = SpkSpkVlan
	VLANDevice   = SpkSpkVlanDevice
	Event        = SpkSpkEvent
	Port         = SpkSpkPort
	Config       = SpkSpkConfig

	Counter    = SpkSpkCounter
	Prog       = SpkSpkProg
	Side       = SpkSpkSide
	SNAT       = SpkSpkSnat
	CtFlag     = SpkSpkCtFlag
	CtState    = SpkSpkCtState
	OwnerFlag  = SpkSpkOwnerFlag
	LocalKind  = SpkSpkLocalKind
	Method     = SpkSpkMethod
	Down       = SpkSpkDown
	PortFlag   = SpkSpkPortFlag
	ConfigFlag = SpkSpkConfigFlag
	EventKind  = SpkSpkEventKind
)

// Values of the types' fields.
const (
	External = SpkSpkSideSPK_EXTERNAL
	Internal = SpkSpkSideSPK_INTERNAL

	SNATNone    = SpkSpkSnatSPK_SNAT_NONE
	SNATAutomap = SpkSpkSnatSPK_SNAT_AUTOMAP
	SNATPool    = SpkSpkSnatSPK_SNAT_POOL

	RoundRobin       = SpkSpkMethodSPK_ROUND_ROBIN
	LeastConnections = SpkSpkMethodSPK_LEAST_CONNECTIONS
	Maglev           = SpkSpkMethodSPK_MAGLEV

	DownNone     = SpkSpkDownSPK_DOWN_NONE
	DownReset    = SpkSpkDownSPK_DOWN_RESET
	DownDrop     = SpkSpkDownSPK_DOWN_DROP
	DownReselect = SpkSpkDownSPK_DOWN_RESELECT

	CtForward      = SpkSpkCtFlagSPK_CT_FORWARD
	CtPeerInternal = SpkSpkCtFlagSPK_CT_PEER_INTERNAL
	CtFamily       = SpkSpkCtFlagSPK_CT_FAMILY

	StateSeen = SpkSpkCtStateSPK_ST_SEEN
	StateFIN  = SpkSpkCtStateSPK_ST_FIN
	StateRST  = SpkSpkCtStateSPK_ST_RST

	OwnerUsed     = SpkSpkOwnerFlagSPK_OWNER_USED
	OwnerEgress   = SpkSpkOwnerFlagSPK_OWNER_EGRESS
	OwnerDraining = SpkSpkOwnerFlagSPK_OWNER_DRAINING
	OwnerRemoved  = SpkSpkOwnerFlagSPK_OWNER_REMOVED

	LocalSelf = SpkSpkLocalKindSPK_LOCAL_SELF
	LocalVIP  = SpkSpkLocalKindSPK_LOCAL_VIP
	LocalSNAT = SpkSpkLocalKindSPK_LOCAL_SNAT
	LocalEcho = SpkSpkLocalKindSPK_LOCAL_ECHO
	LocalARP  = SpkSpkLocalKindSPK_LOCAL_ARP

	PortGuarded = SpkSpkPortFlagSPK_PORT_GUARDED
	PortPeer    = SpkSpkPortFlagSPK_PORT_PEER

	HasSubnets = SpkSpkConfigFlagSPK_HAS_SUBNETS
	HasARP     = SpkSpkConfigFlagSPK_HAS_ARP
	FlowEvents = SpkSpkConfigFlagSPK_FLOW_EVENTS

	EventFlow = SpkSpkEventKindSPK_EVENT_FLOW
	EventDrop = SpkSpkEventKindSPK_EVENT_DROP

	ProgSlow4 = SpkSpkProgSPK_PROG_SLOW4
	ProgSlow6 = SpkSpkProgSPK_PROG_SLOW6
	ProgNAT64 = SpkSpkProgSPK_PROG_NAT64
	ProgNAT46 = SpkSpkProgSPK_PROG_NAT46

	ProgICMP64 = SpkSpkProgSPK_PROG_ICMP64
	ProgICMP46 = SpkSpkProgSPK_PROG_ICMP46

	ProgICMP4  = SpkSpkProgSPK_PROG_ICMP4
	ProgICMP6  = SpkSpkProgSPK_PROG_ICMP6
	ProgReply4 = SpkSpkProgSPK_PROG_REPLY4
	ProgReply6 = SpkSpkProgSPK_PROG_REPLY6
	ProgNeigh  = SpkSpkProgSPK_PROG_NEIGH
)

// Counters returns every counter with a name to show, in the order of the enum.
func Counters() []Counter {
	var out []Counter
	for c := SpkSpkCounterSPK_OK + 1; c < SpkSpkCounterSPK_COUNTERS; c++ {
		out = append(out, c)
	}
	return out
}
