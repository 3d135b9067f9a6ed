package dataplane

import (
	"crypto/rand"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/dataplane/internal/space"
	"github.com/spklab/spklab/dataplane/vlan"
	"github.com/spklab/spklab/dataplane/vlan/vlantest"
)

// newTaggedNetwork is newVethNetwork with every TMM interface a tagged VLAN: the pods' host on
// VLAN 50 of net1, and on net2 the client on VLAN 100 and another network with the same addresses
// on VLAN 200, whose TMM side has none.
func newTaggedNetwork(t testing.TB, at Frontend) *network {
	t.Helper()
	n := &network{client: newNamespace(t), tmm: newNamespace(t), host: newNamespace(t)}
	cable(t, n.host, "wire", n.tmm, "net1")
	cable(t, n.client, "wire", n.tmm, "net2")
	n.host.join(t, "wire", 50, "eth0")
	n.client.join(t, "wire", 100, "eth0")
	all := []Interface{
		{Number: "1.1.50", Name: "net1.50", Internal: true, Zone: 50, Parent: "net1", Tag: 50, Frontend: at},
		{Number: "1.2.100", Name: "net2.100", Zone: 100, Parent: "net2", Tag: 100, Frontend: at},
		{Number: "1.2.200", Name: "net2.200", Zone: 200, Parent: "net2", Tag: 200, Frontend: at},
	}
	for _, i := range all {
		n.tmm.standIn(t, i.Parent, i.Name)
	}
	n.configureOn(t, "net1.50", "net2.100")
	n.config.Interfaces = all
	return n
}

// join puts a namespace onto a VLAN, by a device of that name.
func (n *namespace) join(t testing.TB, parent string, tag int, name string) {
	t.Helper()
	n.do(t, func() error {
		made, err := vlantest.Join(t, parent, tag)
		if err != nil {
			return err
		}
		l, err := netlink.LinkByName(made)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetDown(l); err != nil {
			return err
		}
		return netlink.LinkSetName(l, name)
	})
	n.up(t, name)
}

// standIn makes the device that stands for a VLAN.
func (n *namespace) standIn(t testing.TB, parent, name string) {
	t.Helper()
	p := n.link(t, parent)
	n.do(t, func() error {
		if err := vlan.AddStandIn(p, name); err != nil {
			return err
		}
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return vlan.Follow(l, p)
	})
	n.up(t, name)
}

// taggedState is waysState with the numbers of the VLANs.
func taggedState() State {
	s := waysState("80", "5300")
	for i := range s.SelfIPs {
		s.SelfIPs[i].Interface = map[string]string{"1.1": "1.1.50", "1.2": "1.2.100"}[s.SelfIPs[i].Interface]
	}
	return s
}

// TestVLANs sends data and datagrams between tagged VLANs; the neighbours are asked for by the
// kernel over the devices. Segments stay whole all along.
func TestVLANs(t *testing.T) {
	data := make([]byte, 8<<20)
	_, _ = rand.Read(data)
	tests := []struct {
		name    string
		at      Frontend
		inFrame bool // the interfaces put the tags into the frames
	}{
		{"tcx", FrontendTCX, false}, {"tcx, tags in the frames", FrontendTCX, true}, {"clsact", FrontendClsact, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newTaggedNetwork(t, tt.at)
			if tt.inFrame {
				n.tmm.offload(t, "net1", space.TagsApart, false)
				n.tmm.offload(t, "net2", space.TagsApart, false)
				n.client.offload(t, "wire", space.TagsApart, false)
				n.host.offload(t, "wire", space.TagsApart, false)
			}
			d := n.start(t, taggedState())
			for _, w := range ways("80", "5300", TCP) {
				t.Run(w.name, func(t *testing.T) { n.stream(t, w, data) })
			}
			for _, w := range ways("80", "5300", UDP) {
				t.Run("udp "+w.name, func(t *testing.T) { n.datagrams(t, w, 3) })
			}
			stats, err := d.MemberStats()
			must(t, err)
			var sum Traffic
			for _, s := range stats {
				sum.Add(s.Traffic)
			}
			if perPacket := sum.Bytes() / sum.Packets(); perPacket < 3000 {
				t.Errorf("%d bytes a packet: segmentation was not offloaded", perPacket)
			}
		})
	}
}

// TestVLANErrors has stacks on tagged VLANs heed ICMP errors: the TMM's own about a narrow way, and a
// host's about a port where nobody listens.
func TestVLANErrors(t *testing.T) {
	n := newTaggedNetwork(t, FrontendTCX)
	n.narrowToPods(t)
	d := n.start(t, taggedState())
	n.narrowWays(t, d)
	for _, w := range ways("80", "5300", UDP) {
		t.Run("refused "+w.name, func(t *testing.T) {
			from := n.client
			if w.egress {
				from = n.host
			}
			c := from.dial(t, "udp", w.from, w.to)
			_, err := c.Write([]byte("anybody there?"))
			must(t, err)
			must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
			if _, err := c.Read(make([]byte, 100)); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("error %v, want refused", err)
			}
		})
	}
}

// TestVLANBesideXDP has XDP on the interface of the pods and a tagged VLAN outside: what leaves
// with a tag XDP hands to traffic control.
func TestVLANBesideXDP(t *testing.T) {
	n := &network{client: newNamespace(t), tmm: newNamespace(t), host: newNamespace(t)}
	cable(t, n.host, "eth0", n.tmm, "net1")
	cable(t, n.client, "wire", n.tmm, "net2")
	n.client.join(t, "wire", 100, "eth0")
	n.tmm.standIn(t, "net2", "net2.100")
	n.configureOn(t, "net1", "net2.100")
	n.host.offload(t, "eth0", space.TxChecksum, false)
	n.host.offload(t, "eth0", space.GRO, true)
	n.config.Interfaces = []Interface{
		{Number: "1.1", Name: "net1", Internal: true, Frontend: FrontendXDP},
		{Number: "1.2", Name: "net2.100", Zone: 100, Parent: "net2", Tag: 100},
	}
	d := n.start(t, waysState("80", "5300"))
	data := make([]byte, 1<<20)
	_, _ = rand.Read(data)
	for _, w := range ways("80", "5300", TCP) {
		t.Run(w.name, func(t *testing.T) { n.stream(t, w, data) })
	}
	c, err := d.Counters()
	must(t, err)
	if c["to_tc"] < 1000 || c["flows_validated"] > 100 {
		t.Errorf("XDP left %d packets to traffic control, and flows were looked at %d times", c["to_tc"], c["flows_validated"])
	}
	n.tmm.do(t, func() error {
		i := n.config.Interfaces[1]
		i.Frontend = FrontendXDPGeneric
		err := d.SetInterfaces([]Interface{n.config.Interfaces[0], i})
		if err == nil || !strings.Contains(err.Error(), "tagged VLANs") {
			t.Errorf("XDP on a tagged VLAN: %v", err)
		}
		return nil
	})
}

// TestVLANsPlaced adds and removes VLANs of a running dataplane, takes them over in a new process
// and leaves nothing.
func TestVLANsPlaced(t *testing.T) {
	for _, at := range []Frontend{FrontendTCX, FrontendClsact} {
		t.Run(string(at), func(t *testing.T) {
			n := newTaggedNetwork(t, at)
			n.config.PinDir = filepath.Join(bpffs(t), "tmm")
			go echo(n.host.listen(t, podAddr4+":80"))
			all := n.config.Interfaces
			d := n.open(t)
			applied(t, d, taggedState())
			c := n.client.dial(t, "tcp", clientAddr4, "192.0.2.10:80")
			exchange(t, c, "first process")
			n.tmm.do(t, d.Close)
			exchange(t, c, "no process")
			n.config.Interfaces = nil // as a process that does not know them yet
			d = n.open(t)
			exchange(t, c, "second process")
			n.rolesAt(t, d, "net1 tagged", "net1.50 ebpf egress ingress", "net2 tagged", "net2.100 ebpf egress ingress", "net2.200 ebpf egress ingress")
			n.tmm.do(t, func() error { return d.SetInterfaces(all[:2]) })
			exchange(t, c, "without the other VLAN")
			n.rolesAt(t, d, "net1 tagged", "net1.50 ebpf egress ingress", "net2 tagged", "net2.100 ebpf egress ingress")
			tags, err := readAll[bpf.VLANKey, bpf.VLAN](d.objs.SpkVlans)
			must(t, err)
			if len(tags) != 2 {
				t.Errorf("VLANs %+v", tags)
			}
			n.tmm.do(t, d.Remove)
			mustBeEmpty(t, n.config.PinDir)
			for _, name := range []string{"net1", "net1.50", "net2", "net2.100", "net2.200"} {
				n.nothingOn(t, name)
			}
		})
	}
}

// rolesAt compares what Frontends tells of who does the tags, and of the programs' roles.
func (n *network) rolesAt(t testing.TB, d *Dataplane, want ...string) {
	t.Helper()
	status, err := d.Frontends()
	must(t, err)
	var got []string
	for _, s := range status {
		line := strings.TrimSpace(s.Name + " " + s.Tags)
		for _, p := range s.Programs {
			line += " " + p.Role
			if p.ID == 0 {
				t.Errorf("%s: no program for %s", s.Name, p.Role)
			}
		}
		got = append(got, line)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("programs (-want +got):\n%s", diff)
	}
}

// TestTaggedPackets runs frames with their tags in them through the program of an interface's
// VLANs.
func TestTaggedPackets(t *testing.T) {
	r := newRig(t, labState())
	r.ns.standIn(t, "net2", "net2.100")
	r.ns.standIn(t, "net2", "net2.200")
	r.ns.addr(t, "net2.100", "198.51.101.16/24")
	r.ns.neigh(t, "net2.100", "198.51.101.1", macRouter)
	r.ns.route(t, "203.0.113.0/24", "198.51.101.1")
	r.ns.do(t, func() error {
		return r.d.SetInterfaces([]Interface{
			{Number: "1.1", Name: "net1", Internal: true},
			{Number: "1.2.100", Name: "net2.100", Zone: 100, Parent: "net2", Tag: 100},
			{Number: "1.2.200", Name: "net2.200", Zone: 200, Parent: "net2", Tag: 200},
		})
	})
	// The flow begins on the device, where everything unknown goes.
	syn := fromClient(TCP, "203.0.113.10:4000", "192.0.2.11:80", "S")
	device := r.ns.link(t, "net2.100").Attrs().Index
	ack := syn
	ack.flags = "A"
	toPodAck := toPod("203.0.113.10:4000", "10.131.1.100:8080", ack)
	for _, p := range []packet{syn, ack} {
		if verdict, _ := r.runOn(t, r.d.objs.SpkZoned, device, p.build(t)); verdict != verdictRedirect {
			t.Fatalf("the flow does not begin: verdict %d, %v", int32(verdict), r.counted(t))
		}
	}
	plain := ack.build(t)
	arp := frameOf(t, macRouter, "ff:ff:ff:ff:ff:ff", layers.EthernetTypeARP, make([]byte, 46))
	tests := []struct {
		name    string
		frame   []byte
		verdict uint32
		want    []byte
	}{
		{"known, VLAN 100", withTag(plain, 100), verdictRedirect, toPodAck.build(t)},
		{"known, priority 5", withTag(plain, 100|5<<13), verdictRedirect, toPodAck.build(t)},
		{"the same on VLAN 200", withTag(plain, 200), verdictRedirect, plain},
		{"a first packet", withTag(syn.build(t), 200), verdictRedirect, syn.build(t)},
		{"ARP", withTag(arp, 100), verdictRedirect, arp},
		{"another VLAN", withTag(plain, 300), verdictNext, withTag(plain, 300)},
		{"priority without a VLAN", withTag(plain, 5<<13), verdictNext, withTag(plain, 5<<13)},
		{"no tag", plain, verdictNext, plain},
		{"two tags", withTag(withTag(plain, 7), 100), verdictRedirect, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			verdict, frame := r.runOn(t, r.d.objs.SpkTagged, r.external, tt.frame)
			if verdict != tt.verdict {
				t.Errorf("verdict %d, want %d", int32(verdict), int32(tt.verdict))
			}
			if diff := cmp.Diff(show(tt.want), show(frame)); tt.want != nil && diff != "" {
				t.Errorf("frame (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("answer", func(t *testing.T) {
		answer := fromPod(TCP, "10.131.1.100:8080", "203.0.113.10:4000", "A")
		verdict, frame := r.from(t, bpf.Internal, answer.build(t))
		if verdict != verdictRedirect {
			t.Fatalf("verdict %d, %v", int32(verdict), r.counted(t))
		}
		check(t, "beside its tag", frame, toClient("192.0.2.11:80", "203.0.113.10:4000", answer))
	})
}

// withTag puts an 802.1Q tag into a frame.
func withTag(frame []byte, tci uint16) []byte {
	return slices.Concat(frame[:12], []byte{0x81, 0x00, byte(tci >> 8), byte(tci)}, frame[12:])
}

func frameOf(t testing.TB, src, dst string, kind layers.EthernetType, payload []byte) []byte {
	t.Helper()
	return slices.Concat(mac(t, dst), mac(t, src), []byte{byte(kind >> 8), byte(kind)}, payload)
}

// runOn runs a frame through one program, as if it came in on an interface. Without the sum of a
// device: a test run has it cover other bytes than a driver's when a tag is in the frame.
func (r *rig) runOn(t testing.TB, prog *ebpf.Program, index int, frame []byte) (uint32, []byte) {
	t.Helper()
	var verdict uint32
	var out []byte
	r.ns.do(t, func() error {
		opts := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256), Context: skbContext{Ifindex: uint32(index)}}
		var err error
		verdict, err = prog.Run(opts)
		out = opts.DataOut
		return err
	})
	return verdict, out
}
