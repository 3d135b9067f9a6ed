package report

import (
	"cmp"
	"slices"

	"github.com/spklab/spklab/scenarios/report/drawing"
)

// timelines draw what happened in a scenario, a lane a source, steps and checks first; and, where
// most of it happened in a small part of the time, that part once more. nil is a timeline of nothing.
func timelines(s Scenario, moment int64) (whole, closer *drawing.Lanes) {
	began, ended := window(s)
	lanes := slices.Concat([]drawing.Lane{steps(s, ended)}, checkLanes(s.Checks), []drawing.Lane{firstPackets(s.Packets)}, eventLanes(s.Events))
	l, ok := drawing.NewLanes("Timeline of "+s.Name, lanes, began, began, ended, moment, "failed")
	if !ok {
		return nil, nil
	}
	from, to, ok := drawing.Dense(lanes, began, ended)
	if !ok {
		return &l, nil
	}
	c, _ := drawing.NewLanes("The busiest part of "+s.Name, drawing.Clip(lanes, from, to), began, from, to, moment, "failed")
	return &l, &c
}

// window is a scenario's, or without one that of what it has seen.
func window(s Scenario) (began, ended int64) {
	began, ended = s.Began, s.Ended
	if ended > began {
		return began, ended
	}
	ended = max(began, began+int64(s.Duration))
	for _, e := range s.Events {
		ended = max(ended, e.At)
	}
	for _, c := range s.Checks {
		ended = max(ended, c.At)
	}
	return began, ended
}

func steps(s Scenario, ended int64) drawing.Lane {
	l := drawing.Lane{Name: "steps"}
	for _, step := range s.Steps {
		m := drawing.Mark{At: step.Began, Until: cmp.Or(step.Ended, ended), Kind: "step", Text: step.Name}
		if step.Error != "" {
			m.Kind, m.Text = "broken", step.Name+": "+cutText(step.Error)
		}
		l.Marks = append(l.Marks, m)
	}
	return l
}

// checkLanes are one for what passed and one for each of the first failed ones, with what it saw.
func checkLanes(checks []Check) []drawing.Lane {
	out := []drawing.Lane{{Name: "checks that passed"}}
	for _, c := range checks {
		decided := drawing.Mark{At: c.At, Kind: "pass", Text: c.Name}
		at := &out[0]
		if !c.Passed {
			if len(out) < 4 {
				out = append(out, drawing.Lane{Name: "check: " + c.Name})
			}
			at = &out[len(out)-1]
			decided.Kind, decided.Text = "fail", c.Name+": "+firstLine(c.Got)
		}
		for _, o := range c.Seen {
			at.Marks = append(at.Marks, drawing.Mark{At: o.At, Kind: "seen", Text: c.Name + " saw " + firstLine(o.Value)})
		}
		at.Marks = append(at.Marks, decided)
	}
	return out
}

// firstPackets are those that were seen first at their place.
func firstPackets(packets []Packet) drawing.Lane {
	l := drawing.Lane{Name: "first packets"}
	type place struct {
		point string
		out   bool
	}
	seen := map[place]bool{}
	for _, p := range packets {
		if at := (place{p.Point, p.Out}); !seen[at] {
			seen[at] = true
			l.Marks = append(l.Marks, drawing.Mark{At: p.At, Kind: "packet", Text: p.Point + " " + inOut(p.Out) + " " + p.Text})
		}
	}
	return l
}

// eventLanes are in the order of their first events.
func eventLanes(events []Event) []drawing.Lane {
	all := slices.Clone(events)
	slices.SortStableFunc(all, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	var out []drawing.Lane
	index := map[string]int{}
	for _, e := range all {
		i, ok := index[e.Source]
		if !ok {
			i = len(out)
			index[e.Source], out = i, append(out, drawing.Lane{Name: e.Source})
		}
		text := e.Kind
		if e.Object != "" {
			text += " " + e.Object
		}
		if e.Detail != "" {
			text += ": " + firstLine(e.Detail)
		}
		out[i].Marks = append(out[i].Marks, drawing.Mark{At: e.At, Kind: "event", Text: text})
	}
	return out
}
