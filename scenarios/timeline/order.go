package timeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/scenarios/report"
)

// The functions below take events in the order of their time and return what is against the order, a
// sentence each; nothing where the order holds.

// ProgrammedBeforeAnnounced holds that no TMM announced a virtual server before its maps had it, and
// that no router had a route to a prefix before some TMM served it. What was programmed before the
// first event is not known: an announcement is only wrong where the events tell that the virtual
// server was not there. What TMMs did comes first: a TMM notes an announcement when it is sent, and
// the router that learns by it may note that earlier.
func ProgrammedBeforeAnnounced(events []report.Event) []string {
	var early, learned []string
	for i, e := range events {
		switch e.Kind {
		case control.EventAnnounced:
			if late, ok := servedLater(events, i, func(o report.Event) bool { return o.Source == e.Source && o.Object == e.Object && o.Detail == e.Detail }); ok {
				early = append(early, fmt.Sprintf("%s announced %s (%s) %s before its maps had it", e.Source, e.Object, e.Detail, apart(e, late)))
			}
		case bgp.EventRouteLearned:
			if late, ok := servedLater(events, i, func(o report.Event) bool { return o.Object == e.Object }); ok {
				learned = append(learned, fmt.Sprintf("%s learned a route to %s %s before any TMM had it in its maps", e.Source, e.Object, apart(e, late)))
			}
		}
	}
	return append(early, learned...)
}

// servedLater says whether what one event is about was not programmed at that time: the last word
// before it is that it is gone, or the first word ever comes after it. It returns when it was.
func servedLater(events []report.Event, at int, about func(report.Event) bool) (report.Event, bool) {
	for _, e := range slices.Backward(events[:at]) {
		if e.Kind == control.EventProgrammed && about(e) {
			return report.Event{}, false
		}
		if e.Kind == control.EventUnprogrammed && about(e) {
			break
		}
	}
	for _, e := range events[at+1:] {
		if e.Kind == control.EventUnprogrammed && about(e) {
			return report.Event{}, false // so it had been there all the time
		}
		if e.Kind == control.EventProgrammed && about(e) {
			return e, true
		}
	}
	return report.Event{}, false
}

// WithdrawnBeforeUnprogrammed holds that no TMM took a virtual server out of its maps that it still
// announced.
func WithdrawnBeforeUnprogrammed(events []report.Event) []string {
	var wrong []string
	announced := map[string]bool{}
	for i, e := range events {
		key := e.Source + " " + e.Object + " " + e.Detail
		switch e.Kind {
		case control.EventAnnounced:
			announced[key] = true
		case control.EventWithdrawn:
			announced[key] = false
		case control.EventUnprogrammed:
			said, known := announced[key]
			later := slices.IndexFunc(events[i:], func(o report.Event) bool {
				return o.Kind == control.EventWithdrawn && o.Source+" "+o.Object+" "+o.Detail == key
			})
			if said || !known && later >= 0 {
				wrong = append(wrong, fmt.Sprintf("%s took %s (%s) out of its maps and still announced it", e.Source, e.Object, e.Detail))
			}
		}
	}
	return wrong
}

// WithdrawnWithin holds that each source (TMMs, routers) has withdrawn each prefix within the budget
// after a moment: a TMM its announcement, a router its route.
func WithdrawnWithin(events []report.Event, sources, prefixes []string, removed int64, budget time.Duration) []string {
	var wrong []string
	for _, source := range sources {
		for _, prefix := range prefixes {
			i := slices.IndexFunc(events, func(e report.Event) bool {
				return e.At >= removed && e.Source == source && e.Object == prefix && (e.Kind == control.EventWithdrawn || e.Kind == bgp.EventRouteWithdrawn)
			})
			switch {
			case i < 0:
				wrong = append(wrong, fmt.Sprintf("%s never withdrew %s", source, prefix))
			case events[i].At-removed > int64(budget):
				wrong = append(wrong, fmt.Sprintf("%s withdrew %s after %s, want %s at most", source, prefix, time.Duration(events[i].At-removed).Round(time.Microsecond), budget))
			}
		}
	}
	return wrong
}

// apart is the time between two events, for a sentence.
func apart(a, b report.Event) string {
	return strings.TrimPrefix(time.Duration(b.At-a.At).Round(time.Microsecond).String(), "-")
}
