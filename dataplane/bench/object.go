package bench

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/bench/bpf"
	"github.com/spklab/spklab/dataplane/internal/space"
)

// sectionObject: a program that is not of this project, by the same wrapper.
const sectionObject = "object"

// Object is a program given from outside.
type Object struct {
	// File is an ELF object as libbpf loads it, Program a program in it.
	File, Program string
	// Pinned is the path of a pinned program, instead of File and Program: its own user space
	// has loaded it and filled its maps.
	Pinned string
	// Pins are pinned maps by their names in the object; the object uses them as its own.
	Pins map[string]string
	// Setup says what the object's maps and variables hold.
	Setup Setup
	// Packet is the frame that the program gets.
	Packet []byte
	// Flows vary the packet's source, a power of two; 1 leaves the packet as it is.
	Flows int
}

// Setup is what an object is given before its program runs. Keys, values and variables are
// hexadecimal, as they stand in memory.
type Setup struct {
	Maps map[string][]Entry `json:"maps"`
	// Variables are those of .rodata and .data.
	Variables map[string]string `json:"variables"`
}

// Entry is one element of a map. A map of each CPU has the value on every one.
type Entry struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	// Program is the name of a program of the object, for maps of tail calls.
	Program string `json:"program"`
}

// ReadSetup reads a Setup as JSON.
func ReadSetup(r io.Reader) (Setup, error) {
	var s Setup
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, fmt.Errorf("read setup: %w", err)
	}
	return s, nil
}

// ReadPacket takes hexadecimal digits, with spaces and colons between them or not, or the name of
// a file with a frame in binary.
func ReadPacket(text string) ([]byte, error) {
	if b, err := hex.DecodeString(strings.NewReplacer(" ", "", ":", "").Replace(text)); err == nil {
		return b, nil
	}
	b, err := os.ReadFile(text)
	if err != nil {
		return nil, fmt.Errorf("packet: neither hexadecimal nor a file: %w", err)
	}
	return b, nil
}

// RunObject measures a program from outside beside the yardsticks. Its verdict is in the notes.
func RunObject(o Options, obj Object) (Report, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return Report{}, fmt.Errorf("lift the limit on locked memory: %w", err)
	}
	r := o.newReport()
	prog, closer, err := obj.open()
	if err != nil {
		return r, err
	}
	defer closer()
	k, flows, err := obj.flows()
	if err != nil {
		return r, err
	}
	ns, err := space.New()
	if err != nil {
		return r, err
	}
	err = ns.Do(func() error {
		if err := pin(o.CPU); err != nil {
			return err
		}
		return o.measureObject(&r, obj, prog, k, flows)
	})
	r.finish()
	return r, errors.Join(err, ns.Close())
}

// measureObject takes turns between the program and the yardsticks of its front end.
func (o Options) measureObject(r *Report, obj Object, prog *ebpf.Program, k kind, flows []flow) error {
	front := tc
	switch prog.Type() {
	case ebpf.XDP:
		front = xdp
	case ebpf.SchedCLS:
	default:
		return fmt.Errorf("program of type %s: want XDP or traffic control (SchedCLS)", prog.Type())
	}
	lanes := []lane{{name: obj.name(), prog: prog}}
	for _, name := range []string{empty, prealloc, slab} {
		y, err := newYardstick(name, uint32(max(4*len(flows), 64)))
		if err != nil {
			return err
		}
		defer y.close()
		if err := y.learn(k, flows); err != nil {
			return err
		}
		lanes = append(lanes, lane{name: name, prog: y.program(front, k)})
	}
	for i := range lanes {
		w, err := newWrapper(front, lanes[i].prog)
		if err != nil {
			return err
		}
		defer w.close()
		if err := w.loadObject(k, obj, flows); err != nil {
			return err
		}
		lanes[i].w = w
	}
	if err := o.rounds(r, obj.Packet, len(flows), lanes); err != nil {
		return err
	}
	for _, l := range lanes[1:] {
		r.compare(sectionObject, lanes[0].name, l.name)
	}
	r.note("%s: verdict %d, %d bytes of packet left", lanes[0].name, int32(lanes[0].last.verdict), len(lanes[0].last.frame))
	return nil
}

// lane is a program with a wrapper of its own.
type lane struct {
	name string
	prog *ebpf.Program
	w    *wrapper
	last outcome
}

func (o Options) rounds(r *Report, packet []byte, flows int, lanes []lane) error {
	for round := range r.Rounds {
		o.progress("object: round %d of %d", round+1, r.Rounds)
		for i := range lanes {
			l := &lanes[i]
			if _, err := l.w.run(l.prog, packet, 0, max(flows, 1024)); err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			out, err := l.w.run(l.prog, packet, 0, max(flows, o.packets()))
			if err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			l.last = out
			r.add(sectionObject, l.name, "ns/packet", out.each)
		}
	}
	return nil
}

// loadObject loads the packet with its flows; a single one stays as it is.
func (w *wrapper) loadObject(k kind, obj Object, flows []flow) error {
	if len(flows) > 1 {
		return w.load(k, obj.Packet, flows)
	}
	return w.loadTemplate(templateOf(obj.Packet))
}

func (obj Object) name() string {
	if obj.Pinned != "" {
		return obj.Pinned
	}
	return obj.Program
}

// open loads the program, or opens the pinned one.
func (obj Object) open() (prog *ebpf.Program, closer func(), err error) {
	if obj.Pinned != "" {
		p, err := ebpf.LoadPinnedProgram(obj.Pinned, nil)
		if err != nil {
			return nil, nil, fmt.Errorf("open pinned program %s: %w", obj.Pinned, err)
		}
		return p, func() { _ = p.Close() }, nil
	}
	spec, err := ebpf.LoadCollectionSpec(obj.File)
	if err != nil {
		return nil, nil, fmt.Errorf("read object: %w", err)
	}
	if spec.Programs[obj.Program] == nil {
		return nil, nil, fmt.Errorf("object %s has no program %q", obj.File, obj.Program)
	}
	coll, err := obj.load(spec)
	if err != nil {
		return nil, nil, err
	}
	if err := obj.Setup.fill(coll); err != nil {
		coll.Close()
		return nil, nil, err
	}
	return coll.Programs[obj.Program], coll.Close, nil
}

// load loads the object on the pinned maps, with its variables set.
func (obj Object) load(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	for name, text := range obj.Setup.Variables {
		v := spec.Variables[name]
		if v == nil {
			return nil, fmt.Errorf("object %s has no variable %q", obj.File, name)
		}
		b, err := hex.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", name, err)
		}
		if err := v.Set(b); err != nil {
			return nil, fmt.Errorf("set variable %s: %w", name, err)
		}
	}
	opts := ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{}}
	for name, path := range obj.Pins {
		m, err := ebpf.LoadPinnedMap(path, nil)
		if err != nil {
			return nil, fmt.Errorf("open pinned map %s: %w", path, err)
		}
		defer m.Close() // the collection has a reference of its own
		opts.MapReplacements[name] = m
		if s := spec.Maps[name]; s != nil {
			s.MaxEntries = m.MaxEntries()
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, opts)
	var fault *ebpf.VerifierError
	if errors.As(err, &fault) {
		return nil, fmt.Errorf("load object %s: %+v", obj.File, fault)
	}
	if err != nil {
		return nil, fmt.Errorf("load object %s: %w", obj.File, err)
	}
	return coll, nil
}

// fill writes the entries.
func (s Setup) fill(coll *ebpf.Collection) error {
	for name, entries := range s.Maps {
		m := coll.Maps[name]
		if m == nil {
			return fmt.Errorf("the object has no map %q", name)
		}
		for i, e := range entries {
			if err := e.put(coll, m); err != nil {
				return fmt.Errorf("map %s, entry %d: %w", name, i, err)
			}
		}
	}
	return nil
}

func (e Entry) put(coll *ebpf.Collection, m *ebpf.Map) error {
	key, err := hex.DecodeString(e.Key)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if e.Program != "" {
		p := coll.Programs[e.Program]
		if p == nil {
			return fmt.Errorf("the object has no program %q", e.Program)
		}
		return m.Put(key, p)
	}
	value, err := hex.DecodeString(e.Value)
	if err != nil {
		return fmt.Errorf("value: %w", err)
	}
	switch m.Type() {
	case ebpf.PerCPUArray, ebpf.PerCPUHash, ebpf.LRUCPUHash:
		cpus, err := ebpf.PossibleCPU()
		if err != nil {
			return err
		}
		values := make([][]byte, cpus)
		for i := range values {
			values[i] = value
		}
		return m.Put(key, values)
	}
	return m.Put(key, value)
}

var errPacket = errors.New("want a TCP or UDP packet over IPv4 or IPv6 in an Ethernet frame, without options and tags, of 64 bytes at least (IPv6: 96)")

// flows are those of the packet: its own, and others with neighbouring sources.
func (obj Object) flows() (kind, []flow, error) {
	b, n := obj.Packet, max(obj.Flows, 1)
	if !powerOfTwo(n) || n > int(bpf.MaxFlows) {
		return kind{}, nil, fmt.Errorf("%d flows: want a power of two up to %d", n, bpf.MaxFlows)
	}
	if len(b) < frame4Bytes {
		return kind{}, nil, errPacket
	}
	var k kind
	switch binary.BigEndian.Uint16(b[12:]) {
	case 0x0800:
		k.protocol = dataplane.Protocol(b[etherBytes+9])
		if b[etherBytes] != 0x45 {
			return k, nil, errPacket
		}
	case 0x86dd:
		k.v6, k.protocol = true, dataplane.Protocol(b[etherBytes+6])
	}
	if k.protocol != dataplane.TCP && k.protocol != dataplane.UDP || k.v6 && len(b) < frame6Bytes {
		return k, nil, errPacket
	}
	own := k.get(b)
	list := make([]flow, n)
	for i := range list {
		src := addAddr(own.src.Addr().String(), i/portsEach)
		list[i] = flow{netip.AddrPortFrom(src, own.src.Port()), own.dst}
		if n > 1 {
			list[i].src = netip.AddrPortFrom(src, uint16(1024+i%portsEach))
		}
	}
	return k, list, nil
}
