package ovn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/ctl"
)

// DaemonConfig is what a daemon needs to know.
type DaemonConfig struct {
	Role string // one of Roles
	Name string // of the process, for events
	Dir  string // run directory: database, sockets, pid file; made with mode 0700
	Ctl  string // path of the control socket; empty: none
	Log  *ctl.Log
	// Programs are those to run.
	Programs Programs
}

// Status is the state document of a daemon.
type Status struct {
	Program string `json:"program"`
	Version string `json:"version,omitempty"`
	PID     int    `json:"pid"`
	// Says is what the daemon itself says of its state, where it has a word for it.
	Says string `json:"says,omitempty"`
}

// Kinds of events.
const (
	EventStarted = "daemon-started"
	EventEnded   = "daemon-ended"
	EventError   = "error"
)

// How long a daemon may take to end, and how often it is asked whether it works: how long that may take is for those to
// say who wait for it.
const (
	daemonGrace = 3 * time.Second
	daemonPoll  = 10 * time.Millisecond
)

// role is a daemon with what makes it one of this lab.
type role struct {
	program  string
	database string // schema of the database that it serves; empty: none
	file     string // of that database
	derived  bool   // others write all of the database anew where it is empty
	argv     func(dir string) []string
	ask      string // the control command that tells its state; empty: none
	want     string // what the answer begins with once the daemon works
}

// roles are the daemons by their names.
func roles() map[string]role {
	unix := func(dir, name string) string { return "unix:" + filepath.Join(dir, name) }
	server := func(schema, file, socket, pid string) role {
		return role{program: "ovsdb-server", database: schema, file: file, derived: schema != "ovn-nb", argv: func(dir string) []string {
			return []string{filepath.Join(dir, file), "--remote=punix:" + filepath.Join(dir, socket), "--pidfile=" + filepath.Join(dir, pid)}
		}}
	}
	return map[string]role{
		"ovn-nb": server("ovn-nb", "nb.db", "nb.sock", "nb.pid"),
		"ovn-sb": server("ovn-sb", "sb.db", "sb.sock", "sb.pid"),
		"ovs-db": server("vswitch", "conf.db", "db.sock", "ovsdb-server.pid"),
		"ovs-vswitchd": {program: "ovs-vswitchd", argv: func(dir string) []string {
			return []string{unix(dir, "db.sock"), "--disable-system", "--pidfile"}
		}},
		"ovn-northd": {program: "ovn-northd", ask: "status", want: "Status: active", argv: func(dir string) []string {
			return []string{"--ovnnb-db=" + unix(dir, "nb.sock"), "--ovnsb-db=" + unix(dir, "sb.sock"), "--pidfile"}
		}},
		"ovn-controller": {program: "ovn-controller", ask: "connection-status", want: "connected", argv: func(dir string) []string {
			return []string{unix(dir, "db.sock"), "--pidfile"}
		}},
	}
}

// Roles are the names of the daemons, sorted.
func Roles() []string { return slices.Sorted(maps.Keys(roles())) }

// RunDaemon runs a daemon in the caller's network namespace until ctx ends. A daemon that ends by
// itself is an error. What it logs goes to standard error.
func RunDaemon(ctx context.Context, cfg DaemonConfig) error {
	r, ok := roles()[cfg.Role]
	if !ok {
		return fmt.Errorf("role %q: want %s", cfg.Role, strings.Join(Roles(), ", "))
	}
	if cfg.Log == nil {
		cfg.Log = ctl.NewLog(cfg.Name)
	}
	if err := r.prepare(ctx, cfg.Programs, cfg.Dir); err != nil {
		return err
	}
	d := &daemon{cfg: cfg, role: r}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.run(ctx) })
	if cfg.Ctl != "" {
		s := ctl.Server{Log: cfg.Log, Ready: d.ready.Load, State: func() (any, error) { return d.status(ctx), nil }}
		g.Go(func() error { return s.Serve(ctx, cfg.Ctl) })
	}
	return g.Wait()
}

// prepare makes the run directory and, the first time, the database.
func (r role) prepare(ctx context.Context, p Programs, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make run directory: %w", err)
	}
	if r.database == "" {
		return nil
	}
	file := filepath.Join(dir, r.file)
	if _, err := os.Stat(file); err == nil {
		if fits, err := r.convert(ctx, p, dir, file); err != nil || fits {
			return err
		}
	}
	fresh := file + ".new" // a kill leaves no half database
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("remove half database: %w", err)
	}
	if _, err := p.output(ctx, dir, "ovsdb-tool", "create", fresh, p.Schema(r.database)); err != nil {
		return fmt.Errorf("make database %s: %w", r.file, err)
	}
	if err := os.Rename(fresh, file); err != nil {
		return fmt.Errorf("put database in place: %w", err)
	}
	return nil
}

// convert brings a database that another release has left to the schema of this one (ovsdb-tool(1)
// puts the new file in place), and says whether it has that now. A derived one is not converted: newer
// ones hold what an older schema forbids.
func (r role) convert(ctx context.Context, p Programs, dir, file string) (fits bool, err error) {
	needs, err := p.output(ctx, dir, "ovsdb-tool", "needs-conversion", file, p.Schema(r.database))
	if err != nil {
		return false, fmt.Errorf("look at the schema of %s: %w", r.file, err)
	}
	if strings.TrimSpace(needs) != "yes" {
		return true, nil
	}
	if r.derived {
		return false, nil
	}
	if _, err := p.output(ctx, dir, "ovsdb-tool", "convert", file, p.Schema(r.database)); err != nil {
		return false, fmt.Errorf("convert database %s: %w", r.file, err)
	}
	return true, nil
}

// daemon is a running one.
type daemon struct {
	cfg   DaemonConfig
	role  role
	pid   atomic.Int64
	ready atomic.Bool
}

// run starts the program and waits for its end. The program does not outlive this process: the
// kernel kills it when the thread that started it ends, which is therefore kept.
func (d *daemon) run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	argv := append(d.role.argv(d.cfg.Dir), "-vconsole:info", "-vsyslog:off", "--no-chdir")
	cmd, err := d.cfg.Programs.command(ctx, d.cfg.Dir, d.role.program, argv...)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = daemonGrace
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", d.role.program, err)
	}
	d.pid.Store(int64(cmd.Process.Pid))
	d.cfg.Log.Add(EventStarted, d.cfg.Name, fmt.Sprint(cmd.Process.Pid))
	asked := make(chan struct{})
	go func() { d.await(ctx); close(asked) }()
	err = cmd.Wait()
	if ctx.Err() != nil {
		<-asked
		return ctx.Err()
	}
	d.ready.Store(false)
	d.cfg.Log.Add(EventEnded, d.cfg.Name, fmt.Sprint(err))
	return fmt.Errorf("%s ended by itself: %w", d.role.program, errors.Join(err, errEnded))
}

var errEnded = errors.New("a daemon of the lab runs until the lab is taken down")

// await asks the daemon until it says that it works.
func (d *daemon) await(ctx context.Context) {
	tick := time.NewTicker(daemonPoll)
	defer tick.Stop()
	for {
		if d.works(ctx) {
			d.ready.Store(true)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (d *daemon) works(ctx context.Context) bool {
	command := d.role.ask
	if command == "" {
		command = "version"
	}
	answer, err := unixctl(ctx, d.socket(), command)
	return err == nil && strings.HasPrefix(answer, d.role.want)
}

// socket is where the daemon takes commands.
func (d *daemon) socket() string { return controlSocket(d.cfg.Dir, d.role.program, int(d.pid.Load())) }

// controlSocket is the name that Open vSwitch's daemons give to their control sockets.
func controlSocket(dir, program string, pid int) string {
	return filepath.Join(dir, fmt.Sprintf("%s.%d.ctl", program, pid))
}

func (d *daemon) status(ctx context.Context) Status {
	st := Status{Program: d.role.program, PID: int(d.pid.Load())}
	version, err := unixctl(ctx, d.socket(), "version")
	if err != nil {
		st.Says = err.Error()
		return st
	}
	st.Version = versionOf(version)
	if d.role.ask == "" {
		return st
	}
	if st.Says, err = unixctl(ctx, d.socket(), d.role.ask); err != nil {
		st.Says = err.Error()
	}
	st.Says = strings.TrimSpace(st.Says)
	return st
}

// versionOf is the number in the first line of a program's version, such as "ovn-northd 23.03.1".
func versionOf(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	words := strings.Fields(line)
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}
