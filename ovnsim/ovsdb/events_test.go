package ovsdb

import (
	"slices"
	"testing"

	"github.com/spklab/spklab/ctl"
)

// TestTransactionsAreTold has ovn-nbctl change rows, and look at them, which is no change.
func TestTransactionsAreTold(t *testing.T) {
	needPrograms(t, "ovn-nbctl")
	log := ctl.NewLog("ovn-nb")
	sock, _ := startWith(t, Config{Log: log})
	told := func() []string {
		var out []string
		for _, e := range log.Events() {
			if e.Kind == EventTransaction {
				out = append(out, e.Object+": "+e.Detail)
			}
		}
		return out
	}
	for _, tc := range []struct {
		args, want string // empty: nothing changes
	}{
		{"ls-add sw0", "+1 Logical_Switch"},
		{"lsp-add sw0 p0 -- lsp-add sw0 p1", "~1 Logical_Switch, +2 Logical_Switch_Port"},
		{"show", ""},
		{"lsp-del p0 -- lsp-set-type p1 router", "~1 Logical_Switch, ~1 -1 Logical_Switch_Port"},
		{"ls-del sw0", "-1 Logical_Switch, -1 Logical_Switch_Port"},
	} {
		before := len(told())
		if o := command(t, sock, "ovn-nbctl", append([]string{"--timeout=10", "--no-leader-only"}, words(tc.args)...)...); o.Code != 0 {
			t.Fatalf("%s: %+v", tc.args, o)
		}
		var want []string
		if tc.want != "" {
			want = []string{"OVN_Northbound: " + tc.want}
		}
		if got := told()[before:]; !slices.Equal(want, got) {
			t.Errorf("%s: told %q, want %q", tc.args, got, want)
		}
	}
}
