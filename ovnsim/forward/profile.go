package forward

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spklab/spklab/ovnsim/forward/bpf"
)

// Choice is how the gateway of packets without an entry in conntrack is found.
type Choice string

// The choices.
const (
	// RoundRobinChoice gives every new connection the next gateway.
	RoundRobinChoice Choice = "round-robin"
	// HashPorts is a symmetric hash over addresses, protocol and ports.
	HashPorts Choice = "hash-ports"
	// HashAddresses is the same without the ports: all that two addresses exchange goes one way.
	HashAddresses Choice = "hash-addresses"
)

// Change is what becomes of live connections when the set of a pod's gateways changes.
type Change string

// The changes.
const (
	// Keep: connections stay with their gateway.
	Keep Change = "keep"
	// Rehash: every connection that the pod has opened is hashed again over the new set, so some move,
	// and where gateways keep state those die.
	Rehash Change = "rehash"
	// End: the connections of a gateway that is gone are ended at once, the others stay.
	End Change = "end"
	// UntilFlush: the connections of a gateway that is gone stay with its MAC until somebody flushes
	// conntrack.
	UntilFlush Change = "until-flush"
)

// The profiles by name.
const (
	ProfileSPK     = "spk" // the default
	ProfileOVN2303 = "ovn-23.03"
	ProfileOVN2503 = "ovn-25.03"
)

// Profile is one known behaviour of the logical routers' forwarding, as data that checks can judge
// by. It is a plain value; JSON is its form in state documents.
type Profile struct {
	Name string `json:"name"`
	Text string `json:"text"` // what it does, and where that was measured

	TCP  Choice `json:"tcp"`  // also SCTP
	UDP  Choice `json:"udp"`  // see WithUDPHash
	ICMP Choice `json:"icmp"` // echo; round-robin is by identifier

	// SymmetricRoutes is with how many routes ecmp_symmetric_reply begins to work, 1 or 2.
	SymmetricRoutes int `json:"symmetric_routes"`
	// SymmetricICMP: replies to echo requests from outside go back by their gateway, too.
	SymmetricICMP bool `json:"symmetric_icmp"`
	// SymmetricIdle is after how many seconds without a reply, and SymmetricAge after how many seconds
	// since it was learnt, the gateway of a connection from outside is forgotten when it is the pod
	// that speaks next. 0 is never.
	SymmetricIdle int `json:"symmetric_idle_s"`
	SymmetricAge  int `json:"symmetric_age_s"`

	// OnAdd and OnRemove are what becomes of connections that the pod has opened when a gateway comes
	// or goes. Rehash on removal with two gateways ends those of the one that is gone and no others.
	OnAdd    Change `json:"on_add"`
	OnRemove Change `json:"on_remove"`
	// InboundOnRemove is the same of connections from outside, by the gateway that goes while others
	// stay. One that is ended lives on when it is its peer that speaks next, by that gateway.
	InboundOnRemove Change `json:"inbound_on_remove"`

	// BFD: a route whose BFD session is down is not installed (northd leaves it out while the row says
	// down or admin_down; init is installed).
	BFD bool `json:"bfd"`
	// BlackHole: without BFD a dead gateway goes on getting its share, which is lost.
	BlackHole bool `json:"black_hole"`
}

// Profiles are the profiles that there are, the default first.
func Profiles() []Profile {
	return []Profile{
		{
			Name: ProfileSPK,
			Text: "What the SPK documents say of OVN: round robin per new connection, and a connection's packets and replies stay " +
				"with the gateway it came by. When a gateway goes its connections are flushed at once. No OVN release does the first; see ovn-23.03.",
			TCP: RoundRobinChoice, UDP: RoundRobinChoice, ICMP: RoundRobinChoice,
			SymmetricRoutes: 1, SymmetricICMP: true,
			OnAdd: Keep, OnRemove: End, InboundOnRemove: End,
			BFD: true, BlackHole: true,
		},
		{
			Name: ProfileOVN2303,
			Text: "OVN 23.03.1 with Open vSwitch 3.1.0 and its userspace datapath (Debian 12), measured. A symmetric L4 hash, not round robin: " +
				"102/98 of 200 TCP connections over two gateways, 88/120/92 of 300 over three; UDP without ports. The hash alone leads what pods open: " +
				"25 to 27 of 40 connections died when a third gateway came. Replies to connections from outside are symmetric with two routes or more; " +
				"learn flows of 20 s idle, 30 s in all, remember that, so after 25 to 40 s of silence about half of what pods said first was lost. " +
				"ICMP is not remembered: of 10 clients behind one of two gateways 4 got their echo replies.",
			TCP: HashPorts, UDP: HashAddresses, ICMP: HashAddresses,
			SymmetricRoutes: 2, SymmetricIdle: 20, SymmetricAge: 30,
			OnAdd: Rehash, OnRemove: Rehash, InboundOnRemove: UntilFlush,
			BFD: true, BlackHole: true,
		},
		{
			Name: ProfileOVN2503,
			Text: "OVN 25.03 with Open vSwitch 3.5 and its userspace datapath (Debian 13), measured. The hash of ovn-23.03; but what comes in by a gateway " +
				"labels its connection with the gateway's MAC, whoever opened it: 0 of 40 connections moved when a third gateway came, those of a gateway " +
				"that goes stay until conntrack is flushed, one route is enough for symmetry (5 of 5), and idle connections keep their gateway. A gateway with a new MAC gets no datagram of a " +
				"connection that a pod has opened until it sends something itself.",
			TCP: HashPorts, UDP: HashAddresses, ICMP: HashAddresses,
			SymmetricRoutes: 1, SymmetricICMP: true,
			OnAdd: Keep, OnRemove: UntilFlush, InboundOnRemove: UntilFlush,
			BFD: true, BlackHole: true,
		},
	}
}

// FindProfile is the profile of a name; the empty one is the default's.
func FindProfile(name string) (Profile, error) {
	all := Profiles()
	if name == "" {
		return all[0], nil
	}
	for _, p := range all {
		if p.Name == name {
			return p, nil
		}
	}
	return Profile{}, fmt.Errorf("profile %q: want %s", name, strings.Join(ProfileNames(), " or "))
}

// ProfileNames are the names of Profiles.
func ProfileNames() []string {
	var out []string
	for _, p := range Profiles() {
		out = append(out, p.Name)
	}
	return out
}

// The values of WithUDPHash.
const (
	UDPHashPorts     = "ports"
	UDPHashAddresses = "addresses"
)

// WithUDPHash is the profile with another choice for UDP: "ports" hashes them, "addresses" leaves
// them out, and an empty word leaves the profile as it is. Real OVN does the first where the datapath
// offers no symmetric hash (Datapath capability max_hash_alg=0, ovs-vswitchd.conf.db(5)).
func (p Profile) WithUDPHash(word string) (Profile, error) {
	choices := map[string]Choice{"": p.UDP, UDPHashPorts: HashPorts, UDPHashAddresses: HashAddresses}
	choice, ok := choices[word]
	if !ok {
		return p, fmt.Errorf("hash of UDP %q: want %s or %s", word, UDPHashPorts, UDPHashAddresses)
	}
	p.UDP = choice
	return p, nil
}

// Deterministic says whether the choices for a protocol (IANA number) are a function of the packet
// alone, so that the same addresses and ports always get the same gateway.
func (p Profile) Deterministic(protocol uint8) bool {
	return slices.Contains([]Choice{HashPorts, HashAddresses}, p.choice(protocol))
}

func (p Profile) choice(protocol uint8) Choice {
	switch protocol {
	case protoUDP:
		return p.UDP
	case protoICMP, protoICMPv6:
		return p.ICMP
	}
	return p.TCP
}

// programmed is the profile as the programs know it.
func (p Profile) programmed() bpf.Profile {
	choices := map[Choice]uint32{
		RoundRobinChoice: uint32(bpf.RoundRobin), HashPorts: uint32(bpf.HashPorts), HashAddresses: uint32(bpf.HashAddresses),
	}
	out := bpf.Profile{
		Memory: p.memory(), Tcp: choices[p.TCP], Udp: choices[p.UDP], Icmp: choices[p.ICMP],
		SymmetricRoutes: uint32(p.SymmetricRoutes),
		Idle:            uint64(time.Duration(p.SymmetricIdle) * time.Second),
		Age:             uint64(time.Duration(p.SymmetricAge) * time.Second),
	}
	if p.SymmetricICMP {
		out.SymmetricIcmp = 1
	}
	return out
}

// memory follows from what changes of the gateways do to connections of a pod.
func (p Profile) memory() uint32 {
	switch p.OnRemove {
	case Rehash:
		return uint32(bpf.Learns)
	case UntilFlush:
		return uint32(bpf.Labels)
	}
	return uint32(bpf.Pins)
}

// Protocols by IANA number.
const (
	protoICMP   = 1
	protoUDP    = 17
	protoICMPv6 = 58
)
