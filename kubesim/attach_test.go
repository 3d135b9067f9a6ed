package kubesim_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
)

const attachments = `
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: local}
spec: {config: '{"type": "macvlan", "name": "n", "master": "ens224", "mac": "02:00:00:00:00:42", "ipam": {"type": "host-local", "subnet": "192.0.2.0/24"}}'}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: fixed}
spec: {config: '{"type": "macvlan", "master": "ens256", "mode": "passthru", "ipam": {"type": "static", "addresses": [{"address": "198.51.100.7/24", "gateway": "198.51.100.1"}]}}'}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: device}
spec: {config: '{"type": "host-device", "device": "ens256"}'}
`

func attachedPod(name, node, networks string) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default, annotations: {k8s.v1.cni.cncf.io/networks: '%s'}}
spec: {nodeName: %s, containers: [{name: c, image: x}]}
`, name, networks, node)
}

// TestAttachments: addresses come from each node's own reservations and are free again when the pod is gone;
// MACs are the pod's, the configuration's, the device's.
func TestAttachments(t *testing.T) {
	r := decode(t, attachments+attachedPod("a", "worker-1", "local,device")+attachedPod("b", "worker-1", "local")+
		attachedPod("c", "worker-2", `[{"name": "local", "mac": "02:00:00:00:00:43", "ips": ["192.0.2.9/24"], "default-route": ["192.0.2.1"]}, {"name": "fixed"}]`))
	opt := options()
	opt.Reservations = map[string]cni.Reservations{"worker-1/n": {"192.0.2.2": "default_gone\r\nnet1", "192.0.2.5": "default_a\r\nnet1"}}
	opt.NICMAC = func(node, nic string) string { return node + "." + nic }
	out, findings := kubesim.Reconcile(r, opt)
	if len(findings) > 0 {
		t.Fatalf("findings: %+v", findings)
	}
	var got []string
	for _, name := range []string{"a", "b", "c"} {
		p := pod(t, out, "default", name)
		status, err := api.NetworkStatuses(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range status[1:] {
			given, err := kubesim.Assigned(p, s.Interface)
			if err != nil {
				t.Fatal(err)
			}
			line := fmt.Sprint(name, " ", s.Interface, " ", s.Name, " ", s.MAC, " ", s.IPs, " by ", s.Gateway)
			if given != nil {
				line += fmt.Sprint(" ", given.IPs)
			}
			got = append(got, line)
		}
	}
	want := []string{
		"a net1 default/local 02:00:00:00:00:42 [192.0.2.5] by [] [{192.0.2.5/24 192.0.2.1}]",
		"a net2 default/device worker-1.ens256 [] by []",
		"b net1 default/local 02:00:00:00:00:42 [192.0.2.2] by [] [{192.0.2.2/24 192.0.2.1}]",
		"c net1 default/local 02:00:00:00:00:43 [192.0.2.9] by [192.0.2.1] [{192.0.2.9/24 192.0.2.1}]",
		"c net2 default/fixed worker-2.ens256 [198.51.100.7] by [] [{198.51.100.7/24 198.51.100.1}]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out.Pods = slices.Delete(out.Pods, 0, 1)
	kubesim.Reconcile(out, opt)
	if _, kept := opt.Reservations["worker-1/n"]["192.0.2.5"]; kept {
		t.Errorf("the address of a pod that is gone is kept: %q", opt.Reservations)
	}
}
