package lab

import (
	"strings"
	"testing"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
)

// TestPlanAttachments: what a NetworkAttachmentDefinition and the annotation of a pod say is what is made.
func TestPlanAttachments(t *testing.T) {
	for _, tc := range []struct {
		name, config, networks string
		want, lacks            []string
	}{
		{"host-local", `{"type": "macvlan", "name": "n", "master": "ens224", "mode": "vepa", "mtu": 1400, "ipam": {"type": "host-local", "subnet": "192.0.2.0/24", "routes": [{"dst": "198.18.0.0/15"}]}}`,
			`[{"name": "x", "mac": "02:00:00:00:00:43"}]`,
			[]string{"macvlan spk-spk-app-1 net1 on spk-spk-worker-1 ens224 mode vepa mac 02:00:00:00:00:43 mtu 1400 ip 192.0.2.2/24 gateway 192.0.2.1 route 198.18.0.0/15\n"}, nil},
		{"in the pod", `{"type": "macvlan", "master": "eth0", "linkInContainer": true}`, "x@up",
			[]string{"macvlan spk-spk-app-1 up on spk-spk-app-1 eth0 mode bridge"}, nil},
		{"a device", `{"type": "host-device", "device": "ens256"}`, "x",
			[]string{"host-device spk-spk-app-1 net1 from spk-spk-worker-1 device ens256\n"}, nil},
		{"default routes", `{"type": "macvlan", "master": "ens224"}`, `[{"name": "x", "ips": ["10.144.100.99/24"], "default-route": ["10.144.100.1"]}]`,
			[]string{"addr spk-spk-app-1 net1 10.144.100.99/24\n", "route spk-spk-app-1 0.0.0.0/0 via 10.144.100.1 dev net1\n"},
			[]string{"route spk-spk-app-1 0.0.0.0/0 via 10.131", "route spk-spk-app-1 ::/0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src, res := shipped(t)
			nad := api.NetworkAttachmentDefinition{Spec: api.NADSpec{Config: tc.config}}
			nad.Namespace, nad.Name = "spk-apps", "x"
			res.NADs = append(res.NADs, nad)
			res.Pod("spk-apps", "app-1").Annotations[api.AnnotationNetworks] = tc.networks
			res, findings := kubesim.Reconcile(res, kubesim.Options{OVN: true})
			if len(findings) > 0 {
				t.Fatal(findings)
			}
			plan, err := Plan(src.Spec, res, Env{})
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range tc.want {
				if !strings.Contains(plan.String(), line) {
					t.Errorf("the plan lacks %s:\n%s", line, plan)
				}
			}
			for _, line := range tc.lacks {
				if strings.Contains(plan.String(), line) {
					t.Errorf("the plan holds %s", line)
				}
			}
		})
	}
}
