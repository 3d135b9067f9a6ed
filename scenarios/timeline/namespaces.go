package timeline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/spklab/spklab/scenarios/report"
)

// netnsDir is where named network namespaces stand.
const netnsDir = "/run/netns"

// namespaces listens to the kernel in every network namespace of a lab, also in those that come
// later. It leaves one that is removed at once: whoever listens in a namespace keeps it alive.
type namespaces struct {
	prefix  string // of their names
	add     func(report.Event)
	watcher *fsnotify.Watcher
	done    chan struct{}

	mu      sync.Mutex
	kernels map[string]*kernel // by name
}

func watchNamespaces(prefix string, add func(report.Event)) (*namespaces, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch namespaces: %w", err)
	}
	n := &namespaces{prefix: prefix, add: add, watcher: w, done: make(chan struct{}), kernels: map[string]*kernel{}}
	if err := w.Add(netnsDir); err != nil {
		_ = w.Close() // the first error says more
		return nil, fmt.Errorf("watch namespaces: %w", err)
	}
	there, err := filepath.Glob(filepath.Join(netnsDir, prefix+"*"))
	for _, path := range there {
		err = errors.Join(err, n.listen(filepath.Base(path)))
	}
	go n.follow()
	return n, err
}

// A namespace stands behind its name a moment after the name is there, and on a busy machine a long one: how often
// one is tried, and after how many times nobody tries it any more.
const (
	mountEvery = 5 * time.Millisecond
	mountTries = 2000
)

// follow listens where a namespace comes, and stops where one goes.
func (n *namespaces) follow() {
	defer close(n.done)
	tried := map[string]int{} // of those that have a name and are not listened to yet
	for {
		var again <-chan time.Time
		if len(tried) > 0 {
			again = time.After(mountEvery)
		}
		select {
		case e, ok := <-n.watcher.Events:
			if !ok {
				return
			}
			n.named(e, tried)
		case <-again:
		}
		for name := range tried {
			n.try(name, tried)
		}
	}
}

// named takes notice of a name that comes or goes.
func (n *namespaces) named(e fsnotify.Event, tried map[string]int) {
	name := filepath.Base(e.Name)
	switch {
	case !strings.HasPrefix(name, n.prefix):
	case e.Has(fsnotify.Create):
		tried[name] = 0
	case e.Has(fsnotify.Remove):
		delete(tried, name)
		n.leave(name)
	}
}

// try listens in a namespace that may not be there yet.
func (n *namespaces) try(name string, tried map[string]int) {
	err := n.listen(name)
	tried[name]++
	switch {
	case err == nil, errors.Is(err, os.ErrNotExist):
		delete(tried, name)
	case tried[name] == mountTries:
		delete(tried, name)
		n.add(report.Event{Source: strings.TrimPrefix(name, n.prefix), Kind: EventLost, Detail: "nobody could listen in its namespace"})
	}
}

func (n *namespaces) listen(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.kernels[name] != nil {
		return nil
	}
	k, err := watchKernel(strings.TrimPrefix(name, n.prefix), name, n.add)
	if err != nil {
		return err
	}
	n.kernels[name] = k
	return nil
}

func (n *namespaces) leave(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if k := n.kernels[name]; k != nil {
		k.close()
		delete(n.kernels, name)
	}
}

func (n *namespaces) close() error {
	err := n.watcher.Close()
	<-n.done
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range n.kernels {
		k.close()
	}
	return err
}
