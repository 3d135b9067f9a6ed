package topo

import (
	"fmt"
	"os"
	"path/filepath"
)

// Names of namespaces and pins are the machine's, and NetnsName gives one name to nodes of several labs: node b-c of
// lab a and node c of lab a-b are both spk-a-b-c, and labs below two state directories may have one name. So a
// name alone gives nobody the right to remove a namespace; its mark does.

// spacesNamed are the namespaces whose names begin with a prefix, sorted.
func spacesNamed(prefix string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(netnsDir, prefix+"*"))
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	var names []string
	for _, path := range paths {
		if name := filepath.Base(path); netnsExists(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// owner is the mark of a namespace, empty where there is none of that name, or it has no mark.
func owner(netns string) (mark string, err error) {
	if !netnsExists(netns) {
		return "", nil
	}
	if mark, err = netnsMark(netns); err != nil && !netnsExists(netns) {
		return "", nil // gone meanwhile
	}
	return mark, err
}

// ours says whether a mark is the lab's. The state directory may be known by another path meanwhile.
func (r *Runtime) ours(mark string) bool {
	if mark == r.dir || mark == "" {
		return mark != ""
	}
	a, errA := os.Stat(mark)
	b, errB := os.Stat(r.dir)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// has says whether a namespace stands and is the lab's.
func (r *Runtime) has(netns string) (bool, error) {
	mark, err := owner(netns)
	return r.ours(mark), err
}

// foreign says whether a namespace stands and is another lab's.
func (r *Runtime) foreign(netns string) (bool, error) {
	mark, err := owner(netns)
	return mark != "" && !r.ours(mark), err
}

// checkFree refuses a plan with a namespace that is another lab's, before anything of it is made.
func (r *Runtime) checkFree(p Plan) error {
	for _, s := range p.Steps() {
		if s.Netns == nil {
			continue
		}
		mark, err := owner(s.Netns.Name)
		if err != nil {
			return err
		}
		if mark != "" && !r.ours(mark) {
			return fmt.Errorf("namespace %s belongs to the lab with its state in %s: take that down, or give this lab another name", s.Netns.Name, mark)
		}
	}
	return nil
}

// removeNetns removes a namespace, unless it is another lab's.
func (r *Runtime) removeNetns(name string) error {
	theirs, err := r.foreign(name)
	if err != nil || theirs {
		return err
	}
	return removeNetns(name)
}

// removeMarked removes the namespaces that carry the lab's mark, also where the journal knows nothing of them.
func (r *Runtime) removeMarked() error {
	names, err := spacesNamed(NetnsName(r.lab, ""))
	if err != nil {
		return err
	}
	for _, name := range names {
		own, err := r.has(name)
		if err == nil && own {
			err = removeNetns(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// namesake says whether a lab of the same name below another state directory has namespaces: what is pinned
// below PinDir is that one's.
func (r *Runtime) namesake() (bool, error) {
	names, err := spacesNamed(NetnsName(r.lab, ""))
	if err != nil {
		return false, err
	}
	for _, name := range names {
		mark, err := owner(name)
		if err != nil {
			return false, err
		}
		if filepath.Base(mark) == r.lab && !r.ours(mark) {
			return true, nil
		}
	}
	return false, nil
}
