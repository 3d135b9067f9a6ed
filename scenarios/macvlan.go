package scenarios

import (
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// macvlan is what the documentation promises of TMM's interfaces without SR-IOV.
func macvlan() []spec {
	return []spec{{
		name:   "each attachment has a MAC address of its own, on the wire as well",
		labels: []string{"macvlan", "mac"}, needs: []Capability{Macvlan, SimOVN},
		body: func(s *scene) { s.uniqueMACs() },
	}, {
		name:   "interfaces 1.1 and 1.2 are the networks of tmm.cniNetworks in order",
		labels: []string{"macvlan", "interfaces"}, needs: []Capability{Macvlan},
		body: func(s *scene) { s.interfaceOrder() },
	}, {
		name:   "swapped networks in tmm.cniNetworks are diagnosed",
		labels: []string{"macvlan", "diagnosis"}, needs: []Capability{Macvlan, SimOVN},
		body: func(s *scene) { s.swappedNetworks() },
	}}
}

// uniqueMACs compares the annotation, the links and the frames.
func (s *scene) uniqueMACs() {
	w := s.world()
	owner := map[string]string{}
	for _, link := range must(s.lab.Links()) {
		if link.Kind != "macvlan" && !slices.ContainsFunc(w.points(), func(p evidence.Point) bool { return p.String() == link.Node+"/"+link.Name }) {
			continue // bridges and the far ends of cables
		}
		where := link.Node + "/" + link.Name
		gomega.Expect(owner).NotTo(gomega.HaveKey(link.MAC), "%s has the MAC of another interface", where)
		owner[link.MAC] = where
	}
	c, vs := w.client(), w.server("tcp", v4, automap)
	capture := s.capture(w)
	for _, t := range w.tmms {
		release := s.pin(c, vs.Destination.Addr(), v4.of(t.external.self))
		s.dial(c.name, "tcp", vs.Destination)
		release()
	}
	trace := complete(capture)
	res := must(s.lab.Resources())
	for _, t := range w.tmms {
		namespace, name, _ := strings.Cut(t.status.Pod, "/")
		annotated := must(api.NetworkStatuses(res.Pod(namespace, name)))
		for _, f := range t.status.Interfaces {
			where := t.name + "/" + f.Name
			gomega.Expect(owner).To(gomega.HaveKeyWithValue(f.MAC, where), "the link of interface %s", f.Number)
			gomega.Expect(annotated).To(gomega.ContainElement(gomega.And(gomega.HaveField("Interface", f.Name), gomega.HaveField("MAC", f.MAC))), "network-status of %s", t.name)
			sent := trace.Select(func(p evidence.Packet) bool { return p.Out && p.Point.String() == where })
			gomega.Expect(sent).NotTo(gomega.BeEmpty(), "frames sent by %s", where)
			for _, p := range sent {
				gomega.Expect(p.SrcMAC).To(gomega.Equal(evidence.ParseMAC(f.MAC)), "source MAC of %s", p)
			}
		}
	}
	s.figure(report.Figure{Name: "interfaces", Value: float64(len(owner)), Note: "all MACs differ"})
}

// interfaceOrder compares the interfaces with the Helm value and with what each one is on.
func (s *scene) interfaceOrder() {
	w := s.world()
	res := must(s.lab.Resources())
	gomega.Expect(w.tmms).NotTo(gomega.BeEmpty())
	links := must(s.lab.Links())
	for _, t := range w.tmms {
		gomega.Expect(t.status.Interfaces).To(gomega.HaveLen(len(res.Values.Networks())))
		for i, network := range res.Values.Networks() {
			f := t.status.Interfaces[i]
			gomega.Expect(f.Number).To(gomega.Equal(fmt.Sprintf("1.%d", i+1)))
			gomega.Expect(f.Network).To(gomega.Equal(network), "network of interface %s", f.Number)
			cfg := must(res.NAD(network).Config())
			gomega.Expect(f.Mode).To(gomega.Equal(cfg.Mode), "macvlan mode of interface %s", f.Number)
			found := 0
			for _, link := range links {
				if link.Node == t.name && link.Name == f.Name {
					found++
					gomega.Expect(link.Kind).To(gomega.Equal("macvlan"), "kind of %s", link.Name)
					gomega.Expect(link.MAC).To(gomega.Equal(f.MAC), "MAC of %s", link.Name)
				}
			}
			gomega.Expect(found).To(gomega.Equal(1), "links called %s in %s", f.Name, t.name)
		}
		gomega.Expect(t.internal.master).NotTo(gomega.Equal(t.external.master), "NICs below the two interfaces")
	}
}

// swappedNetworks installs TMM with its networks in the wrong order and asks for a diagnosis
// that names both and says what to change.
func (s *scene) swappedNetworks() {
	res := must(s.lab.Resources())
	networks := res.Values.Networks()
	gomega.Expect(networks).To(gomega.HaveLen(2), "networks of tmm.cniNetworks")
	s.edit(api.KindValues, "", "", func(doc map[string]any) {
		at(doc, "tmm")["cniNetworks"] = networks[1] + "," + networks[0]
	})
	s.eventually("every TMM says that its interfaces are swapped", func() error {
		return s.everyTMM(func(st control.Status) error {
			for _, c := range st.Conditions {
				if c.Reason != control.ReasonInterfacesSwapped {
					continue
				}
				for _, word := range []string{"1.1", "1.2", networks[0], networks[1], "cniNetworks"} {
					if !strings.Contains(c.Message, word) {
						return fmt.Errorf("the condition does not say %q: %s", word, c.Message)
					}
				}
				s.evidence(report.Evidence{Title: "diagnosis of " + st.Pod, Text: c.Severity + " " + c.Reason + " " + c.Object + ": " + c.Message})
				return nil
			}
			return fmt.Errorf("%s has conditions %v", st.Pod, st.Conditions)
		})
	})
}

// everyTMM applies f to the state of each TMM; there must be some.
func (s *scene) everyTMM(f func(control.Status) error) error {
	in, err := s.lab.Inspect(s.ctx)
	if err != nil {
		return err
	}
	if len(in.TMMs) == 0 {
		return fmt.Errorf("no TMM answers: %v", in.Silent)
	}
	for _, st := range in.TMMs {
		if err := f(st); err != nil {
			return err
		}
	}
	return nil
}
