package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// podNetworks is what must hold of pods with further networks, by whatever plugin and IPAM.
func podNetworks() []spec {
	out := []spec{{
		name:   "each attachment of a pod is what its network and IPAM say",
		labels: []string{"attachments"}, needs: []Capability{PodNetworks},
		body: func(s *scene) { s.attachmentsAsTold() },
	}, {
		name:   "a node's device goes home with its pod and comes back with the next",
		labels: []string{"attachments", "host-device"}, needs: []Capability{HostDevice, PodNetworks, SimOVN, BGP},
		body: func(s *scene) { s.deviceGoesHome() },
	}}
	for _, f := range []family{v4, v6} {
		out = append(out, spec{
			name:   fmt.Sprintf("TCP over %s reaches pods by their addresses in further networks", f),
			labels: []string{"attachments", "ingress", "tcp", f.label()}, needs: f.needs(PodNetworks, SimOVN, Attached, BGP),
			body: func(s *scene) { s.ingressByAttachments(f) },
		})
	}
	return out
}

// attachment is one further network of a pod of the application.
type attachment struct {
	pod    string // its node
	id     string // namespace/name
	worker string
	conf   cni.Config
	status api.NetworkStatus
}

func (s *scene) attachments() []attachment {
	ginkgo.GinkgoHelper()
	res := must(s.lab.Resources())
	var out []attachment
	for i := range res.Pods {
		p := &res.Pods[i]
		if kubesim.IsTMM(p) || p.Status.Phase != corev1.PodRunning {
			continue
		}
		for _, n := range must(api.NetworkStatuses(p)) {
			if nad := res.NAD(n.Name); nad != nil {
				out = append(out, attachment{p.Name, p.Namespace + "/" + p.Name, p.Spec.NodeName, must(nad.Config()), n})
			}
		}
	}
	return out
}

// link is an interface of a node, nil for none.
func (s *scene) link(node, name string) *lab.Link {
	ginkgo.GinkgoHelper()
	all := must(s.lab.Links())
	i := slices.IndexFunc(all, func(l lab.Link) bool { return l.Node == node && l.Name == name })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// attachmentsAsTold compares the pods' interfaces with network-status and the configurations.
func (s *scene) attachmentsAsTold() {
	all := s.attachments()
	gomega.Expect(all).NotTo(gomega.BeEmpty())
	for _, a := range all {
		where := a.pod + "/" + a.status.Interface
		l := s.link(a.pod, a.status.Interface)
		gomega.Expect(l).NotTo(gomega.BeNil(), where)
		gomega.Expect(l.MAC).To(gomega.Equal(a.status.MAC), "MAC of %s", where)
		if a.conf.MAC != "" {
			gomega.Expect(l.MAC).To(gomega.Equal(a.conf.MAC), "MAC of %s by its network", where)
		}
		if a.conf.MTU != 0 {
			gomega.Expect(l.MTU).To(gomega.Equal(a.conf.MTU), "MTU of %s", where)
		}
		if a.conf.Type == cni.TypeMacvlan {
			gomega.Expect(l.Kind).To(gomega.Equal("macvlan"), "kind of %s", where)
		}
		var have []netip.Addr
		for _, text := range l.Addresses {
			have = append(have, must(netip.ParsePrefix(text)).Addr())
		}
		gomega.Expect(have).To(gomega.ConsistOf(a.status.IPs), "addresses of %s", where)
	}
	s.figure(report.Figure{Name: "attachments", Value: float64(len(all))})
}

// memberIn is the attachment that has an address.
func memberIn(all []attachment, a netip.Addr) (attachment, bool) {
	i := slices.IndexFunc(all, func(at attachment) bool { return slices.Contains(at.status.IPs, a) })
	if i < 0 {
		return attachment{}, false
	}
	return all[i], true
}

// serverBehind is a virtual server whose members are all addresses in further networks.
func (s *scene) serverBehind(w *world, f family) (control.VirtualServerStatus, []attachment) {
	ginkgo.GinkgoHelper()
	all := s.attachments()
	for _, vs := range w.servers {
		var behind []attachment
		for _, m := range vs.Members {
			if a, ok := memberIn(all, m.Address.Addr()); ok {
				behind = append(behind, a)
			}
		}
		if vs.Protocol == "tcp" && vs.Destination.Addr().Is4() == (f == v4) && len(behind) > 0 && len(behind) == len(vs.Members) {
			return vs, behind
		}
	}
	refuse(fmt.Sprintf("the lab has no virtual server over TCP and %s whose members are addresses of pods in further networks", f))
	return control.VirtualServerStatus{}, nil
}

// ingressByAttachments has every member of such a virtual server answer, by frames to the MAC that network-status
// tells.
func (s *scene) ingressByAttachments(f family) {
	w := s.world()
	vs, behind := s.serverBehind(w, f)
	t := w.tmms[0]
	c := w.client()
	s.pin(c, vs.Destination.Addr(), w.selfTowards(t, c, f))
	var points []evidence.Point
	for _, a := range behind {
		points = append(points, evidence.Point{Node: a.pod, Netns: s.netns(a.pod), Interface: a.status.Interface})
	}
	capture := s.captureAt(points)
	seen := map[string]bool{}
	for range 2 * len(behind) {
		conn := s.dial(c.name, "tcp", vs.Destination)
		mark := s.marker()
		check(conn.Echo(mark), "echo")
		a, ok := memberIn(behind, conn.Greeting.Local.Addr())
		gomega.Expect(ok).To(gomega.BeTrue(), "%s is a member's address", conn.Greeting.Local)
		gomega.Expect(conn.Greeting.Pod).To(gomega.Equal(a.id), "who answered at %s", conn.Greeting.Local)
		got := arrived(complete(capture), a.pod, mark)
		gomega.Expect(got).NotTo(gomega.BeEmpty(), "the request at %s/%s", a.pod, a.status.Interface)
		gomega.Expect(got[0].DstMAC).To(gomega.Equal(evidence.ParseMAC(a.status.MAC)), "MAC that %s was sent to", got[0])
		seen[a.id+" "+a.status.Interface] = true
	}
	gomega.Expect(seen).To(gomega.HaveLen(len(behind)), "attachments that answered")
	s.figure(report.Figure{Name: "attachments", Value: float64(len(seen))})
}

// deviceGoesHome deletes a pod that has a device of its node: the node has it again as the pod had it, under its
// own name, until the pod is back.
func (s *scene) deviceGoesHome() {
	all := s.attachments()
	i := slices.IndexFunc(all, func(a attachment) bool { return a.conf.Type == cni.TypeHostDevice && a.conf.Device != "" })
	gomega.Expect(i).To(gomega.BeNumerically(">=", 0), "a pod with a device of its node, by name")
	a := all[i]
	lent := s.link(a.pod, a.status.Interface)
	gomega.Expect(s.link(a.worker, a.conf.Device)).To(gomega.BeNil(), "%s while %s has it", a.conf.Device, a.pod)

	namespace, name, _ := strings.Cut(a.id, "/")
	found := must(s.lab.Get(api.KindPod, namespace, name))
	s.cleanup("bring "+a.id+" back", func(ctx context.Context) error {
		_, err := s.lab.Apply(ctx, found)
		return errors.Join(err, s.ready(ctx))
	})
	check(s.lab.Delete(s.ctx, api.KindPod, namespace, name, -1), "delete "+a.id)
	home := s.link(a.worker, a.conf.Device)
	gomega.Expect(home).NotTo(gomega.BeNil(), "%s of %s", a.conf.Device, a.worker)
	gomega.Expect(home.MAC).To(gomega.Equal(lent.MAC), "MAC of %s", home.Name)
	gomega.Expect(home.MTU).To(gomega.Equal(lent.MTU), "MTU of %s", home.Name)
	s.eventually(home.Name+" is up", func() error {
		if l := s.link(a.worker, a.conf.Device); l == nil || l.State != "up" {
			return fmt.Errorf("it is %v", l)
		}
		return nil
	})

	must(s.lab.Apply(s.ctx, found))
	check(s.ready(s.ctx), "the pod is back")
	again := s.link(a.pod, a.status.Interface)
	gomega.Expect(again).NotTo(gomega.BeNil(), "%s of %s", a.status.Interface, a.pod)
	gomega.Expect(again.MAC).To(gomega.Equal(lent.MAC), "MAC of %s of %s", again.Name, a.pod)
}
