package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/bench/bpf"
)

// sectionAlone: the load balancer without end points. Frames are injected at its interface as if
// the driver had received them, and counted where the backend would receive them.
const sectionAlone = "proxy alone"

// aloneFlows are how many flows take turns.
func aloneFlows() []int { return []int{1, 1024, 16384} }

// alone is one load balancer with its injector.
type alone struct {
	*network
	inject *wrapper
	under  *ebpf.Program // what gets the frames first
}

// runAlone is the section.
func runAlone(ctx context.Context, o Options, r *Report) error {
	var all []*alone
	var err error
	for _, m := range modes() {
		if m.tcp {
			continue
		}
		var a *alone
		if a, err = newAlone(m); err != nil {
			break
		}
		all = append(all, a)
	}
	if err == nil {
		err = aloneRounds(ctx, o, r, all)
	}
	for _, a := range all {
		err = errors.Join(err, a.close())
	}
	return err
}

func aloneRounds(ctx context.Context, o Options, r *Report, all []*alone) error {
	for round := range o.Rounds {
		for _, flows := range aloneFlows() {
			for _, a := range all {
				o.progress("proxy alone: round %d of %d, %s, %d flows", round+1, o.Rounds, a.mode.name, flows)
				if err := ctx.Err(); err != nil {
					return err
				}
				each, err := a.measure(o.CPU, flows, o.packets())
				if err != nil {
					return fmt.Errorf("%s, %d flows: %w", a.mode.name, flows, err)
				}
				r.add(sectionAlone, aloneName(a.mode.name, flows), "ns/packet", each)
			}
		}
	}
	for _, flows := range aloneFlows() {
		for _, a := range all[1:] {
			r.compare(sectionAlone, aloneName(a.mode.name, flows), aloneName("plain", flows))
		}
		r.compare(sectionAlone, aloneName("tcx", flows), aloneName("nft", flows))
	}
	return nil
}

func aloneName(mode string, flows int) string { return mode + ", " + flowsOf(flows) }

// newAlone makes a load balancer with a sink behind it.
func newAlone(m mode) (*alone, error) {
	sink := bpf.BenchProgBenchSinkTc
	if m.xdp {
		sink = bpf.BenchProgBenchSinkXdp
	}
	n, err := newNetwork(m, sink)
	if err != nil {
		return nil, err
	}
	a := &alone{network: n}
	if err := n.lb.Do(a.prepare); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// prepare finds the program that frames come to first: the proxy's at XDP, or one that passes
// everything to the stack.
func (a *alone) prepare() error {
	index := a.ports[external].index
	ids, err := attached(index)
	if err != nil {
		return err
	}
	if id, ok := ids[xdp]; ok {
		if a.under, err = ebpf.NewProgramFromID(id); err != nil {
			return fmt.Errorf("open XDP program: %w", err)
		}
	} else {
		if err := a.ends.attach(bpf.BenchProgBenchPass, index); err != nil { // a queue for the frames
			return err
		}
		if a.under, err = a.ends.coll.Programs[bpf.BenchProgBenchPass].Clone(); err != nil {
			return err
		}
	}
	if a.inject, err = newWrapper(xdp, a.under); err != nil {
		return err
	}
	return a.inject.put(a.under)
}

func (a *alone) close() error {
	if a.inject != nil {
		a.inject.close()
	}
	var err error
	if a.under != nil {
		err = a.under.Close()
	}
	return errors.Join(err, a.network.close())
}

// measure injects frames of so many flows and returns the CPU time that each has taken up to the
// sink. It fails when one in a hundred is lost.
func (a *alone) measure(cpu, flows, packets int) (each float64, err error) {
	err = a.lb.Do(func() error {
		if err := pin(cpu); err != nil {
			return err
		}
		if err := a.load(flows); err != nil {
			return err
		}
		softirqs, err := softirqThread(cpu)
		if err != nil {
			return err
		}
		if _, err := a.send(softirqs, 3*flows); err != nil { // makes the connections
			return err
		}
		sent, err := a.send(softirqs, max(packets, flows))
		each = sent.each
		if err == nil && sent.sunk < sent.packets-sent.packets/100 {
			return fmt.Errorf("%d of %d frames have come out", sent.sunk, sent.packets)
		}
		return err
	})
	return each, err
}

// load gives the injector datagrams of so many flows to the destination.
func (a *alone) load(flows int) error {
	k := kind{protocol: dataplane.UDP}
	list := make([]flow, flows)
	base := netip.MustParsePrefix(netFar).Addr().String()
	for i := range list {
		list[i] = flow{
			netip.AddrPortFrom(addAddr(base, 1+i%256), uint16(1024+i/256)),
			netip.AddrPortFrom(a.destination(), packetPort),
		}
	}
	p := a.ports[external]
	template, err := k.build(list[0], p.neighbor, p.mac, "")
	if err != nil {
		return err
	}
	return a.inject.load(k, template, list)
}

// injected is what came of frames that were sent.
type injected struct {
	packets, sunk int
	each          float64 // ns of CPU time a frame that came out
}

// send injects frames and waits until no more come out.
func (a *alone) send(softirqs string, packets int) (injected, error) {
	before, _, err := a.ends.sunk()
	if err != nil {
		return injected{}, err
	}
	began, err := cpuTime(softirqs)
	if err != nil {
		return injected{}, err
	}
	if err := injectFrames(a.inject.prog, a.ports[external].index, packets); err != nil {
		return injected{}, err
	}
	sunk, err := a.settle(before, packets)
	if err != nil {
		return injected{}, err
	}
	ended, err := cpuTime(softirqs)
	if err != nil {
		return injected{}, err
	}
	return injected{packets, sunk, float64(ended-began) / float64(max(sunk, 1))}, nil
}

// settle waits until all frames have come out, or until none has for a while.
func (a *alone) settle(before uint64, packets int) (int, error) {
	const patience = time.Second
	last, since := -1, time.Now()
	for {
		frames, _, err := a.ends.sunk()
		if err != nil {
			return 0, err
		}
		n := int(frames - before)
		if n >= packets || n == last && time.Since(since) > patience {
			return n, nil
		}
		if n != last {
			last, since = n, time.Now()
		}
		time.Sleep(time.Millisecond)
	}
}

// injectFrames runs prog on live frames that come in on an interface of the caller's namespace.
func injectFrames(prog *ebpf.Program, index, packets int) error {
	const (
		liveFrames = 1 << 1 // BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18
		batch      = 64     // what a driver's poll takes at most
	)
	frame := make([]byte, frame4Bytes) // the program writes it
	_, err := prog.Run(&ebpf.RunOptions{
		Data: frame, Context: xdpContext{DataEnd: uint32(len(frame)), Ingress: uint32(index)},
		Repeat: uint32(packets), Flags: liveFrames, BatchSize: batch,
	})
	if err != nil {
		return fmt.Errorf("inject frames: %w", err)
	}
	return nil
}

// cpuTime is the CPU time in ns of the calling thread and of the kernel's thread that takes on
// what interrupts leave on its CPU: all that forwarding there costs, and nothing else.
func cpuTime(softirqs string) (int64, error) {
	// Its first number is the time on the CPU in ns (Documentation/scheduler/sched-stats.rst).
	b, err := os.ReadFile(filepath.Join(softirqs, "schedstat"))
	if err != nil {
		return 0, fmt.Errorf("read time of %s: %w", softirqs, err)
	}
	var ran int64
	if _, err := fmt.Sscan(string(b), &ran); err != nil {
		return 0, fmt.Errorf("parse %s/schedstat %q: %w", softirqs, b, err)
	}
	own, err := threadTime()
	return own + ran, err
}

// softirqThread is the /proc directory of ksoftirqd of a CPU.
func softirqThread(cpu int) (string, error) {
	name := fmt.Appendf(nil, "ksoftirqd/%d\n", cpu)
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Equal(b, name) {
			return filepath.Dir(f), nil
		}
	}
	return "", fmt.Errorf("find ksoftirqd/%d: %w", cpu, unix.ESRCH)
}
