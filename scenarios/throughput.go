package scenarios

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/topo"
)

// iperfPort is iperf3's registered port.
const iperfPort = 5201

// throughput is bulk traffic: segments larger than the MTU (GSO) and checksums left to the
// card pass unharmed.
func throughput() []spec {
	var out []spec
	for _, f := range []family{v4, v6} {
		out = append(out, spec{
			name:   fmt.Sprintf("bulk data over %s: segments larger than the MTU pass the TMM whole, and no byte changes", f),
			labels: []string{"bulk", "tcp", f.label()},
			needs:  f.needs(SimOVN, Macvlan, BGP),
			body:   func(s *scene) { s.bulk(f) },
		})
	}
	for _, f := range []family{v4, v6} {
		out = append(out, spec{
			name:   fmt.Sprintf("iperf3 over %s through a virtual server, beside plain kernel forwarding on the same path", f),
			labels: []string{"throughput", "tcp", f.label()},
			needs:  f.needs(SimOVN, Macvlan, BGP, Iperf3),
			body:   func(s *scene) { s.iperf(f) },
		})
	}
	return out
}

// bulkBytes is more than every buffer on the way holds, so that the sender builds large segments.
const bulkBytes = 4 << 20

// bulk has a lot of random data echoed through a virtual server and looks at the segments on
// both sides of the TMM.
func (s *scene) bulk(f family) {
	w := s.world()
	c, vs := w.client(), w.server("tcp", f, automap)
	conn := s.dial(c.name, "tcp", vs.Destination)
	capture := s.capture(w)
	payload := make([]byte, bulkBytes)
	must(rand.Read(payload))
	check(conn.Echo(payload), "echo of random data")
	trace := complete(capture)
	t := w.oneTMM(trace.Select(func(p evidence.Packet) bool { return p.Dst == vs.Destination }))
	there := w.passed(trace, t.name, t.external.link, t.internal.link)
	back := w.passed(trace, t.name, t.internal.link, t.external.link)
	for way, n := range map[string]passage{"to the pod": there, "to the client": back} {
		gomega.Expect(n.large).To(gomega.BeNumerically(">", 0), "segments larger than the MTU that came in on the way %s", way)
		gomega.Expect(n.lost).To(gomega.BeZero(), "of %d segments larger than the MTU did not leave as they came on the way %s", n.large, way)
	}
	s.figure(report.Figure{Name: "segments larger than the MTU", Value: float64(there.large + back.large), Note: "all left the TMM as they came"})
}

// passage counts segments larger than the MTU that came in by one interface of a node, and those
// of them that did not leave by another with the same sequence number and length.
type passage struct{ large, lost int }

func (w *world) passed(t *evidence.Trace, node, in, out string) passage {
	const frame = 1500 + 14 // the networks' MTU and an Ethernet header
	type segment struct {
		seq    uint32
		length int
	}
	left := map[segment]bool{}
	for _, p := range t.Packets {
		if p.Out && p.Point.Node == node && p.Point.Interface == out {
			left[segment{p.Seq, p.Length}] = true
		}
	}
	var n passage
	for _, p := range t.Packets {
		if p.Out || p.Point.Node != node || p.Point.Interface != in || p.Length <= frame || !w.meant(p) {
			continue
		}
		n.large++
		if !left[segment{p.Seq, p.Length}] {
			n.lost++
		}
	}
	return n
}

// iperf measures both ways in one run, in turns, and compares the medians. How fast either is
// says something about the machine; that bulk data passes says something about the proxy.
func (s *scene) iperf(f family) {
	w := s.world()
	vs, p := w.iperfServer(f)
	c, t := w.client(), w.tmms[0]
	s.pin(c, vs.Destination.Addr(), f.of(t.external.self))
	s.plainForwarder(w, t, p, f)
	direct := f.of(p.ips)
	rates := map[netip.Addr][]float64{}
	for range 3 {
		for _, to := range []netip.Addr{vs.Destination.Addr(), direct} {
			rates[to] = append(rates[to], s.iperfOnce(c.name, p.name, to))
		}
	}
	proxied, plain := median(rates[vs.Destination.Addr()]), median(rates[direct])
	s.figure(report.Figure{Name: "through the virtual server", Value: proxied / 1e6, Unit: "Mbit/s"})
	s.figure(report.Figure{Name: "plain kernel forwarding", Value: plain / 1e6, Unit: "Mbit/s"})
	s.figure(report.Figure{Name: "ratio", Value: proxied / plain, Note: "virtual server : plain, medians of 3"})
}

// iperfServer is a virtual server on iperf3's port with the pod behind it.
func (w *world) iperfServer(f family) (control.VirtualServerStatus, pod) {
	ginkgo.GinkgoHelper()
	for _, vs := range w.servers {
		if vs.Protocol == "tcp" && vs.Destination.Port() == iperfPort && familyOf(vs.Destination.Addr()) == f && len(vs.Members) == 1 {
			return vs, w.pod(vs.Members[0].Address.Addr())
		}
	}
	refuse(fmt.Sprintf("the lab has no virtual server over TCP and %s on port %d with one pod behind it", f, iperfPort))
	return control.VirtualServerStatus{}, pod{}
}

// iperfOnce runs one transfer of a second and returns bits per second as the receiver counts.
func (s *scene) iperfOnce(from, in string, to netip.Addr) float64 {
	ginkgo.GinkgoHelper()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	server := must(s.lab.Exec(ctx, in, []string{"iperf3", "--server", "--one-off", "--port", strconv.Itoa(iperfPort)}))
	check(server.Start(), "start iperf3 in "+in)
	defer func() { _ = server.Wait() }() // cancelled below when it has not ended by itself
	defer cancel()
	s.eventually("iperf3 listens in "+in, func() error {
		out, err := s.output(ctx, in, "ss", "-Hltn", "sport", "=", ":"+strconv.Itoa(iperfPort))
		if err == nil && strings.TrimSpace(out) == "" {
			err = fmt.Errorf("nothing listens on port %d", iperfPort)
		}
		return err
	})
	out := s.run(from, "iperf3", "--client", to.String(), "--port", strconv.Itoa(iperfPort), "--time", "1", "--json")
	var answer struct {
		End struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	check(json.Unmarshal([]byte(out), &answer), "read iperf3's answer")
	gomega.Expect(answer.End.Received.Bits).To(gomega.BeNumerically(">", 0), out)
	return answer.End.Received.Bits
}

func median(in []float64) float64 {
	sorted := slices.Sorted(slices.Values(in))
	return sorted[len(sorted)/2]
}

// plainForwarder puts a namespace beside a TMM, on the same NICs by the same kind of
// interfaces, that does with the kernel's own forwarding what the TMM does with eBPF, and leads
// the router's packets for the pod's own address to it. The answers come back by it as well:
// the pod's node answers a client by the gateway that it came in by.
func (s *scene) plainForwarder(w *world, t tmm, p pod, f family) {
	ginkgo.GinkgoHelper()
	netns := topo.NetnsName(s.lab.Name(), "plain")
	outer, inner := spare(w, t.external), spare(w, t.internal)
	c := w.client()
	target := f.of(p.ips)
	flag, forwarding := "-4", "net.ipv4.ip_forward=1"
	if f == v6 {
		flag, forwarding = "-6", "net.ipv6.conf.all.forwarding=1"
	}
	node := f.of(w.nodeAddrs(p.worker))
	ip := func(line string) []string { return append([]string{"ip"}, strings.Fields(line)...) }
	inPlain := func(line string) []string { return ip("-n " + netns + " " + line) }
	worker := s.netns(t.worker)
	s.sh(ip("netns add " + netns))
	s.cleanup("remove "+netns, func(ctx context.Context) error { return sh(ctx, ip("netns del "+netns)) })
	for _, l := range []struct {
		name, master string
		addr         netip.Prefix
	}{{"in", t.external.master, outer[f]}, {"out", t.internal.master, inner[f]}} {
		s.sh(ip(fmt.Sprintf("-n %s link add %s link %s netns %s type macvlan mode bridge", worker, l.name, l.master, netns)))
		s.sh([]string{"ip", "netns", "exec", netns, "sysctl", "-qw", "net.ipv6.conf." + l.name + ".accept_dad=0"})
		s.sh(inPlain(fmt.Sprintf("addr add %s dev %s", l.addr, l.name)))
		s.sh(inPlain(fmt.Sprintf("link set %s up", l.name)))
	}
	s.sh([]string{"ip", "netns", "exec", netns, "sysctl", "-qw", forwarding})
	s.sh(inPlain(fmt.Sprintf("%s route add %s via %s", flag, target, node)))
	s.sh(inPlain(fmt.Sprintf("%s route add default via %s", flag, f.of(w.routerAddrs(c)))))
	s.pin(c, target, outer[f].Addr())
}

func (s *scene) sh(argv []string) {
	ginkgo.GinkgoHelper()
	check(sh(s.ctx, argv), "prepare plain forwarding")
}

func sh(ctx context.Context, argv []string) error {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return nil
}

// spare are the last but one addresses of the networks that an interface of a TMM is on.
func spare(w *world, l leg) map[family]netip.Prefix {
	out := map[family]netip.Prefix{}
	for _, n := range w.spec.Networks {
		for _, subnet := range n.Subnets {
			if !slices.ContainsFunc(l.self, subnet.Contains) {
				continue
			}
			out[familyOf(subnet.Addr())] = netip.PrefixFrom(lastButOne(subnet), subnet.Bits())
		}
	}
	return out
}

func lastButOne(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8-1; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// nodeAddrs are a worker's own addresses.
func (w *world) nodeAddrs(worker string) []netip.Addr {
	for _, n := range w.spec.Workers {
		for _, nic := range n.NICs {
			if n.Name == worker && nic.Name == w.uplink(worker) {
				return nic.Addresses
			}
		}
	}
	return nil
}

// routerAddrs are the addresses of a client's router on the TMMs' side.
func (w *world) routerAddrs(c client) []netip.Addr {
	for _, r := range w.spec.Routers {
		for _, nic := range r.NICs {
			if r.Name == c.router && nic.Name == c.far {
				return nic.Addresses
			}
		}
	}
	return nil
}
