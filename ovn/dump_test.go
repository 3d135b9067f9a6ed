package ovn

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseDrops(t *testing.T) {
	got := parseDrops(`Event coverage, avg rate over last: 5 seconds, last minute, last hour,  hash=b5924b2e:
ccmap_shrink               0.0/sec     0.000/sec        1.8808/sec   total: 6771
datapath_drop_upcall_error   0.0/sec     0.000/sec        0.0011/sec   total: 4
datapath_drop_lock_error   0.0/sec     0.000/sec        0.0011/sec   total: many
drop_action_of_pipeline    0.0/sec     0.000/sec        0.5003/sec   total: 1801
93 events never hit
`)
	if diff := cmp.Diff(map[string]uint64{"datapath_drop_upcall_error": 4}, got); diff != "" {
		t.Error(diff)
	}
}
