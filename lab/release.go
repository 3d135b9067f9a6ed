package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spklab/spklab/ovn"
	"github.com/spklab/spklab/ovn/debs"
)

// provide sees to the programs of OVN that the lab's backend runs, and writes into the lab of which
// release they are. The release that is installed needs nothing; another one is looked for in the
// cache, checked, and downloaded where it is not there.
func (l *Lab) provide(ctx context.Context) error {
	if !l.Spec.Fabric.Real() {
		return nil
	}
	want := l.Spec.Fabric.Release
	installed := ""
	err := ovn.Check()
	if err == nil {
		installed, err = ovn.Programs{}.Release(ctx)
	}
	switch {
	case want == "" && err != nil:
		return err
	case want == "", want == installed:
		l.use(installed, "")
		return nil
	}
	root, ferr := l.fetch(ctx, want)
	if errors.Is(ferr, debs.ErrUnsupported) && installed != "" {
		ferr = fmt.Errorf("%w; installed is OVN %s", ferr, installed)
	}
	if ferr != nil {
		return ferr
	}
	l.use(want, root)
	return nil
}

func (l *Lab) use(release, root string) {
	spec := *l.Spec // the source keeps what its file says
	spec.Fabric.Release = release
	l.Spec, l.root = &spec, root
}

// fetch is the private root of a release. A damaged one is not replaced unasked.
func (l *Lab) fetch(ctx context.Context, release string) (string, error) {
	cache, err := debs.DefaultCache()
	if err != nil {
		return "", err
	}
	root, err := cache.Open(release)
	if !errors.Is(err, debs.ErrAbsent) {
		return root, err
	}
	return cache.Fetch(ctx, release, func(text string, done, total int) { l.tell(Event{Text: text, Done: done, Total: total}) })
}

// Release is the release of OVN that runs in the lab, empty where none does.
func (l *Lab) Release() string {
	if !l.Spec.Fabric.Real() {
		return ""
	}
	return l.Spec.Fabric.Release
}

// Programs are OVN's and Open vSwitch's programs that run in the lab.
func (l *Lab) Programs() ovn.Programs { return ovn.Programs{Root: l.root} }

// Find is the path of a program of OVN or Open vSwitch, of the release that runs in the lab.
func (l *Lab) Find(name string) (string, error) { return l.Programs().Find(name) }

// find is the program that a name on a command line stands for: one of the lab's private root before
// any other.
func (l *Lab) find(name string) string {
	if l.root == "" || strings.Contains(name, "/") {
		return name
	}
	if path, err := l.Find(name); err == nil {
		return path
	}
	return name
}
