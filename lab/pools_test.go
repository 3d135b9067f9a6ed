package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/sriov"
	"github.com/spklab/spklab/topo/vf"
)

// TestPools: the VFs of the lab file, without a card as well as with one that no policy chooses.
func TestPools(t *testing.T) {
	spec := &topo.Lab{Workers: []topo.Worker{
		{Name: "w1", Pools: []topo.Pool{{Resource: "openshift.io/a", VFs: []string{"0000:01:10.0"}}, {Resource: "openshift.io/b", VFs: []string{"0000:01:10.2"}}}},
		{Name: "w2"},
	}}
	want := map[string][]vf.Pool{"w1": {{Resource: "openshift.io/a", VFs: []string{"0000:01:10.0"}}, {Resource: "openshift.io/b", VFs: []string{"0000:01:10.2"}}}}
	for name, hw := range map[string]*topo.Hardware{"no cards": nil, "no policies": {}} {
		if diff := cmp.Diff(want, pools(spec, hw, sriov.Inventory{}, api.Resources{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
