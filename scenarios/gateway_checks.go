package scenarios

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/traffic"
)

// transport is a protocol over a family.
type transport struct {
	proto string // tcp, udp, icmp
	f     family
}

func (t transport) String() string {
	name := map[string]string{"tcp": "TCP", "udp": "UDP", "icmp": "ICMP echo"}[t.proto]
	return name + " over " + t.f.String()
}

// transports are these protocols over both families.
func transports(protos ...string) []transport {
	var out []transport
	for _, proto := range protos {
		out = append(out, transport{proto, v4}, transport{proto, v6})
	}
	return out
}

// goneAfter is how long an attempt lasts that is bound to fail.
const goneAfter = 400 * time.Millisecond

// answerTime is how long something may take that is bound to succeed. TCP sends again what was lost, after a second,
// then after two more, so there is time for that.
func answerTime(t transport) time.Duration {
	if t.proto == "tcp" {
		return patience
	}
	return 2 * time.Second
}

// call opens a connection from the project's pod to an address behind the gateways, has something
// echoed, and returns the gateway that answered.
func (p *project) call(t transport, to netip.Addr) (string, error) {
	d := p.s.dialer(projectPod)
	d.Timeout = answerTime(t)
	conn, err := open(p.s, d, t.proto, netip.AddrPort{}, netip.AddrPortFrom(to, gatewayPort))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if got, want := conn.Greeting.Remote.Addr(), t.f.of(p.pod); got != want {
		return "", fmt.Errorf("%s saw %s, want the pod's own address %s", conn.Greeting.Pod, got, want)
	}
	return conn.Greeting.Pod, nil
}

// open dials and has a marker echoed.
func open(s *scene, d traffic.Dialer, proto string, local, to netip.AddrPort) (*traffic.Conn, error) {
	dial := d.TCP
	if proto == "udp" {
		dial = d.UDP
	}
	conn, err := dial(s.ctx, local, to)
	if err != nil {
		return nil, err
	}
	if err := conn.Echo(s.marker()); err != nil {
		_ = conn.Close() // the echo's error says more
		return nil, err
	}
	return conn, nil
}

// reaches sends connections to every address behind the gateways and counts who answered.
func (p *project) reaches(t transport, rounds int) map[string]int {
	ginkgo.GinkgoHelper()
	by := map[string]int{}
	if t.proto == "icmp" {
		p.resolve(t.f)
		for range rounds {
			for id, n := range p.pinged(t) {
				by[id] += n
			}
		}
		return by
	}
	for range rounds {
		for _, to := range beyond(t.f) {
			what := fmt.Sprintf("%s to %s", t, to)
			check(p.delivered(t, what, func() error {
				id, err := p.call(t, to)
				if err == nil {
					by[id]++
				}
				return err
			}), what)
		}
	}
	return by
}

// pinged has every address behind the gateways answer an echo request and counts those that each gateway got.
func (p *project) pinged(t transport) map[string]int {
	ginkgo.GinkgoHelper()
	const what = "ping what is behind the gateways"
	var before map[string]int
	check(p.delivered(t, what, func() error {
		before = p.echoes(t.f)
		return p.pings(t.f)
	}), what)
	by := map[string]int{}
	for id, n := range p.echoes(t.f) {
		if n > before[id] {
			by[id] = n - before[id]
		}
	}
	return by
}

// delivered does something that sends and wants an answer. Over real OVN a datagram or an echo may be lost while the
// flows change: Open vSwitch's datapath in userspace drops what comes back to it from conntrack when the
// flow that sent it there is just being replaced (datapath_drop_upcall_error). Then it is done once more, and
// a figure says so. Over the simulation everything has to arrive.
func (p *project) delivered(t transport, what string, do func() error) error {
	ginkgo.GinkgoHelper()
	err := do()
	if err == nil || t.proto == "tcp" || !slices.Contains(p.s.env.Has, RealOVN) {
		return err
	}
	drops, derr := p.s.lab.Drops(p.s.ctx, p.worker)
	if derr != nil {
		return errors.Join(err, derr)
	}
	p.s.figure(report.Figure{Name: "lost and sent again", Value: 1, Note: fmt.Sprintf("%s: %v; Open vSwitch has dropped by now: %v", what, err, drops)})
	return do()
}

// resolve has the gateways' MACs known where the pod's packets leave: OVN loses packets while it asks,
// and an echo request is sent once.
func (p *project) resolve(f family) {
	ginkgo.GinkgoHelper()
	p.s.eventually("a datagram of the pod and the answer to it", func() error {
		_, err := p.call(transport{proto: "udp", f: f}, beyond(f)[0])
		return err
	})
}

// pings has an echo request answered by every address behind the gateways, each with an identifier
// of its own.
func (p *project) pings(f family) error {
	var started []*exec.Cmd
	var errs []error
	for _, to := range beyond(f) {
		cmd := exec.CommandContext(p.s.ctx, "ping", f.flag(), "-n", "-q", "-c", "1", "-W", "2", to.String())
		err := topo.Start(p.s.netns(projectPod), cmd)
		if err == nil {
			started = append(started, cmd)
		}
		errs = append(errs, err)
	}
	for _, cmd := range started {
		if err := cmd.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err))
		}
	}
	return errors.Join(errs...)
}

// echoes are the echo requests that each gateway has got.
func (p *project) echoes(f family) map[string]int {
	ginkgo.GinkgoHelper()
	out := map[string]int{}
	for _, g := range p.gateways {
		check(p.s.inNetns(g.name, func() (err error) {
			out[g.id()], err = inEchos(f)
			return err
		}), "count echo requests of "+g.name)
	}
	return out
}

// inEchos reads icmpInEchos or icmp6InEchos of the calling thread's network namespace.
func inEchos(f family) (int, error) {
	file, prefix, name := "/proc/thread-self/net/snmp", "Icmp:", "InEchos"
	if f == v6 {
		file, prefix, name = "/proc/thread-self/net/snmp6", "Icmp6InEchos", ""
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("read counters: %w", err)
	}
	var head []string
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		switch {
		case len(words) < 2 || words[0] != prefix:
		case name == "":
			return strconv.Atoi(words[1])
		case head == nil:
			head = words
		default:
			if i := slices.Index(head, name); i >= 0 && i < len(words) {
				return strconv.Atoi(words[i])
			}
		}
	}
	return 0, fmt.Errorf("%s has no counter %s%s", file, prefix, name)
}

// expectUnreachable tries a few addresses behind the gateways: nothing answers.
func (p *project) expectUnreachable(t transport) {
	ginkgo.GinkgoHelper()
	d := p.s.dialer(projectPod)
	d.Timeout = goneAfter
	for _, to := range beyond(t.f)[:2] {
		conn, err := open(p.s, d, t.proto, netip.AddrPort{}, netip.AddrPortFrom(to, gatewayPort))
		if err == nil {
			_ = conn.Close() // it should not have opened
		}
		gomega.Expect(err).To(gomega.HaveOccurred(), "%s to %s without a gateway", t, to)
	}
}

// connectivity: what is behind a gateway is reached, and after an update by the new one alone.
func (s *scene) connectivity(from origin, t transport) {
	p := s.begin()
	if t.proto != "icmp" {
		p.expectUnreachable(t)
	}
	for _, g := range p.gateways[:2] {
		p.declare(from, g)
		by := p.reaches(t, 1)
		gomega.Expect(by).To(gomega.Equal(map[string]int{g.id(): behind}), "who answers while %s is the gateway", g.name)
	}
}

// loopback: a gateway's own loopback answers the pod's echo requests, each of which the gateway gets.
func (s *scene) loopback(from origin, f family) {
	const requests = 3
	p := s.begin()
	g := p.gateways[0]
	p.declare(from, g)
	p.resolve(f)
	got := 0
	check(p.delivered(transport{"icmp", f}, "ping the gateway's loopback", func() error {
		before := p.echoes(f)[g.id()]
		out, err := s.output(s.ctx, projectPod, "ping", f.flag(), "-n", "-q", "-c", fmt.Sprint(requests), "-i", "0.2", "-W", "2", g.loopback(f).String())
		if err != nil {
			return err
		}
		if got = p.echoes(f)[g.id()] - before; got != requests {
			return fmt.Errorf("%s has got %d of %d echo requests:\n%s", g.name, got, requests, out)
		}
		return nil
	}), "ping the loopback of "+g.name)
	s.figure(report.Figure{Name: "echo requests at the gateway", Value: float64(got), Note: fmt.Sprintf("of %d", requests)})
}

// balanced: with two gateways each gets its part, as the lab's OVN gives parts.
func (s *scene) balanced(from origin, t transport) {
	p := s.begin()
	p.declare(from, p.gateways[0], p.gateways[1])
	rounds := 1
	if t.proto == "tcp" {
		rounds = shareRounds
	}
	by := p.reaches(t, rounds)
	s.judgeShares(p.gateways[:2], by, rounds*behind, t.proto)
}

// shareRounds is how often connections to every address are opened to judge shares by.
const shareRounds = 4

// judgeShares holds connections by gateway against what the lab's OVN promises.
func (s *scene) judgeShares(gateways []gateway, by map[string]int, total int, proto string) {
	ginkgo.GinkgoHelper()
	var shares []string
	sum := 0
	for _, g := range gateways {
		shares = append(shares, fmt.Sprint(by[g.id()]))
		sum += by[g.id()]
	}
	fw := s.forwarding()
	s.figure(report.Figure{Name: "largest share of a gateway", Value: float64(largest(by)), Note: strings.Join(shares, "/") + ", " + fw.says(proto)})
	gomega.Expect(sum).To(gomega.Equal(total), "connections by the declared gateways: %v", by)
	least := fw.least(proto, total, len(gateways))
	for _, g := range gateways {
		gomega.Expect(by[g.id()]).To(gomega.BeNumerically(">=", least), "connections by %s of %v; %s", g.name, by, fw.says(proto))
	}
}

func largest(by map[string]int) int {
	most := 0
	for _, n := range by {
		most = max(most, n)
	}
	return most
}

// ingressFrom: each gateway opens connections to the pod, all are answered through itself. Every
// gateway has every address that the connections come from, so an answer that goes to another
// gateway is refused there.
func (s *scene) ingressFrom(from origin, t transport) {
	p := s.begin()
	p.declare(from, p.gateways[0], p.gateways[1])
	for _, g := range p.gateways[:2] {
		p.warm(g, t.f)
	}
	n := 0
	for range 8 {
		for _, g := range p.gateways[:2] {
			conn := p.enter(g, t)
			local := conn.Local()
			gomega.Expect(conn.Greeting.Remote).To(gomega.Equal(local), "the peer that the pod saw")
			p.echo(t, conn, "second echo")
			n++
		}
	}
	s.figure(report.Figure{Name: "answered through the gateway they came by", Value: float64(n), Note: fmt.Sprintf("of %d", n)})
}

// warm has the ways between a gateway and the pod known: while neighbours are asked for, datagrams
// may be lost.
func (p *project) warm(g gateway, f family) {
	ginkgo.GinkgoHelper()
	d := p.s.dialer(g.name)
	d.Timeout = goneAfter
	p.s.eventually("a datagram from "+g.name+" to the pod and back", func() error {
		conn, err := open(p.s, d, "udp", netip.AddrPortFrom(beyond(f)[g.number], 0), netip.AddrPortFrom(f.of(p.pod), gatewayPort))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// enter opens a connection from an address behind a gateway to the project's pod; it ends with the
// scenario.
func (p *project) enter(g gateway, t transport) *traffic.Conn {
	ginkgo.GinkgoHelper()
	d := p.s.dialer(g.name)
	d.Timeout = answerTime(t)
	local := netip.AddrPortFrom(beyond(t.f)[g.number], 0)
	what := fmt.Sprintf("%s from %s to the pod", t, g.name)
	var conn *traffic.Conn
	check(p.delivered(t, what, func() (err error) {
		conn, err = open(p.s, d, t.proto, local, netip.AddrPortFrom(t.f.of(p.pod), gatewayPort))
		return err
	}), what)
	ginkgo.DeferCleanup(func() { _ = conn.Close() }) // a scenario may have closed it itself
	return conn
}

// echo has something echoed on a connection that is open.
func (p *project) echo(t transport, conn *traffic.Conn, what string) {
	ginkgo.GinkgoHelper()
	check(p.delivered(t, what, func() error { return conn.Echo(p.s.marker()) }), what)
}
