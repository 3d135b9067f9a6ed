package timeline

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/scenarios/report"
)

// at are events of one virtual server a millisecond apart, "SOURCE KIND" each.
func at(words ...[2]string) []report.Event {
	var out []report.Event
	for i, w := range words {
		e := report.Event{At: int64(i+1) * 1e6, Source: w[0], Kind: w[1], Object: "192.0.2.10/32"}
		if w[0] != "up" {
			e.Detail = "web tcp"
		}
		out = append(out, e)
	}
	return out
}

func TestProgrammedBeforeAnnounced(t *testing.T) {
	programmed, unprogrammed := control.EventProgrammed, control.EventUnprogrammed
	announced, learned := control.EventAnnounced, bgp.EventRouteLearned
	for _, tc := range []struct {
		name   string
		events []report.Event
		want   []string
	}{
		{"in order", at([2]string{"t1", programmed}, [2]string{"t1", announced}, [2]string{"up", learned}, [2]string{"t2", programmed}, [2]string{"t2", announced}), nil},
		{"was there before the window", at([2]string{"t1", announced}, [2]string{"up", learned}), nil},
		{"was there and went", at([2]string{"t1", announced}, [2]string{"t1", unprogrammed}, [2]string{"t1", programmed}), nil},
		{"announced first", at([2]string{"t1", announced}, [2]string{"t1", programmed}),
			[]string{"t1 announced 192.0.2.10/32 (web tcp) 1ms before its maps had it"}},
		{"another TMM's maps do not count", at([2]string{"t2", programmed}, [2]string{"t1", announced}, [2]string{"t1", programmed}),
			[]string{"t1 announced 192.0.2.10/32 (web tcp) 1ms before its maps had it"}},
		{"announced again too early", at([2]string{"t1", programmed}, [2]string{"t1", unprogrammed}, [2]string{"t1", announced}, [2]string{"t1", programmed}),
			[]string{"t1 announced 192.0.2.10/32 (web tcp) 1ms before its maps had it"}},
		{"the peer knows first", at([2]string{"up", learned}, [2]string{"t1", unprogrammed + "-other"}, [2]string{"t1", programmed}, [2]string{"t1", announced}),
			[]string{"up learned a route to 192.0.2.10/32 2ms before any TMM had it in its maps"}},
		{"the peer notes it first", at([2]string{"up", learned}, [2]string{"t1", announced}, [2]string{"t1", programmed}), []string{
			"t1 announced 192.0.2.10/32 (web tcp) 1ms before its maps had it", "up learned a route to 192.0.2.10/32 2ms before any TMM had it in its maps"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, ProgrammedBeforeAnnounced(tc.events)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWithdrawnBeforeUnprogrammed(t *testing.T) {
	announced, withdrawn, unprogrammed := control.EventAnnounced, control.EventWithdrawn, control.EventUnprogrammed
	wrong := []string{"t1 took 192.0.2.10/32 (web tcp) out of its maps and still announced it"}
	for _, tc := range []struct {
		name   string
		events []report.Event
		want   []string
	}{
		{"in order", at([2]string{"t1", announced}, [2]string{"t1", withdrawn}, [2]string{"t1", unprogrammed}), nil},
		{"never announced", at([2]string{"t1", unprogrammed}), nil},
		{"still announced", at([2]string{"t1", announced}, [2]string{"t2", withdrawn}, [2]string{"t1", unprogrammed}), wrong},
		{"withdrawn after", at([2]string{"t1", unprogrammed}, [2]string{"t1", withdrawn}), wrong},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, WithdrawnBeforeUnprogrammed(tc.events)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWithdrawnWithin(t *testing.T) {
	events := at([2]string{"t1", control.EventWithdrawn}, [2]string{"up", bgp.EventRouteWithdrawn}, [2]string{"t2", control.EventWithdrawn})
	vip := []string{"192.0.2.10/32"}
	for _, tc := range []struct {
		name    string
		sources []string
		removed int64
		budget  time.Duration
		want    []string
	}{
		{"all in time", []string{"t1", "up", "t2"}, 0, 5 * time.Millisecond, nil},
		{"one late", []string{"t1", "t2"}, 0, 2 * time.Millisecond, []string{"t2 withdrew 192.0.2.10/32 after 3ms, want 2ms at most"}},
		{"one never", []string{"t1", "t3"}, 0, time.Second, []string{"t3 never withdrew 192.0.2.10/32"}},
		{"what was before does not count", []string{"t1"}, 2e6, time.Second, []string{"t1 never withdrew 192.0.2.10/32"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, WithdrawnWithin(events, tc.sources, vip, tc.removed, tc.budget)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
