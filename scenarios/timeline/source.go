package timeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/report"
)

// maxEvents bounds what is kept of one scenario; the oldest go first.
const maxEvents = 2000

// Source collects the events of a lab, see record.Source.
type Source struct {
	lab        *lab.Lab
	log        log
	manifests  *manifests
	namespaces *namespaces
}

// NewSource returns the source of a lab's events.
func NewSource(l *lab.Lab) *Source { return &Source{lab: l} }

// Name is "events".
func (*Source) Name() string { return "events" }

// Begin starts a window; the first one starts to listen. What does not work stops nothing else.
func (s *Source) Begin(context.Context, report.Scenario) error {
	s.log.take()
	var errs []error
	if s.manifests == nil {
		m, err := watchManifests(s.lab.Manifests(), s.log.add)
		s.manifests = m
		errs = append(errs, err)
	}
	if s.namespaces == nil {
		n, err := watchNamespaces(s.lab.Runtime().Netns(""), s.log.add)
		s.namespaces = n
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// End adds the events since the scenario began.
func (s *Source) End(ctx context.Context, sc *report.Scenario) error {
	events, lost := s.log.take()
	told, err := s.processes(ctx, sc.Began)
	events = append(events, told...)
	events = slices.DeleteFunc(events, func(e report.Event) bool { return e.At < sc.Began })
	byTime := func(a, b report.Event) int { return cmp.Compare(a.At, b.At) }
	slices.SortStableFunc(events, byTime)
	if over := len(events) - maxEvents; over > 0 {
		events, lost = events[over:], lost+over
	}
	sc.Events = append(sc.Events, events...) // there may be some already
	slices.SortStableFunc(sc.Events, byTime)
	if lost > 0 {
		err = errors.Join(err, fmt.Errorf("%d events more than the newest %d", lost, maxEvents))
	}
	return err
}

// processes asks every process of the lab for its events. Those that do not answer are named in the
// error.
func (s *Source) processes(ctx context.Context, since int64) ([]report.Event, error) {
	nodes, err := s.lab.Nodes()
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var all []report.Event
	var silent []string
	path := ctl.PathEvents + "?" + url.Values{"since": {strconv.FormatInt(since, 10)}}.Encode()
	for _, n := range nodes {
		for _, p := range n.Processes {
			wg.Go(func() {
				var events []report.Event
				err := ctl.Get(ctx, s.lab.Socket(p.Name), path, &events)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					silent = append(silent, p.Name)
				}
				all = append(all, events...)
			})
		}
	}
	wg.Wait()
	if len(silent) > 0 {
		slices.Sort(silent)
		return all, fmt.Errorf("no events of %s: it does not answer", strings.Join(silent, ", "))
	}
	return all, nil
}

// Close stops to listen.
func (s *Source) Close(context.Context, *report.Run) error {
	var errs []error
	if s.manifests != nil {
		errs = append(errs, s.manifests.close())
	}
	if s.namespaces != nil {
		errs = append(errs, s.namespaces.close())
	}
	return errors.Join(errs...)
}

// log is a bounded list of events. It is safe for concurrent use.
type log struct {
	mu     sync.Mutex
	events []report.Event
	lost   int
}

// add adds an event that happens now.
func (l *log) add(e report.Event) {
	e.At = ctl.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) >= 2*maxEvents {
		l.lost += len(l.events) - maxEvents
		l.events = append(l.events[:0], l.events[len(l.events)-maxEvents:]...)
	}
	l.events = append(l.events, e)
}

// take empties the log, and says how many events it could not keep.
func (l *log) take() ([]report.Event, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, lost := l.events, l.lost
	l.events, l.lost = nil, 0
	return events, lost
}
