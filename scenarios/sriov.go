package scenarios

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/onsi/gomega"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
)

// labelSRIOV is the label of what is about virtual functions.
const labelSRIOV = "sriov"

// overVFs are the scenarios of other chapters, each by labels of which it has all, that a lab whose TMMs have VFs
// runs under labelSRIOV, too: each way that packets go is one.
func overVFs() [][]string {
	return [][]string{
		{"ingress", "tcp", "ipv4", "snat-automap"},
		{"ingress", "udp", "ipv6", "snat-none"},
		{"egress", "tcp", "ipv4", "snat-automap"},
		{"bgp", "ecmp"},
	}
}

// labels are a scenario's in a lab of this kind.
func (e Env) labels(s spec) []string {
	if !slices.Contains(e.Has, SRIOV) || slices.Contains(s.labels, labelSRIOV) {
		return s.labels
	}
	for _, of := range overVFs() {
		if !slices.ContainsFunc(of, func(label string) bool { return !slices.Contains(s.labels, label) }) {
			return append(slices.Clone(s.labels), labelSRIOV)
		}
	}
	return s.labels
}

// sriov is what a TMM on virtual functions has to find.
func sriov() []spec {
	return []spec{{
		name:   "network-status and the PCIDEVICE variables name the VFs that the TMMs have",
		labels: []string{labelSRIOV, "interfaces"}, needs: []Capability{SRIOV},
		body: func(s *scene) { s.deviceNames() },
	}}
}

// deviceNames compares the devices that a TMM finds behind its interfaces with what its pod says of them.
func (s *scene) deviceNames() {
	w := s.world()
	res := must(s.lab.Resources())
	gomega.Expect(w.tmms).NotTo(gomega.BeEmpty())
	holder := map[string]string{}
	for _, t := range w.tmms {
		namespace, name, _ := strings.Cut(t.status.Pod, "/")
		annotated := must(api.NetworkStatuses(res.Pod(namespace, name)))
		want := map[string]string{}
		for _, f := range t.status.Interfaces {
			where := t.name + "/" + f.Name
			gomega.Expect(f.PCI).NotTo(gomega.BeEmpty(), "PCI device behind %s", where)
			gomega.Expect(holder).NotTo(gomega.HaveKey(t.worker+" "+f.PCI), "device of %s", where)
			holder[t.worker+" "+f.PCI] = where
			at := slices.IndexFunc(annotated, func(a api.NetworkStatus) bool { return a.Interface == f.Name })
			gomega.Expect(at).NotTo(gomega.Equal(-1), "network-status of %s", where)
			gomega.Expect(annotated[at].PCIAddress()).To(gomega.Equal(f.PCI), "device-info of %s", where)
			variable := kubesim.DeviceEnvName(kubesim.ResourceName(res.NAD(f.Network)))
			want[variable] = strings.TrimPrefix(want[variable]+","+f.PCI, ",")
		}
		for variable, devices := range want {
			gomega.Expect(s.environment(t.name)).To(gomega.ContainElement(variable+"="+devices), "environment of %s", t.name)
		}
	}
}

// environment are the variables of a process of the lab.
func (s *scene) environment(process string) []string {
	pids := s.lab.Runtime().Pids(process)
	gomega.Expect(pids).NotTo(gomega.BeEmpty(), "processes of %s", process)
	return strings.Split(string(must(os.ReadFile(fmt.Sprintf("/proc/%d/environ", pids[0])))), "\x00")
}
