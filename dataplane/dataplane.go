package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bpf"
)

// DefaultMaxConnections of each address family.
const DefaultMaxConnections = 131072

// DefaultMaxHalfOpen of each address family.
const DefaultMaxHalfOpen = 65536

// Config says where a Dataplane lives.
type Config struct {
	// PinDir is a directory on a BPF filesystem, made when it is missing, that belongs to this
	// dataplane alone. What is pinned there outlives the process: the programs go on
	// forwarding, and the next Open carries on with every connection. Empty: nothing is pinned
	// and everything ends with the process.
	PinDir string
	// Interfaces are the interfaces to serve, in the network namespace of the caller. When it
	// is empty, Open leaves what is attached as it is; SetInterfaces changes it at any time.
	Interfaces []Interface
	// MaxConnections bounds the connections tracked of each address family, 0 =
	// DefaultMaxConnections. When the table is full, new connections are refused and counted;
	// none is evicted.
	MaxConnections int
	// MaxHalfOpen bounds the flows of each address family whose sender has not proved itself by
	// an answer to the TMM's, 0 = DefaultMaxHalfOpen. When there are more, the oldest go.
	MaxHalfOpen int
	// FlowEvents has the start and the end of every flow logged, as far as the log's bound on
	// events goes: a few hundred at once, one a second in the long run.
	FlowEvents bool
	// DropSample has one in so many drops of each reason logged, within the same bound; 0 =
	// DefaultDropSample, negative: none.
	DropSample int
	// Log receives events; nil drops them.
	Log *ctl.Log
}

// Dataplane is the eBPF program of one TMM with its maps. Its methods are safe for concurrent
// use. Open, SetInterfaces and Run must be called in the network namespace of the interfaces
// (for the tests: on a locked thread; a proxy process lives in its namespace as a whole).
type Dataplane struct {
	log        *ctl.Log
	pins       pins
	objs       bpf.SpkObjects
	links      *netlink.Handle // into the network namespace of the interfaces
	xdp        *xdpPrograms    // in the driver; nil until an interface asks for it
	generic    *xdpPrograms    // likewise
	loads      loads
	grace      grace
	told       told
	flowEvents bool

	inUse sync.RWMutex // held for reading by who works on the maps without mu; taken after it

	mu         sync.Mutex
	closed     bool
	ports      map[int]*port // attached interfaces by index
	forwarding forwarding
	switched   []string          // families whose forwarding was off on loopback
	services   guards            // as Apply was told last, for interfaces that come and go
	bits       map[string]uint32 // of attached interfaces in spk_egress.ports, by number
	ownersEnd  uint32            // above every owner id in use; 0: not read yet
	poolNext   uint32            // where the search for a free pool range starts
	snatNext   uint32            // and for the addresses of a SNAT pool
	unsettled  bool              // some owner is marked as removed, and programs may not know yet
	swaps      uint64            // how often the set of removed owners has changed
	removed    map[uint32]bool   // owners that are kept for their flows only
	idle       map[uint32]uint32 // idle timeouts of owners in ticks, defaults left out
	names      map[uint32]string // of virtual servers and egresses, by owner
	counted    map[*ebpf.Map]int // flows in the tables after the newest ageing
}

// ErrClosed is returned by every method after Close or Remove.
var ErrClosed = errors.New("dataplane is closed")

// Open loads the programs, or takes over what is pinned in c.PinDir, and attaches them to the
// interfaces. Maps that an incompatible version pinned are replaced, and their connections lost;
// the log then has an event "pins-replaced".
func Open(c Config) (*Dataplane, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit on locked memory: %w", err)
	}
	pins, err := openPins(c.PinDir)
	if err != nil {
		return nil, err
	}
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	d := &Dataplane{log: c.Log, pins: pins, links: links, ports: map[int]*port{}}
	if d.grace, err = newGrace(); err != nil {
		links.Close()
		return nil, err
	}
	if err := d.load(c); err != nil {
		links.Close()
		return nil, errors.Join(err, d.grace.close())
	}
	if err := d.start(c); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// load loads the collection, on the pinned maps when there are compatible ones.
func (d *Dataplane) load(c Config) error {
	err := d.loadOnce(c)
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		d.log.Add("pins-replaced", d.pins.dir, err.Error())
		if err := errors.Join(d.removeAttachments(d.pins.layout()), d.pins.clear()); err != nil {
			return err
		}
		err = d.loadOnce(c)
	}
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) {
		return fmt.Errorf("load eBPF programs: %+v", verifier)
	}
	if err != nil {
		return fmt.Errorf("load eBPF programs: %w", err)
	}
	return nil
}

func (d *Dataplane) loadOnce(c Config) error {
	spec, err := bpf.LoadSpk()
	if err != nil {
		return err
	}
	sizes(spec, c)
	opts := &ebpf.CollectionOptions{}
	if d.pins.dir != "" {
		opts.Maps.PinPath = d.pins.layout()
		for name, m := range spec.Maps {
			if !strings.HasPrefix(name, ".") {
				m.Pinning = ebpf.PinByName
			}
		}
	}
	if err := spec.LoadAndAssign(&d.objs, opts); err != nil {
		return err
	}
	d.loads, err = mapLoads(d.objs.SpkLoads)
	return err
}

// sizes sets how many connections the tables hold, an entry a direction.
func sizes(spec *ebpf.CollectionSpec, c Config) {
	connections, half := uint32(cmp.Or(c.MaxConnections, DefaultMaxConnections)), uint32(cmp.Or(c.MaxHalfOpen, DefaultMaxHalfOpen))
	spec.Maps[bpf.SpkMapSpkCt4].MaxEntries, spec.Maps[bpf.SpkMapSpkCt6].MaxEntries = 2*connections, 2*connections
	spec.Maps[bpf.SpkMapSpkHalf4].MaxEntries, spec.Maps[bpf.SpkMapSpkHalf6].MaxEntries = 2*half, 2*half
}

// start makes loaded programs work: slow path, configuration, interfaces, what was left over.
func (d *Dataplane) start(c Config) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	progs := map[bpf.Prog]*ebpf.Program{
		bpf.ProgSlow4: d.objs.SpkSlow4, bpf.ProgSlow6: d.objs.SpkSlow6,
		bpf.ProgNAT64: d.objs.Spk6to4, bpf.ProgNAT46: d.objs.Spk4to6,
		bpf.ProgICMP64: d.objs.SpkIcmp6to4, bpf.ProgICMP46: d.objs.SpkIcmp4to6,
		bpf.ProgICMP4: d.objs.SpkIcmp4, bpf.ProgICMP6: d.objs.SpkIcmp6,
		bpf.ProgReply4: d.objs.SpkReply4, bpf.ProgReply6: d.objs.SpkReply6,
		bpf.ProgNeigh: d.objs.SpkNeigh,
	}
	for slot, prog := range progs {
		if err := d.objs.SpkProgs.Put(uint32(slot), prog); err != nil {
			return fmt.Errorf("set tail call %d: %w", slot, err)
		}
	}
	if err := d.configureLocked(c); err != nil {
		return err
	}
	k, err := d.readKernel()
	if err != nil {
		return err
	}
	d.services = guardsOf(k.services())
	d.rememberLocked(k)
	if err := d.adoptLocked(len(c.Interfaces) > 0); err != nil {
		return err
	}
	if len(c.Interfaces) > 0 {
		if err := d.setInterfacesLocked(c.Interfaces); err != nil {
			return err
		}
	}
	return d.removeOthersLocked()
}

// configureLocked writes spk_config; the generation goes on from what was pinned.
func (d *Dataplane) configureLocked(settings Config) error {
	localMin, localMax, err := readLocalPorts()
	if err != nil {
		return err
	}
	low, high, err := snatPorts(localMin, localMax)
	if err != nil {
		return err
	}
	return d.updateConfigLocked(func(c *bpf.Config) {
		c.PortMin, c.PortMax = low, high
		c.Layout, c.Clock = bpf.Layout, bpf.TickShift
		c.Flags &^= bpf.FlowEvents
		if settings.FlowEvents {
			c.Flags |= bpf.FlowEvents
		}
		c.DropSample = uint32(max(cmp.Or(settings.DropSample, DefaultDropSample), 0))
	})
}

// updateConfigLocked changes spk_config and starts a new generation: every connection's next
// packet looks at its member and its next hop again.
func (d *Dataplane) updateConfigLocked(change func(*bpf.Config)) error {
	return d.changeConfigLocked(func(c *bpf.Config) {
		change(c)
		c.Gen = max(c.Gen+1, 1) // 0 stands for no next hop
	})
}

// changeConfigLocked changes spk_config.
func (d *Dataplane) changeConfigLocked(change func(*bpf.Config)) error {
	var c bpf.Config
	if err := d.objs.SpkConfig.Lookup(uint32(0), &c); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	change(&c)
	if err := d.objs.SpkConfig.Put(uint32(0), &c); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// forgetHops makes every connection ask the kernel for its next hop again.
func (d *Dataplane) forgetHops() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	return d.updateConfigLocked(func(*bpf.Config) {})
}

// Close lets go of the programs and maps. What is pinned goes on forwarding. Closing again does
// nothing.
func (d *Dataplane) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closeLocked()
}

func (d *Dataplane) closeLocked() error {
	if d.closed {
		return nil
	}
	d.closed = true
	d.inUse.Lock()
	defer d.inUse.Unlock()
	var errs []error
	for _, p := range d.ports {
		for _, a := range p.on {
			errs = append(errs, a.close(d.links))
		}
	}
	for _, x := range []*xdpPrograms{d.xdp, d.generic} {
		if x != nil {
			errs = append(errs, x.close())
		}
	}
	d.links.Close() // from here on it stands for the caller's network namespace
	return errors.Join(append(errs, d.loads.close(), d.grace.close(), d.forwarding.close(), d.objs.Close())...)
}

// Remove detaches from every interface, removes all pins of this dataplane and closes it:
// nothing of it is left in the kernel. After Close it removes what Close left; it must then be
// called in the network namespace of the interfaces.
func (d *Dataplane) Remove() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, p := range d.ports {
		errs = append(errs, p.detach(d.links))
	}
	clear(d.ports)
	return errors.Join(append(errs, d.restoreForwardingLocked(), d.pins.remove(), d.closeLocked())...)
}
