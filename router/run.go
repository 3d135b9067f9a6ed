package router

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
)

// How long the daemons may take to work and to end, and how often they are looked at.
const (
	startTimeout = 10 * time.Second
	grace        = 3 * time.Second
	startPoll    = 5 * time.Millisecond
)

// Run runs a router in the calling process's network namespace and serves its bgp.RouterState, its RIB
// and its events on the control socket until ctx ends. A daemon that ends by itself is an error. Its
// routes go with it: at the start, what a killed one left is removed.
func Run(ctx context.Context, cfg Config, socket string) error {
	m, err := find(cfg.Kind)
	if err != nil {
		return err
	}
	if err := Check(cfg.Kind); err != nil {
		return err
	}
	if err := m.prepare(cfg); err != nil {
		return err
	}
	if err := clearRoutes(m.protocol); err != nil {
		return err
	}
	r := &router{cfg: cfg, maker: m, log: ctl.NewLog(cfg.Router.Name)}
	heard := newRumour(r.log, m.lines)
	if cfg.Kind == KindBIRD {
		heard.names = &names{dir: cfg.Dir}
	}
	watch, err := watchRoutes(m.protocol, r.log, heard.see) // before there is who makes routes
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.start(ctx, g, heard) })
	g.Go(func() error { return watch.follow(ctx) })
	g.Go(func() error {
		s := ctl.Server{
			Log: r.log, Ready: r.ready.Load, State: func() (any, error) { return r.state(ctx) },
			Extra: map[string]http.HandlerFunc{"GET " + bgp.PathRIB: bgp.ServeRIB(r.rib)},
		}
		return s.Serve(ctx, socket)
	})
	return errors.Join(g.Wait(), clearRoutes(m.protocol))
}

// router is a running one.
type router struct {
	cfg   Config
	maker maker
	log   *ctl.Log
	ready atomic.Bool
}

// prepare makes the run directory and writes the configuration into it.
func (m maker) prepare(cfg Config) error {
	if err := os.RemoveAll(cfg.Dir); err != nil { // sockets of a killed one
		return fmt.Errorf("clear run directory: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make run directory: %w", err)
	}
	owner, err := m.owner()
	if err != nil {
		return err
	}
	uid, gid := int(owner.Uid), int(owner.Gid)
	for _, f := range m.files(cfg.Router) {
		path := filepath.Join(cfg.Dir, f.name)
		if err := os.WriteFile(path, []byte(f.content), 0o600); err != nil { // it may hold passwords
			return fmt.Errorf("write configuration: %w", err)
		}
		if err := os.Chown(path, uid, gid); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	if err := os.Chown(cfg.Dir, uid, gid); err != nil {
		return fmt.Errorf("make run directory: %w", err)
	}
	return nil
}

// owner is the user that the daemons run as, with the groups that it is in.
func (m maker) owner() (*syscall.Credential, error) {
	u, err := user.Lookup(m.user)
	if err != nil {
		return nil, fmt.Errorf("find the user of %s's daemons: %w", m.debian, err)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of user %s: %w", m.user, err)
	}
	ids := make([]uint32, 0, len(groups)+2)
	for _, text := range append([]string{u.Uid, u.Gid}, groups...) {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", m.user, err)
		}
		ids = append(ids, uint32(id))
	}
	return &syscall.Credential{Uid: ids[0], Gid: ids[1], Groups: ids[2:]}, nil
}

// start starts the daemons one after the other, each when the one before works.
func (r *router) start(ctx context.Context, g *errgroup.Group, heard *rumour) error {
	for _, d := range r.maker.daemons {
		g.Go(func() error { return r.run(ctx, d, heard) })
		if err := await(ctx, filepath.Join(r.cfg.Dir, d.socket)); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(d.program), err)
		}
	}
	r.ready.Store(true)
	return nil
}

// await returns when the socket takes connections.
func await(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		conn, err := dial(ctx, socket)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("does not work: %w", err)
		case <-tick.C:
		}
	}
}

// capabilities are what the daemons keep for themselves when they give up root.
func capabilities() []uintptr {
	return []uintptr{unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_BROADCAST, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_ADMIN, unix.CAP_SETUID, unix.CAP_SETGID}
}

// run runs one daemon. It does not outlive this process: the kernel kills it when the thread that
// started it ends, which is therefore kept. Were it started as root, the signal would be lost when it changes its
// user (prctl(2), PR_SET_PDEATHSIG), so it begins as that user.
func (r *router) run(ctx context.Context, d daemon, heard *rumour) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	name := filepath.Base(d.program)
	owner, err := r.maker.owner()
	if err != nil {
		return err
	}
	dir, err := os.Open(r.cfg.Dir)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	defer dir.Close()
	cmd := exec.CommandContext(ctx, d.program, d.args...)
	cmd.Dir = fmt.Sprintf("/proc/self/fd/%d", dir.Fd()) // its user cannot pass the directories above
	cmd.Env = os.Environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: owner, AmbientCaps: capabilities()}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	in, out, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	defer in.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", name, err), out.Close())
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	listened := make(chan struct{})
	go func() { defer close(listened); listen(in, heard) }()
	err = cmd.Wait()
	<-listened
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("%s ended by itself: %w", name, errors.Join(err, errEnded))
}

var errEnded = errors.New("a router's daemons run until the lab is taken down")

// listen passes a daemon's log on to standard error, and hears what it tells. The log is read however long the hearing
// takes: BIRD answers nobody while it waits to write a line, and hearing may have to ask it.
func listen(in io.Reader, heard *rumour) {
	var b backlog
	b.more.L = &b.mu
	done := make(chan struct{})
	go func() {
		defer close(done)
		for text, ok := b.next(); ok; text, ok = b.next() {
			heard.hear(text)
		}
	}()
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), 1<<20)
	for lines.Scan() {
		b.add(lines.Text())
		fmt.Fprintln(os.Stderr, lines.Text())
	}
	b.end()
	<-done
}

// backlog are lines that have been read and not heard yet.
type backlog struct {
	mu    sync.Mutex
	more  sync.Cond // mu
	lines []string
	ended bool
}

func (b *backlog) add(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, text)
	b.more.Signal()
}

func (b *backlog) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.more.Signal()
}

// next waits for the next line; there is none once all have been taken and no more come.
func (b *backlog) next() (text string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.lines) == 0 && !b.ended {
		b.more.Wait()
	}
	if len(b.lines) == 0 {
		return "", false
	}
	text, b.lines = b.lines[0], b.lines[1:]
	return text, true
}

// state is the document behind the control socket: the sessions as the daemons tell them, the routes as
// they stand in the kernel.
func (r *router) state(ctx context.Context) (bgp.RouterState, error) {
	st := bgp.RouterState{Name: r.cfg.Router.Name, ASN: r.cfg.Router.ASN, Peers: []bgp.Peer{}, Routes: []bgp.Route{}}
	if !r.ready.Load() {
		return st, nil
	}
	var err error
	if st.Peers, err = r.maker.peers(ctx, r.cfg.Dir); err != nil {
		return st, err
	}
	if watches(r.cfg.Router) {
		states, err := r.maker.bfd(ctx, r.cfg.Dir)
		if err != nil {
			return st, err
		}
		for i := range st.Peers {
			st.Peers[i].BFD = states[st.Peers[i].Addr]
		}
	}
	routes, err := listRoutes(r.maker.protocol)
	if err != nil {
		return st, err
	}
	for prefix, hops := range routes {
		st.Routes = append(st.Routes, bgp.Route{Prefix: prefix, NextHops: hops})
	}
	slices.SortFunc(st.Routes, func(a, b bgp.Route) int { return a.Prefix.Compare(b.Prefix) })
	return st, nil
}

func (r *router) rib(ctx context.Context) (bgp.RIB, error) {
	peers, err := r.maker.peers(ctx, r.cfg.Dir)
	if err != nil {
		return bgp.RIB{}, err
	}
	return r.maker.rib(ctx, r.cfg.Dir, peers)
}
