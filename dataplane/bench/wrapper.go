package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/bench/bpf"
)

// frontEnd is where a program under test sits.
type frontEnd string

const (
	tc  frontEnd = "tc"
	xdp frontEnd = "xdp"
)

// wrapper feeds a program under test with packets: each repetition of a test run gets the same
// packet, of the next flow. It belongs to one thread.
type wrapper struct {
	front frontEnd
	coll  *ebpf.Collection
	prog  *ebpf.Program
	under *ebpf.Map
}

// attachOf are the ways in which a program may have been loaded that the kernel wants to be the
// same all along a chain of tail calls.
type attachOf struct {
	attach ebpf.AttachType
	flags  uint32
}

const xdpHasFrags = 1 << 5 // BPF_F_XDP_HAS_FRAGS

func attachments(front frontEnd) []attachOf {
	if front == xdp {
		return []attachOf{{ebpf.AttachXDP, xdpHasFrags}, {ebpf.AttachXDP, 0}, {ebpf.AttachNone, xdpHasFrags}, {ebpf.AttachNone, 0}}
	}
	return []attachOf{{ebpf.AttachNone, 0}, {ebpf.AttachTCXIngress, 0}}
}

// newWrapper makes a wrapper that can end in prog.
func newWrapper(front frontEnd, prog *ebpf.Program) (*wrapper, error) {
	var errs []error
	for _, a := range attachments(front) {
		w, err := newWrapperAs(front, a)
		if err != nil {
			return nil, err
		}
		err = w.put(prog)
		if err == nil {
			return w, nil
		}
		errs = append(errs, err)
		w.close()
	}
	return nil, errors.Join(errs...)
}

func newWrapperAs(front frontEnd, a attachOf) (*wrapper, error) {
	spec, err := bpf.LoadBench()
	if err != nil {
		return nil, fmt.Errorf("read wrapper: %w", err)
	}
	name, under := bpf.BenchProgBenchWrapTc, bpf.BenchMapBenchUnderTc
	if front == xdp {
		name, under = bpf.BenchProgBenchWrapXdp, bpf.BenchMapBenchUnderXdp
	}
	spec.Maps[bpf.BenchMapBenchHash4].MaxEntries, spec.Maps[bpf.BenchMapBenchHash6].MaxEntries = 1, 1
	spec.Programs = map[string]*ebpf.ProgramSpec{name: spec.Programs[name]}
	spec.Programs[name].AttachType, spec.Programs[name].Flags = a.attach, a.flags
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load wrapper: %w", err)
	}
	return &wrapper{front: front, coll: coll, prog: coll.Programs[name], under: coll.Maps[under]}, nil
}

func (w *wrapper) close() { w.coll.Close() }

// put sets the program under test.
func (w *wrapper) put(prog *ebpf.Program) error {
	if err := w.under.Put(uint32(0), prog); err != nil {
		return fmt.Errorf("end the wrapper in %s: %w", prog, err)
	}
	return nil
}

// load sets the packet and its flows. The flows come in random order, each once a turn.
func (w *wrapper) load(k kind, template []byte, flows []flow) error {
	if !powerOfTwo(len(flows)) || len(flows) > int(bpf.MaxFlows) {
		return fmt.Errorf("%d flows: want a power of two up to %d", len(flows), bpf.MaxFlows)
	}
	t := templateOf(template)
	t.Mask, t.Check, t.Family = uint32(len(flows)-1), uint32(k.check()), 4
	m := w.coll.Maps[bpf.BenchMapBenchFlows4]
	if k.v6 {
		t.Family, m = 6, w.coll.Maps[bpf.BenchMapBenchFlows6]
	}
	if err := w.loadTemplate(t); err != nil {
		return err
	}
	b := append([]byte(nil), template...)
	order := rand.New(rand.NewPCG(1, 2)).Perm(len(flows))
	keys := make([]uint32, len(flows))
	flows4, flows6 := make([]bpf.Flow4, len(flows)), make([]bpf.Flow6, len(flows))
	for i, at := range order {
		k.set(b, flows[at])
		keys[i] = uint32(i)
		if k.v6 {
			flows6[i] = k.entry6(b)
		} else {
			flows4[i] = k.entry4(b)
		}
	}
	var values any = flows4
	if k.v6 {
		values = flows6
	}
	if _, err := m.BatchUpdate(keys, values, nil); err != nil {
		return fmt.Errorf("write flows: %w", err)
	}
	return nil
}

// templateOf is a packet that stays as it is.
func templateOf(frame []byte) bpf.Template {
	t := bpf.Template{Len: uint32(len(frame)), Copy: 64}
	for int(t.Copy) < min(len(frame), int(bpf.FrameBytes)) {
		t.Copy += 32
	}
	copy(t.Frame[:], frame)
	return t
}

func (w *wrapper) loadTemplate(t bpf.Template) error {
	if err := w.coll.Maps[bpf.BenchMapBenchPacket].Put(uint32(0), t); err != nil {
		return fmt.Errorf("write template: %w", err)
	}
	return nil
}

// packets is how many packets there have been.
func (w *wrapper) packets() (uint64, error) {
	var perCPU []uint64
	if err := w.coll.Maps[bpf.BenchMapBenchNext].Lookup(uint32(0), &perCPU); err != nil {
		return 0, fmt.Errorf("read packets of the wrapper: %w", err)
	}
	var n uint64
	for _, c := range perCPU {
		n += c
	}
	return n, nil
}

// run sends packets through the program under test, in on an interface of the caller's network
// namespace (0: none), and returns the CPU time that each took. The caller's thread must be locked.
func (w *wrapper) run(prog *ebpf.Program, frame []byte, ifindex, packets int) (outcome, error) {
	if err := w.put(prog); err != nil {
		return outcome{}, err
	}
	before, err := w.packets()
	if err != nil {
		return outcome{}, err
	}
	began, err := threadTime()
	if err != nil {
		return outcome{}, err
	}
	o, err := runProgram(w.front, w.prog, frame, ifindex, packets)
	if err != nil {
		return outcome{}, err
	}
	ended, err := threadTime()
	if err != nil {
		return outcome{}, err
	}
	after, err := w.packets() // a run that a signal interrupts begins anew
	if err != nil {
		return outcome{}, err
	}
	o.packets = int(after - before)
	if o.packets < packets {
		return outcome{}, fmt.Errorf("the wrapper has sent %d of %d packets: it refuses the frame", o.packets, packets)
	}
	o.each = float64(ended-began) / float64(o.packets)
	return o, nil
}

// threadTime is the CPU time of the calling thread in ns: what others take does not count.
func threadTime() (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0, fmt.Errorf("read the thread's CPU time: %w", err)
	}
	return ts.Nano(), nil
}

// outcome is what came of a test run.
type outcome struct {
	verdict uint32 // of the last packet
	frame   []byte // the last packet, as it left
	packets int
	each    float64 // ns of CPU time a packet
}

// runProgram runs a program on a frame, so many times over.
func runProgram(front frontEnd, prog *ebpf.Program, frame []byte, ifindex, packets int) (outcome, error) {
	opts := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+headroom), Repeat: uint32(packets)}
	if ifindex != 0 && front == xdp {
		opts.Context = xdpContext{DataEnd: uint32(len(frame)), Ingress: uint32(ifindex)}
	} else if ifindex != 0 {
		opts.Context = skbContext{Ifindex: uint32(ifindex)}
	}
	verdict, err := prog.Run(opts)
	if err != nil {
		return outcome{}, fmt.Errorf("test run of %s: %w", prog, err)
	}
	return outcome{verdict: verdict, frame: opts.DataOut}, nil
}

// headroom is by how much a program under test may lengthen a frame.
const headroom = 256

// xdpContext is struct xdp_md.
type xdpContext struct {
	Data, DataEnd, Meta     uint32
	Ingress, Queue, Outgoes uint32
}

// skbContext is the part of struct __sk_buff that a test run takes.
type skbContext struct {
	_       [10]uint32
	Ifindex uint32
	_       [37]uint32
}
