package lab

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/spklab/spklab/dataplane/api"
)

// Objects are all objects of the moment, undecoded, for Restore.
func (l *Lab) Objects() ([]api.Object, error) { return l.store.objects() }

// Restore puts a lab back to the objects that it had, for one who changed it and cannot any more: what
// was not there then goes at once, what is gone or different comes back, processes that are stopped go
// on, and what was left half done is done.
func (l *Lab) Restore(ctx context.Context, before []api.Object) error {
	for _, pids := range l.rt.Processes() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT) // one that has ended cannot go on
		}
	}
	unlock, err := l.rt.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := l.store.objects()
	if err != nil {
		return err
	}
	was, is := byName(before), byName(now)
	var errs []error
	for name, o := range is {
		if _, ok := was[name]; !ok {
			if err := l.store.remove(o.Kind, o.Namespace, o.Name); !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	for name, o := range was {
		if !bytes.Equal(is[name].Raw, o.Raw) {
			errs = append(errs, l.store.putRaw(o))
		}
	}
	_, err = l.converge(ctx)
	return errors.Join(append(errs, err)...)
}

// byName are objects by the names that the store gives them.
func byName(objs []api.Object) map[string]api.Object {
	out := map[string]api.Object{}
	for _, o := range objs {
		out[o.StoreName()] = o
	}
	return out
}
