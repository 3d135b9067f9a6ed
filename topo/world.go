package topo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// world is the machine as one call of Converge or Down sees it: netlink handles are kept per
// namespace. It is safe for concurrent use.
type world struct {
	r *Runtime

	names map[string]map[string]bool // of the namespaces' interfaces, as compare has seen them

	mu      sync.Mutex
	handles map[string]*handle
	leaving map[string]bool   // namespaces that the call removes: what is in them goes with them
	lost    map[string]string // MACs of VFs that have vanished, by their places
}

// handle is a namespace that is held open, with a netlink socket inside.
type handle struct {
	*netlink.Handle
	ns netns.NsHandle
}

func newWorld(r *Runtime) *world {
	return &world{r: r, names: map[string]map[string]bool{}, handles: map[string]*handle{}, leaving: map[string]bool{}, lost: map[string]string{}}
}

func (w *world) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name := range w.handles {
		w.dropLocked(name)
	}
}

func (w *world) dropLocked(name string) {
	h := w.handles[name]
	h.Close()
	_ = h.ns.Close() // a read-only descriptor
	delete(w.handles, name)
}

// in returns the handle of a namespace.
func (w *world) in(name string) (*handle, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h, ok := w.handles[name]; ok {
		return h, nil
	}
	f, err := openNetns(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("keep namespace %s open: %w", name, err)
	}
	nl, err := netlink.NewHandleAt(netns.NsHandle(fd), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netlink in %s: %w", name, err), unix.Close(fd))
	}
	w.handles[name] = &handle{nl, netns.NsHandle(fd)}
	return w.handles[name], nil
}

// link finds an interface by name.
func (w *world) link(ns, name string) (*handle, netlink.Link, error) {
	h, err := w.in(ns)
	if err != nil {
		return nil, nil, err
	}
	l, err := h.LinkByName(name)
	if err != nil {
		return nil, nil, fmt.Errorf("find interface %s in %s: %w", name, ns, err)
	}
	return h, l, nil
}

// namespaces are those that a step touches.
func (s Step) namespaces() []string {
	switch {
	case s.Netns != nil:
		return []string{s.Netns.Name}
	case s.Bridge != nil:
		return []string{s.Bridge.Netns}
	case s.Uplink != nil:
		return []string{s.Uplink.Netns}
	case s.Veth != nil:
		return []string{s.Veth.A.Netns, s.Veth.B.Netns}
	case s.Trunk != nil:
		return []string{s.Trunk.Netns}
	case s.Macvlan != nil:
		return []string{s.Macvlan.ParentNetns, s.Macvlan.Netns}
	case s.HostDevice != nil:
		return []string{s.HostDevice.HostNetns, s.HostDevice.Netns}
	case s.VF != nil:
		return []string{s.VF.Netns}
	case s.Addr != nil:
		return []string{s.Addr.Netns}
	case s.Link != nil:
		return []string{s.Link.Netns}
	case s.Route != nil:
		return []string{s.Route.Netns}
	case s.Sysctl != nil:
		return []string{s.Sysctl.Netns}
	case s.Process != nil:
		return []string{s.Process.Netns}
	}
	return nil
}

// leave notes which namespaces the steps to be undone will remove.
func (w *world) leave(steps []Step) {
	clear(w.leaving)
	for _, s := range steps {
		if s.Netns != nil {
			w.leaving[s.Netns.Name] = true
		}
	}
}

// goesAlong says whether a step needs no undoing of its own: all its namespaces are removed by
// the same call.
func (w *world) goesAlong(s Step) bool {
	if s.Netns != nil || s.Process != nil || s.HostDevice != nil || s.Uplink != nil || s.VF != nil { // a device outlives its namespace
		return false
	}
	names := s.namespaces()
	for _, ns := range names {
		if !w.leaving[ns] {
			return false
		}
	}
	return len(names) > 0
}

// make makes one step.
func (w *world) make(ctx context.Context, s Step) error {
	switch {
	case s.Netns != nil:
		return makeNetns(s.Netns.Name, w.r.dir)
	case s.PF != nil:
		return w.r.cards().Apply(ctx, s.PF.Target)
	case s.Uplink != nil:
		return w.makeUplink(s.Uplink)
	case s.Bridge != nil:
		return w.makeBridge(s.Bridge)
	case s.Veth != nil:
		return w.makeVeth(s.Veth)
	case s.Trunk != nil:
		return w.makeTrunk(s.Trunk)
	case s.Macvlan != nil:
		return w.makeMacvlan(s.Macvlan)
	case s.HostDevice != nil:
		return w.makeHostDevice(s.HostDevice)
	case s.VF != nil:
		return w.makeVF(ctx, s.VF)
	case s.Addr != nil:
		return w.makeAddr(s.Addr)
	case s.Link != nil:
		return w.makeLink(s.Link)
	case s.Route != nil:
		return w.makeRoute(s.Route)
	case s.Sysctl != nil:
		return makeSysctl(s.Sysctl)
	case s.File != nil:
		return w.makeFile(s.File)
	case s.Pins != nil:
		return w.makePins(s.Pins)
	case s.Process != nil:
		return w.r.makeProcess(ctx, s.Process)
	}
	return errors.New("an empty step")
}

// undo takes one step back; an absent object is undone already.
func (w *world) undo(ctx context.Context, s Step) error {
	if w.goesAlong(s) {
		return nil
	}
	switch {
	case s.Netns != nil:
		w.mu.Lock()
		if _, ok := w.handles[s.Netns.Name]; ok {
			w.dropLocked(s.Netns.Name)
		}
		w.mu.Unlock()
		return w.r.removeNetns(s.Netns.Name)
	case s.PF != nil:
		return w.r.cards().Restore(ctx, s.PF.Address)
	case s.Uplink != nil:
		return w.removeUplink(ctx, s.Uplink)
	case s.Bridge != nil:
		return w.removeLink(s.Bridge.Netns, s.Bridge.Name)
	case s.Veth != nil:
		return errors.Join(w.removeLink(s.Veth.A.Netns, s.Veth.A.Name), w.removeLink(s.Veth.B.Netns, s.Veth.B.Name))
	case s.Trunk != nil:
		return w.removeTrunk(s.Trunk)
	case s.Macvlan != nil:
		return w.removeLink(s.Macvlan.Netns, s.Macvlan.Name)
	case s.HostDevice != nil:
		return w.returnHostDevice(s.HostDevice)
	case s.VF != nil:
		return w.undoVF(ctx, s.VF)
	case s.Addr != nil:
		return w.removeAddr(s.Addr)
	case s.Link != nil:
		return w.resetLink(s.Link)
	case s.Route != nil:
		return w.removeRoute(s.Route)
	case s.File != nil:
		return ignore(os.Remove(filepath.Join(w.r.dir, s.File.Path)), fs.ErrNotExist)
	case s.Pins != nil:
		return w.r.removePins(s.Pins.Dir)
	case s.Process != nil:
		return stopProcesses(ctx, w.r.token(s.Process.Name), s.Process.GraceSeconds)
	}
	return nil // a sysctl is not put back: it ends with its namespace
}

// makeFile writes a file of the state directory in one piece.
func (w *world) makeFile(f *FileStep) error {
	path := filepath.Join(w.r.dir, f.Path)
	if !filepath.IsLocal(f.Path) {
		return fmt.Errorf("file %s: outside the state directory", f.Path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make directory of %s: %w", f.Path, err)
	}
	tmp := filepath.Join(filepath.Dir(path), ".tmp-"+filepath.Base(path))
	if err := os.WriteFile(tmp, []byte(f.Content), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	return wrap(os.Rename(tmp, path), "put "+f.Path+" in place")
}

// makeSysctl writes a network sysctl from inside the namespace, whose thread sees its own
// /proc/sys/net.
func makeSysctl(s *SysctlStep) error {
	path := strings.ReplaceAll(s.Key, ".", "/")
	if link := s.link(); link != "" { // an interface name may hold dots
		head, tail, _ := strings.Cut(s.Key, "."+link+".")
		path = strings.ReplaceAll(head, ".", "/") + "/" + link + "/" + tail
	}
	return Do(s.Netns, func() error {
		return os.WriteFile("/proc/sys/"+path, []byte(s.Value), 0o644)
	})
}
