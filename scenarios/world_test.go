package scenarios

import (
	"testing"

	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/lab"
)

// TestMute: a lab whose TMMs all give no answer is told from one that has none, or where another one answers.
func TestMute(t *testing.T) {
	nodes := []lab.Node{{Name: "client", Kind: lab.KindClient}, {Name: "f5-tmm-1", Kind: lab.KindTMM}, {Name: "f5-tmm-2", Kind: lab.KindTMM}}
	for name, tc := range map[string]struct {
		in   lab.Inspection
		want string
	}{
		"no TMM":       {lab.Inspection{Nodes: nodes[:1], Silent: map[string]string{"client": "has no proxy"}}, ""},
		"both answer":  {lab.Inspection{Nodes: nodes, TMMs: make([]control.Status, 2)}, ""},
		"one is late":  {lab.Inspection{Nodes: nodes, TMMs: make([]control.Status, 1), Silent: map[string]string{"f5-tmm-1": "late"}}, ""},
		"all are late": {lab.Inspection{Nodes: nodes, Silent: map[string]string{"f5-tmm-1": "late", "f5-tmm-2": "refused"}}, "f5-tmm-1: late\nf5-tmm-2: refused"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := mute(&tc.in); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
