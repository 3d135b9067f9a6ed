package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/topo"
)

// TestProfiles checks that a lab file takes the profiles that the forwarding has.
func TestProfiles(t *testing.T) {
	if diff := cmp.Diff(forward.ProfileNames(), topo.Profiles()); diff != "" {
		t.Errorf("profiles of the forwarding and of lab files (-forwarding +file):\n%s", diff)
	}
}
