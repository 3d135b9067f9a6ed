package topo_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/topo"
)

// sriovPod is a pod with a VF on net1.
func sriovPod(config string, a topo.Attachment) topo.Pod {
	c, err := cni.Decode(config)
	if err != nil {
		panic(err) // a mistake in a test
	}
	a.Config, a.Interface, a.Network = c, "net1", "default/sriov-internal"
	return topo.Pod{Namespace: "default", Name: "p1", Worker: "w1", Attachments: []topo.Attachment{a}}
}

// TestVFStep: a configuration of type sriov alone makes the plan hold the VF, with what it sets.
func TestVFStep(t *testing.T) {
	for name, tc := range map[string]struct {
		config string
		a      topo.Attachment
		want   string
	}{
		"nothing set": {`{"type": "sriov"}`, topo.Attachment{Device: "0000:01:10.0"}, "vf spk-x-p1 net1 pci 0000:01:10.0\n"},
		"all": {
			`{"type": "sriov", "vlan": 100, "vlanQoS": 3, "vlanProto": "802.1ad", "min_tx_rate": 1, "max_tx_rate": 2, "spoofchk": "off", "trust": "on", "link_state": "enable", "mac": "02:00:00:00:00:01"}`,
			topo.Attachment{Device: "0000:01:10.0"},
			"vf spk-x-p1 net1 pci 0000:01:10.0 vlan 100 qos 3 proto 802.1ad mac 02:00:00:00:00:01 min_tx_rate 1 max_tx_rate 2 spoofchk off trust on state enable\n",
		},
		"the pod's MAC":   {`{"type": "sriov", "mac": "02:00:00:00:00:01"}`, topo.Attachment{Device: "0000:01:10.0", MAC: "02:00:00:00:00:02"}, "vf spk-x-p1 net1 pci 0000:01:10.0 mac 02:00:00:00:00:02\n"},
		"a tag comes off": {`{"type": "sriov", "vlan": 0, "vlanQoS": 0}`, topo.Attachment{Device: "0000:01:10.0"}, "vf spk-x-p1 net1 pci 0000:01:10.0 vlan 0\n"},
		"no device":       {`{"type": "sriov"}`, topo.Attachment{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			pod := sriovPod(tc.config, tc.a)
			got := topo.NewPlan(topo.Attach("spk-x-w1", "spk-x-p1", pod.Attachments[0])).String()
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestVFAbsent: a lab whose VF does not exist says so, and goes down all the same.
func TestVFAbsent(t *testing.T) {
	roottest.Need(t)
	r := topo.Host{Run: t.TempDir(), Sys: t.TempDir()}.Open("tnovf")
	lock(t, r)
	l := testLab("tnovf")
	pod := sriovPod(`{"type": "sriov"}`, topo.Attachment{Device: "0000:01:10.0"})
	err := r.Converge(t.Context(), topo.NewPlan(topo.PodBase(l, pod)), nil)
	const want = "make vf spk-tnovf-p1 net1 pci 0000:01:10.0: add VF: 0000:01:10.0: no virtual function: no such device"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if err := r.Down(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if left := leftovers("tnovf"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// TestDownForgetsVFs: records of VFs that the journal knows nothing of are looked after, too.
func TestDownForgetsVFs(t *testing.T) {
	r := topo.Host{Run: t.TempDir(), Sys: t.TempDir()}.Open("tvfrec")
	lock(t, r)
	dir := filepath.Join(r.Dir(), "vf")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "0000:01:10.0.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Down(t.Context(), nil); err == nil {
		t.Error("a record that nobody can read went with the lab: the VF is not what it was")
	}
	if err := os.WriteFile(filepath.Join(dir, "0000:01:10.0.json"), []byte(`{"function":{"address":"0000:01:10.0"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Down(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.Dir()); err == nil {
		t.Error("the state directory is left")
	}
}
