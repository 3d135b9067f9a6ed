package scenarios

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/traffic"
)

// virtualServers is what a virtual server's resource can say beside where it is. What does not
// depend on the family is tried over one.
func virtualServers() []spec {
	needs := []Capability{SimOVN, Attached, BGP, IPv6}
	vs := func(name string, f family, label string, body func(*scene, family)) spec {
		return spec{
			name:   fmt.Sprintf("%s (%s)", name, f),
			labels: []string{"virtual-server", "tcp", f.label(), label}, needs: needs,
			body: func(s *scene) { body(s, f) },
		}
	}
	const subnet = "a subnet with every port: announced as it is, and a more specific virtual server wins"
	out := []spec{
		vs(subnet, v4, "subnet", (*scene).subnet),
		vs(subnet, v6, "subnet", (*scene).subnet),
		vs("least connections: new ones go to the member that has fewer", v4, "least-connections", (*scene).leastConnections),
		vs("source address affinity: a client stays with its member", v6, "affinity", (*scene).affinity),
		vs("packets, inspect and Prometheus count the same", v4, "metrics", (*scene).metricsAreTrue),
	}
	for _, down := range []struct {
		action string
		f      family
	}{{api.ServiceDownNone, v4}, {api.ServiceDownDrop, v6}, {api.ServiceDownReject, v4}} {
		out = append(out, vs("an endpoint is removed and lives on, serviceDownAction "+down.action, down.f, "service-down",
			func(s *scene, f family) { s.serviceDown(f, down.action) }))
	}
	return out
}

// The subnet that holds the gate's addresses.
const (
	subnet4 = "192.0.2.192/27"
	subnet6 = "2001:db8:2::200/120"
)

// subnetServer is a virtual server of the subnets, for every port, in front of the gate's pods.
func subnetServer(namespace string) string {
	four, six := netip.MustParsePrefix(subnet4), netip.MustParsePrefix(subnet6)
	return fmt.Sprintf(`---
apiVersion: ingresstcp.k8s.f5net.com/v1
kind: F5SPKIngressTCP
metadata: {name: subnet, namespace: %s}
service: {name: %s}
spec:
  destinationAddress: %s
  destinationPrefixLen: %d
  ipv6destinationAddress: %q
  ipv6destinationPrefixLen: %d
  destinationPort: 0
`, namespace, gateName, four.Addr(), four.Bits(), six.Addr(), six.Bits())
}

// gate makes the gate's virtual server with more lines of its spec and with pods behind it, and
// waits until it is everywhere.
func (s *scene) gate(w *world, spec, more string, pods ...string) (namespace string) {
	ginkgo.GinkgoHelper()
	namespace = s.makeGate(w, spec+more, pods...)
	check(s.ready(s.ctx), "every TMM has the virtual server")
	return namespace
}

// gateOf is the gate's address of a family.
func gateOf(f family) netip.AddrPort {
	if f == v4 {
		return gateVIPs()[0]
	}
	return gateVIPs()[1]
}

func (s *scene) subnet(f family) {
	w := s.world()
	c := w.client()
	s.gate(w, "", subnetServer(w.served(s, v4).namespace), "gate-1")
	prefix := netip.MustParsePrefix(subnet4)
	if f == v6 {
		prefix = netip.MustParsePrefix(subnet6)
	}
	hops := must(s.pathsTo(c.router, prefix))
	gomega.Expect(hops).To(gomega.HaveLen(len(w.tmms)), "paths to %s", prefix)

	host := gateOf(f).Addr()
	other := host.Next()
	for _, tt := range []struct {
		to     netip.AddrPort
		served bool
	}{
		{netip.AddrPortFrom(host, 80), true},    // the Service's port is 8080 in the pod
		{netip.AddrPortFrom(host, 8080), true},  // the subnet's: every port, and as it is
		{netip.AddrPortFrom(other, 8080), true}, // the subnet's
		{netip.AddrPortFrom(other, 80), false},  // nobody listens on 80 in the pod
	} {
		conn, err := s.tryDial(c.name, "tcp", tt.to)
		if !tt.served {
			gomega.Expect(errors.Is(err, syscall.ECONNREFUSED)).To(gomega.BeTrue(), "%s is refused by the pod: %v", tt.to, err)
			continue
		}
		check(err, tt.to.String())
		gomega.Expect(conn.Greeting.Local.Port()).To(gomega.Equal(uint16(8080)), "the pod's port behind %s", tt.to)
		check(conn.Close(), "close")
	}
}

// leastConnections leaves one of two members without connections and counts where the next go.
func (s *scene) leastConnections(f family) {
	w := s.world()
	c, t := w.client(), w.tmms[0]
	namespace := s.gate(w, "  loadBalancingMethod: "+api.LeastConnections+"\n", "", "gate-1", "gate-2")
	s.pin(c, gateOf(f).Addr(), f.of(t.external.self))
	first, second := namespace+"/gate-1", namespace+"/gate-2"
	open := s.open(c, gateOf(f), 10)
	gomega.Expect(len(open[first])).To(gomega.Equal(5), "of 10 connections, those of %s", first)
	for _, conn := range open[first] {
		check(conn.Close(), "close")
	}
	s.eventually(t.name+" counts no connection of "+first, func() error { return s.current(t, gateOf(f), open[first][0].Greeting.Local, 0) })
	again := s.open(c, gateOf(f), 5)
	s.figure(report.Figure{Name: "connections to the member without any", Value: float64(len(again[first])), Note: fmt.Sprintf("of 5, %d to the one with 5", len(again[second]))})
	gomega.Expect(again[first]).To(gomega.HaveLen(5), "of 5 connections, those of %s", first)
}

// open opens connections that stay and returns them by the pod that answers.
func (s *scene) open(c client, vip netip.AddrPort, n int) map[string][]*traffic.Conn {
	ginkgo.GinkgoHelper()
	by := map[string][]*traffic.Conn{}
	for range n {
		conn := s.dial(c.name, "tcp", vip)
		by[conn.Greeting.Pod] = append(by[conn.Greeting.Pod], conn)
	}
	return by
}

// current says whether a TMM counts n connections of a member.
func (s *scene) current(t tmm, vip, member netip.AddrPort, n int) error {
	st, err := s.status(t)
	if err != nil {
		return err
	}
	m := memberOf(st, vip, member)
	switch {
	case m == nil:
		return fmt.Errorf("%s has no member %s", vip, member)
	case m.Current != n:
		return fmt.Errorf("%d connections of %s", m.Current, member)
	}
	return nil
}

// memberOf is a TMM's member of a virtual server, nil for none.
func memberOf(st control.Status, vip, member netip.AddrPort) *control.MemberStatus {
	for _, vs := range st.VirtualServers {
		for i := range vs.Members {
			if m := &vs.Members[i]; vs.Destination == vip && vs.HostBits == 0 && m.Address == member {
				return m
			}
		}
	}
	return nil
}

// affinity lets one client open connections, which round robin would share out.
func (s *scene) affinity(f family) {
	w := s.world()
	c, t := w.client(), w.tmms[0]
	s.gate(w, "  persistence: {type: source_addr, timeout: 60}\n", "", "gate-1", "gate-2")
	s.pin(c, gateOf(f).Addr(), f.of(t.external.self))
	by := s.open(c, gateOf(f), 20)
	s.figure(report.Figure{Name: "members of one client", Value: float64(len(by)), Note: "of 2, over 20 connections"})
	gomega.Expect(by).To(gomega.HaveLen(1), "members that one client meets")
}

// serviceDown takes the pod of an open connection out of its Service and uses the connection: the
// pod itself would go on answering.
func (s *scene) serviceDown(f family, action string) {
	w := s.world()
	c := w.client()
	namespace := s.gate(w, "  serviceDownAction: "+action+"\n", "", "gate-1", "gate-2")
	conn := s.dial(c.name, "tcp", gateOf(f))
	pod, member := strings.TrimPrefix(conn.Greeting.Pod, namespace+"/"), conn.Greeting.Local
	s.edit(api.KindPod, namespace, pod, func(doc map[string]any) { at(doc, "metadata", "labels")["app"] = "retired" })
	s.eventually("no TMM has the member", func() error {
		for _, t := range w.tmms {
			st, err := s.status(t)
			if err != nil {
				return err
			}
			if memberOf(st, gateOf(f), member) != nil {
				return fmt.Errorf("%s has it", t.name)
			}
		}
		return nil
	})
	err := conn.Echo(s.marker())
	var timeout net.Error
	switch action {
	case api.ServiceDownNone:
		check(err, "an echo of the pod that the connection is with")
	case api.ServiceDownReject:
		gomega.Expect(errors.Is(err, syscall.ECONNRESET)).To(gomega.BeTrue(), "the client is reset: %v", err)
	case api.ServiceDownDrop:
		gomega.Expect(errors.As(err, &timeout) && timeout.Timeout()).To(gomega.BeTrue(), "the client hears nothing: %v", err)
		s.eventually("a TMM counts the packets", func() error { return s.counted("drop_member_down") })
	}
}

// counted says whether any TMM has counted something.
func (s *scene) counted(counter string) error {
	in, err := s.lab.Inspect(s.ctx)
	if err != nil {
		return err
	}
	for _, st := range in.TMMs {
		if st.Counters[counter] > 0 {
			return nil
		}
	}
	return fmt.Errorf("no TMM has counted %s", counter)
}
