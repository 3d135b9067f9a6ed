package evidence

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 keeps named namespaces.
const netnsDir = "/run/netns"

// How often a watch looks where nothing tells: at all namespaces, and at one that has a name already but is
// not mounted yet.
const (
	lookEvery  = time.Second
	mountEvery = 5 * time.Millisecond
)

// watcher is told of interfaces.
type watcher interface {
	appeared(p Point, index int)
	vanished(netns string, index int)
}

// watch tells of the interfaces of a lab's namespaces as they come and go. It holds no namespace longer
// than its name is there.
type watch struct {
	prefix, mark string
	to           watcher
	notify       *os.File // inotify of netnsDir
	// followed are the namespaces by name; each channel ends its follower.
	followed map[string]*follower
}

// follower follows one namespace.
type follower struct {
	inode uint64
	stop  chan struct{}
	ended sync.WaitGroup
}

// newWatch has told of every interface that there is when it returns.
func newWatch(prefix, mark string, to watcher) (*watch, error) {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", netnsDir, err)
	}
	w := &watch{prefix: prefix, mark: mark, to: to, notify: os.NewFile(uintptr(fd), "inotify"), followed: map[string]*follower{}}
	if _, err := unix.InotifyAddWatch(fd, netnsDir, unix.IN_CREATE|unix.IN_DELETE); err != nil {
		return nil, errors.Join(fmt.Errorf("watch %s: %w", netnsDir, err), w.notify.Close())
	}
	w.look()
	return w, nil
}

// run follows until ctx ends.
func (w *watch) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = w.notify.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	defer w.notify.Close()
	defer func() {
		for name := range w.followed {
			w.leave(name)
		}
	}()
	buf := make([]byte, 4096)
	for wait := lookEvery; ctx.Err() == nil; {
		_ = w.notify.SetReadDeadline(time.Now().Add(wait))
		if ctx.Err() != nil {
			return
		}
		_, err := w.notify.Read(buf) // what it says is not looked at: the directory says it, too
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		wait = lookEvery
		if w.look() {
			wait = mountEvery
		}
	}
}

// look compares the namespaces that there are with those that are followed, and says whether one is
// about to be there.
func (w *watch) look() (soon bool) {
	paths, _ := filepath.Glob(filepath.Join(netnsDir, w.prefix+"*")) // the pattern is a good one
	there := map[string]bool{}
	for _, path := range paths {
		name := filepath.Base(path)
		var st unix.Stat_t
		var fs unix.Statfs_t
		if unix.Stat(path, &st) != nil || unix.Statfs(path, &fs) != nil {
			continue
		}
		if fs.Type != unix.NSFS_MAGIC {
			soon = true
			continue
		}
		there[name] = true
		if f := w.followed[name]; f != nil && f.inode != st.Ino {
			w.leave(name)
		}
		if w.followed[name] == nil {
			w.follow(name, st.Ino)
		}
	}
	for name := range w.followed {
		if !there[name] {
			w.leave(name)
		}
	}
	return soon
}

// follow tells of a namespace's interfaces: at once of those that there are.
func (w *watch) follow(name string, inode uint64) {
	ns, err := netns.GetFromPath(filepath.Join(netnsDir, name))
	if err != nil {
		return // it has gone again
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return
	}
	defer h.Close()
	if lo, err := h.LinkByName("lo"); err != nil || lo.Attrs().Alias != w.mark {
		return // a namespace of another lab
	}
	f := &follower{inode: inode, stop: make(chan struct{})}
	updates := make(chan netlink.LinkUpdate)
	if err := netlink.LinkSubscribeWithOptions(updates, f.stop, netlink.LinkSubscribeOptions{Namespace: &ns, ErrorCallback: func(error) {}}); err != nil {
		return
	}
	w.followed[name] = f
	node := strings.TrimPrefix(name, w.prefix)
	if links, err := h.LinkList(); err == nil {
		for _, l := range links {
			w.to.appeared(Point{node, name, l.Attrs().Name}, l.Attrs().Index)
		}
	}
	f.ended.Go(func() {
		for u := range updates {
			switch a := u.Attrs(); u.Header.Type {
			case unix.RTM_NEWLINK:
				w.to.appeared(Point{node, name, a.Name}, a.Index)
			case unix.RTM_DELLINK:
				w.to.vanished(name, a.Index)
			}
		}
	})
}

// leave lets go of a namespace.
func (w *watch) leave(name string) {
	f := w.followed[name]
	delete(w.followed, name)
	close(f.stop)
	f.ended.Wait()
	w.to.vanished(name, 0)
}
