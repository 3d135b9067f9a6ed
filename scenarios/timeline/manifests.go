package timeline

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"

	"github.com/spklab/spklab/scenarios/report"
)

// Kinds of events of the object store; their source is "manifests".
const (
	EventApplied = "object-applied"
	EventDeleted = "object-deleted"
)

// manifests watches a lab's object store: manifests that are applied and deleted, and what the lab's
// controllers make of them (pods, EndpointSlices).
type manifests struct{ watcher *fsnotify.Watcher }

func watchManifests(dir string, add func(report.Event)) (*manifests, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch manifests: %w", err)
	}
	if err := w.Add(dir); err != nil {
		_ = w.Close() // the first error says more
		return nil, fmt.Errorf("watch manifests: %w", err)
	}
	go func() {
		for e := range w.Events {
			if ev, ok := manifestEvent(e); ok {
				add(ev)
			}
		}
	}()
	go func() {
		for err := range w.Errors {
			add(report.Event{Source: "manifests", Kind: "error", Detail: err.Error()})
		}
	}()
	return &manifests{w}, nil
}

func (m *manifests) close() error { return m.watcher.Close() }

// manifestEvent is what a change of a file of the store means. A file is put in place whole, under a
// name that api.StoreName makes.
func manifestEvent(e fsnotify.Event) (report.Event, bool) {
	name, ok := strings.CutSuffix(filepath.Base(e.Name), ".yaml")
	parts := strings.SplitN(name, ".", 3)
	if !ok || len(parts) != 3 || parts[0] == "" {
		return report.Event{}, false
	}
	ev := report.Event{Source: "manifests", Object: parts[0] + " " + strings.TrimPrefix(parts[1]+"/"+parts[2], "/")}
	switch {
	case e.Has(fsnotify.Create):
		ev.Kind = EventApplied
	case e.Has(fsnotify.Remove):
		ev.Kind = EventDeleted
	default:
		return report.Event{}, false
	}
	return ev, true
}
