package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/topo"
)

// Options say where labs live and which programs run in them. The zero value is valid.
type Options struct {
	Host topo.Host
	// Bin is the directory with the programs spklab and spkproxy; empty: that of the running
	// program, then PATH.
	Bin string
	// Progress is told what is being done; may be nil. It is called by one goroutine at a time.
	Progress func(Event)
	// Retain keeps a lab whose first `up` failed, to look into.
	Retain bool
}

// Event is one line of progress.
type Event struct {
	Text        string
	Done, Total int // steps; Total 0 where nothing is counted
}

// Lab is one lab, running or about to. It is not safe for concurrent use; several processes may
// work on a lab, one after the other holds its lock.
type Lab struct {
	Spec   *topo.Lab
	Source string // the lab file as its user named it
	Digest string // of the lab file and its manifests, see Source

	opt   Options
	rt    *topo.Runtime
	store store
	root  string         // private root of OVN's programs; empty: they are installed, or not used
	cards *topo.Hardware // that the lab uses, by PCI address; nil for none
}

// metadata is what lab.json in the state directory holds.
type metadata struct {
	Source string    `json:"source"`
	Root   string    `json:"ovn_root,omitempty"` // see Lab.root
	Digest string    `json:"digest,omitempty"`
	Lab    *topo.Lab `json:"lab"`
	// Hardware are the cards that the lab uses, see Source.
	Hardware *topo.Hardware `json:"hardware,omitempty"`
}

// ErrNoLab says that there is no lab of that name.
var ErrNoLab = errors.New("no such lab")

// Open returns a lab that exists. An empty name means the only one.
func Open(name string, opt Options) (*Lab, error) {
	name, err := choose(name, opt)
	if err != nil {
		return nil, err
	}
	rt := opt.Host.Open(name)
	data, err := os.ReadFile(filepath.Join(rt.Dir(), "lab.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lab %s: %w; `spklab up` brings one up", name, ErrNoLab)
	}
	if err != nil {
		return nil, fmt.Errorf("read lab %s: %w", name, err)
	}
	var m metadata
	if err := json.Unmarshal(data, &m); err != nil || m.Lab == nil {
		return nil, fmt.Errorf("read lab %s: %s is damaged (%v); `spklab down %s` removes the lab", name, "lab.json", err, name)
	}
	l := newLab(m.Lab, m.Source, rt, opt)
	l.root, l.cards = m.Root, m.Hardware
	l.Digest = m.Digest
	return l, nil
}

// choose is the name of the lab that is meant.
func choose(name string, opt Options) (string, error) {
	if name != "" {
		return name, nil
	}
	labs, err := opt.Host.Labs()
	if err != nil {
		return "", err
	}
	switch len(labs) {
	case 1:
		return labs[0], nil
	case 0:
		return "", fmt.Errorf("no lab is running: %w; `spklab up spk` brings one up", ErrNoLab)
	}
	return "", fmt.Errorf("several labs are running (%s): name one", strings.Join(labs, ", "))
}

func newLab(spec *topo.Lab, source string, rt *topo.Runtime, opt Options) *Lab {
	return &Lab{Spec: spec, Source: source, opt: opt, rt: rt, store: newStore(filepath.Join(rt.Dir(), "manifests"))}
}

// Up brings the lab of a source up, or brings a running one up to date with it, and returns
// when it is ready. Mistakes are found before anything is made. When the first up of a lab fails
// everything is taken down again, unless Options.Retain is set.
func Up(ctx context.Context, src *Source, opt Options) (*Lab, []api.Finding, error) {
	findings, err := Check(src)
	if err == nil {
		err = checkRouters(src.Spec)
	}
	if err != nil {
		return nil, findings, err
	}
	l := newLab(src.Spec, src.File, opt.Host.Open(src.Spec.Name), opt)
	if err := l.provide(ctx); err != nil {
		return nil, findings, err
	}
	l.Digest, l.cards = src.Digest, src.Hardware
	unlock, err := l.rt.Lock(ctx)
	if err != nil {
		return nil, findings, err
	}
	defer unlock()
	_, err = os.Stat(filepath.Join(l.rt.Dir(), "lab.json"))
	first := errors.Is(err, fs.ErrNotExist)
	more, err := l.up(ctx, src)
	if err != nil && first && !opt.Retain {
		err = errors.Join(err, l.rt.Down(context.WithoutCancel(ctx), nil))
	}
	return l, append(findings, more...), err
}

func (l *Lab) up(ctx context.Context, src *Source) ([]api.Finding, error) {
	data, err := json.MarshalIndent(metadata{Source: src.File, Digest: src.Digest, Root: l.root, Lab: l.Spec, Hardware: l.cards}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode lab: %w", err)
	}
	if err := os.WriteFile(filepath.Join(l.rt.Dir(), "lab.json"), data, 0o600); err != nil {
		return nil, fmt.Errorf("write lab: %w", err)
	}
	for _, dir := range []string{"ctl", "log", "conf", "ovn"} {
		if err := os.MkdirAll(filepath.Join(l.rt.Dir(), dir), 0o700); err != nil {
			return nil, fmt.Errorf("make state directory: %w", err)
		}
	}
	if err := l.putObjects(src.Objects); err != nil {
		return nil, err
	}
	ran := l.rt.Processes()
	findings, err := l.converge(ctx)
	if err != nil {
		return findings, err
	}
	return findings, l.awaitReady(ctx, unstarted(ran, l.rt.Processes()))
}

// unstarted are the processes of those that ran before that have not been started since.
func unstarted(before, now map[string][]int) map[string][]int {
	out := maps.Clone(before)
	maps.DeleteFunc(out, func(name string, pids []int) bool {
		return slices.ContainsFunc(now[name], func(pid int) bool { return !slices.Contains(pids, pid) })
	})
	return out
}

// Down removes the lab and everything that belongs to it. A lab that does not exist is down.
func Down(ctx context.Context, name string, opt Options) error {
	rt := opt.Host.Open(name)
	unlock, err := rt.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return rt.Down(ctx, func(p topo.Progress) {
		if opt.Progress != nil {
			opt.Progress(Event{Text: "removing", Done: p.Done, Total: p.Total})
		}
	})
}

func (l *Lab) tell(e Event) {
	if l.opt.Progress != nil {
		l.opt.Progress(e)
	}
}

// lateAfter is how long something takes before it is told what is waited for.
const lateAfter = time.Second

// slow does f, and tells what is waited for when that takes long.
func (l *Lab) slow(text string, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(lateAfter):
		l.tell(Event{Text: text})
		<-done
	}
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.Spec.Name }

// Dir is the lab's state directory.
func (l *Lab) Dir() string { return l.rt.Dir() }

// Runtime is what makes and removes the lab's parts.
func (l *Lab) Runtime() *topo.Runtime { return l.rt }

// Socket is the control socket of a process of the lab.
func (l *Lab) Socket(process string) string { return socketPath(l.rt.Dir(), process) }

// NBSocket is the socket of the OVN northbound database; nothing listens there without the
// fabric ovn.
func (l *Lab) NBSocket() string { return filepath.Join(l.rt.Dir(), "ovn", "nb.sock") }

// Resources are the objects of the moment.
func (l *Lab) Resources() (api.Resources, error) { return l.store.read() }

// env finds the programs.
func (l *Lab) env() (Env, error) {
	env := Env{StateDir: l.rt.Dir(), PinDir: l.rt.PinDir(), OVNRoot: l.root, Hardware: l.cards}
	var err error
	if l.cards != nil {
		if env.Inventory, err = l.opt.Host.Cards(); err != nil {
			return env, err
		}
	}
	if env.Spklab, err = program(l.opt.Bin, "spklab"); err != nil {
		return env, err
	}
	env.Spkproxy, err = program(l.opt.Bin, "spkproxy")
	return env, err
}

// program is the absolute path of one of the project's programs.
func program(dir, name string) (string, error) {
	if dir == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find own program: %w", err)
		}
		if filepath.Base(self) == name {
			return self, nil
		}
		dir = filepath.Dir(self)
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil {
		return filepath.Abs(path)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find program %s in %s or PATH: %w; `make build` puts it beside spklab", name, dir, err)
	}
	return filepath.Abs(path)
}

// labNodes are the nodes of the lab file, in its order.
func labNodes(spec *topo.Lab) []Node {
	var nodes []Node
	for _, w := range spec.Workers {
		nodes = append(nodes, Node{Name: w.Name, Kind: KindWorker})
	}
	for _, r := range spec.Routers {
		nodes = append(nodes, Node{Name: r.Name, Kind: KindRouter})
	}
	for _, c := range spec.Clients {
		nodes = append(nodes, Node{Name: c.Name, Kind: KindClient})
	}
	return append(nodes, Node{Name: topo.Switch, Kind: KindSwitch})
}

// Kinds of nodes.
const (
	KindWorker = "worker"
	KindRouter = "router"
	KindClient = "client"
	KindSwitch = "switch"
	KindPod    = "pod"
	KindTMM    = "tmm"
)

// Node is a network namespace of the lab with what runs in it.
type Node struct {
	Name      string    `json:"name"`
	Kind      string    `json:"kind"`
	Netns     string    `json:"netns"`
	Worker    string    `json:"worker,omitempty"` // of a pod
	Processes []Process `json:"processes"`
}

// Process is a long-running process of the lab.
type Process struct {
	Name string `json:"name"`
	PIDs []int  `json:"pids"` // empty: it has ended
	Log  string `json:"log"`
}

// Nodes lists the lab's namespaces: those of the lab file, then the pods.
func (l *Lab) Nodes() ([]Node, error) {
	res, err := l.store.read()
	if err != nil {
		return nil, err
	}
	nodes := labNodes(l.Spec)
	for i := range res.Pods {
		nodes = append(nodes, podNode(&res.Pods[i]))
	}
	applied, err := l.rt.Applied()
	if err != nil {
		return nil, err
	}
	alive := l.rt.Processes()
	for i := range nodes {
		n := &nodes[i]
		n.Netns = l.rt.Netns(n.Name)
		n.Processes = []Process{}
		for _, s := range applied {
			if s.Process != nil && s.Process.Netns == n.Netns {
				n.Processes = append(n.Processes, Process{Name: s.Process.Name, PIDs: alive[s.Process.Name], Log: l.rt.LogPath(s.Process.Name)})
			}
		}
		slices.SortFunc(n.Processes, func(a, b Process) int { return strings.Compare(a.Name, b.Name) })
	}
	return nodes, nil
}
