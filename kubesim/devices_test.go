package kubesim_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/topo/vf"
)

func TestDeviceEnvName(t *testing.T) {
	for resource, want := range map[string]string{
		"openshift.io/internal":   "PCIDEVICE_OPENSHIFT_IO_INTERNAL",
		"openshift.io/ens1f0-vfs": "PCIDEVICE_OPENSHIFT_IO_ENS1F0-VFS",
		"intel.com/a.b_c":         "PCIDEVICE_INTEL_COM_A_B_C",
	} {
		if got := kubesim.DeviceEnvName(resource); got != want {
			t.Errorf("%s: %s, want %s", resource, got, want)
		}
	}
}

const sriovNetworks = `
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: sriov-internal, namespace: default, annotations: {k8s.v1.cni.cncf.io/resourceName: openshift.io/internal}}
spec: {config: '{"cniVersion": "0.3.1", "type": "sriov", "mac": "02:00:00:00:00:77", "ipam": {}}'}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: sriov-external, namespace: default, annotations: {k8s.v1.cni.cncf.io/resourceName: openshift.io/external}}
spec: {config: '{"cniVersion": "0.3.1", "type": "sriov", "ipam": {}}'}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: sriov-none, namespace: default}
spec: {config: '{"cniVersion": "0.3.1", "type": "sriov", "ipam": {}}'}
`

func wantsNetworks(name, networks string) string {
	return `
---
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `, namespace: default, annotations: {k8s.v1.cni.cncf.io/networks: "` + networks + `"}}
spec: {nodeName: worker-1, containers: [{name: c, image: spklab/app}]}
`
}

// devicesOf are the PCI addresses of a pod's networks, with - for what has none.
func devicesOf(t *testing.T, p *corev1.Pod) string {
	t.Helper()
	status, err := api.NetworkStatuses(p)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range status {
		out = append(out, strings.TrimSpace(s.Interface+" "+s.PCIAddress()+" "+map[bool]string{true: s.MAC}[!s.Default]))
	}
	return strings.Join(out, ", ")
}

func withPools() kubesim.Options {
	o := options()
	o.Pools = map[string][]vf.Pool{"worker-1": {
		{Resource: "openshift.io/internal", VFs: []string{"0000:01:10.0", "0000:01:10.2", "0000:01:10.4"}},
		{Resource: "openshift.io/external", VFs: []string{"0000:02:10.0", "0000:02:10.2", "0000:02:10.4"}},
	}}
	return o
}

// TestDevices gives VFs to pods, keeps them there, and takes no VF from a pod that is on its way out.
func TestDevices(t *testing.T) {
	opt := withPools()
	res := decode(t, sriovNetworks+wantsNetworks("a", "sriov-internal,sriov-external")+wantsNetworks("b", "sriov-external,sriov-external"))
	res, findings := kubesim.Reconcile(res, opt)
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	wantA := "eth0, net1 0000:01:10.0 02:00:00:00:00:77, net2 0000:02:10.0"
	if got := devicesOf(t, res.Pod("default", "a")); got != wantA {
		t.Errorf("a has %s, want %s", got, wantA)
	}
	if got, want := devicesOf(t, res.Pod("default", "b")), "eth0, net1 0000:02:10.2, net2 0000:02:10.4"; got != want {
		t.Errorf("b has %s, want %s", got, want)
	}
	env, err := kubesim.DeviceEnv(res.Pod("default", "b"), &res)
	if diff := cmp.Diff([]string{"PCIDEVICE_OPENSHIFT_IO_EXTERNAL=0000:02:10.2,0000:02:10.4"}, env); diff != "" || err != nil {
		t.Errorf("environment of b (%v):\n%s", err, diff)
	}
	again, _ := kubesim.Reconcile(res, opt)
	if diff := cmp.Diff(res.Pods, again.Pods); diff != "" {
		t.Errorf("a second round changes something:\n%s", diff)
	}

	// A pool that is written in another order changes nothing; a successor waits until a VF is free.
	p := opt.Pools["worker-1"][1].VFs
	p[0], p[2] = p[2], p[0]
	more := decode(t, sriovNetworks+wantsNetworks("c", "sriov-external"))
	kubesim.Terminate(res.Pod("default", "a"), noon, 30)
	res.Pods = append(res.Pods, more.Pods...)
	res, findings = kubesim.Reconcile(res, opt)
	const full = "error: Pod default/c: node worker-1 has no VF of openshift.io/external left: it has 3; offer more VFs, or scale down"
	if len(findings) != 1 || findings[0].String() != full {
		t.Errorf("findings %v, want %s", findings, full)
	}
	if got := devicesOf(t, res.Pod("default", "b")); got != "eth0, net1 0000:02:10.2, net2 0000:02:10.4" {
		t.Errorf("b has now %s", got)
	}
	res.Pods = res.Pods[1:] // a is gone
	res, findings = kubesim.Reconcile(res, opt)
	if got := devicesOf(t, res.Pod("default", "c")); len(findings) > 0 || got != "eth0, net1 0000:02:10.0" {
		t.Errorf("c has %s (%v)", got, findings)
	}
}

// TestDevicesMissing: a pod that lacks a device cannot start, and the finding says why.
func TestDevicesMissing(t *testing.T) {
	for network, want := range map[string]string{
		"sriov-none":     "network default/sriov-none names no resource whose VFs it gives: annotation k8s.v1.cni.cncf.io/resourceName",
		"sriov-internal": "network default/sriov-internal gives VFs of openshift.io/internal, and node worker-1 has none",
	} {
		t.Run(network, func(t *testing.T) {
			res, findings := kubesim.Reconcile(decode(t, sriovNetworks+wantsNetworks("a", network)), options())
			if len(findings) != 1 || findings[0].Message != want {
				t.Errorf("findings %v, want %s", findings, want)
			}
			if p := res.Pod("default", "a"); kubesim.Runnable(p) {
				t.Error("the pod may start")
			}
		})
	}
}
