package dataplane

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/bpf"
)

// frontEnd is a place of the programs that the packet tables run through.
type frontEnd struct {
	name string // "tc", "xdp"
	at   Frontend
	// tagged: every interface is a tagged VLAN; frames come with their tags in them.
	tagged bool
}

func frontEnds() []frontEnd {
	return []frontEnd{{"tc", FrontendAuto, false}, {"xdp", FrontendXDP, false}}
}

// verdictWord is what becomes of a packet, whatever the front end's number for it.
type verdictWord string

const (
	forwarded verdictWord = "forwarded"
	dropped   verdictWord = "dropped"
	given     verdictWord = "given to the kernel"
)

// outcome is what the programs did with a packet.
type outcome struct {
	verdict verdictWord
	by      string // the name of the front end that decided
	frame   []byte
}

// through runs a frame through the programs of the side that it comes from, as the kernel
// would. Segment is the size of the segments that it stands for, 0 for none.
func (r *rig) through(t testing.TB, side bpf.Side, frame []byte, segment int) outcome {
	t.Helper()
	out, err := r.run(side, frame, segment)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// run is through without a test.
func (r *rig) run(side bpf.Side, frame []byte, segment int) (outcome, error) {
	var out outcome
	err := r.ns.Enter(func() error {
		var err error
		out, err = r.runHere(side, frame, segment)
		return err
	})
	return out, err
}

// runHere is run on a thread that is in the rig's namespace.
func (r *rig) runHere(side bpf.Side, frame []byte, segment int) (outcome, error) {
	if r.front.name == "xdp" {
		out, err := r.runXDP(side, frame)
		if err != nil || out.verdict != given {
			return out, err
		}
		frame = out.frame
	}
	return r.runTC(side, frame, segment)
}

func (r *rig) runXDP(side bpf.Side, frame []byte) (outcome, error) {
	prog, index := r.d.xdp.SpkExternal, r.external
	if side == bpf.Internal {
		prog, index = r.d.xdp.SpkInternal, r.internal
	}
	verdict, b, err := runProgram(prog, frame, xdpContext{DataEnd: uint32(len(frame)), Ingress: uint32(index)})
	if err != nil {
		return outcome{}, err
	}
	words := map[uint32]verdictWord{xdpPass: given, xdpDrop: dropped, xdpTX: forwarded, xdpRedirect: forwarded}
	word, ok := words[verdict]
	if !ok {
		return outcome{}, fmt.Errorf("verdict %d of XDP", int32(verdict))
	}
	return outcome{word, "xdp", b}, nil
}

func (r *rig) runTC(side bpf.Side, frame []byte, segment int) (outcome, error) {
	prog, index := r.d.objs.SpkExternal, r.external
	if side == bpf.Internal {
		prog, index = r.d.objs.SpkInternal, r.internal
	}
	ctx := skbContext{Ifindex: uint32(index)}
	if segment > 0 {
		ctx.GSOSize, ctx.GSOSegs = uint32(segment), uint32((len(frame)+segment-1)/segment)
	}
	run := runProgram
	if r.noSums {
		run = runPlain
	}
	if r.front.tagged {
		verdict, b, err := runPlain(r.d.objs.SpkTagged, withTag(frame, r.tag(side)), skbContext{Ifindex: uint32(r.parent(side))})
		if err != nil || string(b) != string(frame) {
			return outcome{forwarded, "tc", b}, errors.Join(err, mustRedirect(verdict))
		}
		prog = r.d.objs.SpkZoned // on the device, where everything goes that is left as it was
	}
	verdict, b, err := run(prog, frame, ctx)
	if err != nil {
		return outcome{}, err
	}
	words := map[uint32]verdictWord{verdictNext: given, verdictDrop: dropped, verdictRedirect: forwarded}
	word, ok := words[verdict]
	if !ok {
		return outcome{}, fmt.Errorf("verdict %d of traffic control", int32(verdict))
	}
	return outcome{word, "tc", b}, nil
}

// mustRedirect is the fault of a verdict that is another one.
func mustRedirect(verdict uint32) error {
	if verdict != verdictRedirect {
		return fmt.Errorf("verdict %d about a frame with a tag", int32(verdict))
	}
	return nil
}

// Verdicts of traffic control.
const (
	verdictNext     = uint32(0xffffffff) // TC_ACT_UNSPEC: the kernel has it
	verdictDrop     = 2
	verdictRedirect = 7
)

// Verdicts of XDP.
const (
	xdpDrop     = 1
	xdpPass     = 2
	xdpTX       = 3
	xdpRedirect = 4
)

// xdpContext is struct xdp_md.
type xdpContext struct {
	Data, DataEnd, Meta     uint32
	Ingress, Queue, Outgoes uint32
}

// skbContext is the part of struct __sk_buff that a test run takes.
type skbContext struct {
	_       [10]uint32
	Ifindex uint32
	_       [30]uint32
	GSOSegs uint32
	_       [2]uint32
	GSOSize uint32
	_       [3]uint32
}

// runProgram runs a program on a frame. Where the kernel can, the frame comes to traffic control
// with a CHECKSUM_COMPLETE sum, and the kernel checks that the program has kept it right.
func runProgram(prog *ebpf.Program, frame []byte, ctx any) (verdict uint32, out []byte, err error) {
	const checksumComplete = 1 << 2 // BPF_F_TEST_SKB_CHECKSUM_COMPLETE
	if prog.Type() == ebpf.SchedCLS {
		verdict, out, err = runFlagged(prog, frame, ctx, checksumComplete)
		if !errors.Is(err, unix.EINVAL) {
			return verdict, out, err // EBADMSG: the sum is wrong afterwards
		}
	}
	return runPlain(prog, frame, ctx)
}

// runPlain is runProgram without a sum.
func runPlain(prog *ebpf.Program, frame []byte, ctx any) (verdict uint32, out []byte, err error) {
	return runFlagged(prog, frame, ctx, 0)
}

func runFlagged(prog *ebpf.Program, frame []byte, ctx any, flags uint32) (verdict uint32, out []byte, err error) {
	opts := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256), Context: ctx, Repeat: 1, Flags: flags}
	verdict, err = prog.Run(opts)
	if err != nil {
		return 0, nil, fmt.Errorf("test run: %w", err)
	}
	return verdict, opts.DataOut, nil
}
