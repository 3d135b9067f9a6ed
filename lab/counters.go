package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/topo"
)

// States of a neighbour that does not answer, in the words of ip-neighbour(8).
const (
	neighbourFailed     = "FAILED"
	neighbourIncomplete = "INCOMPLETE"
	neighbourProbed     = "PROBE" // for a moment also of one that answers
)

// counters are what a network namespace shows of connections that do not come about.
type counters struct {
	signature  map[string]uint64 // TCP segments refused by their signature, by the kernel's name
	filters    map[string]uint64 // packets dropped by a rule of nftables, by where it stands
	neighbours map[netip.Addr]string
}

// countersOf reads them.
func countersOf(netns string) (counters, error) {
	var c counters
	err := topo.Do(netns, func() (err error) {
		text, err := os.ReadFile("/proc/thread-self/net/netstat")
		if err != nil {
			return fmt.Errorf("read TCP's counters: %w", err)
		}
		c.signature = signatureCounters(string(text))
		c.neighbours, err = neighbours()
		if err != nil {
			return err
		}
		c.filters, err = filterCounters()
		return err
	})
	return c, err
}

// signatureCounters are those of TCP MD5 in /proc/net/netstat: lines in pairs, of names and of numbers.
func signatureCounters(text string) map[string]uint64 {
	out := map[string]uint64{}
	lines := strings.Split(text, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, numbers := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for j, name := range names {
			if !strings.HasPrefix(name, "TCPMD5") || j >= len(numbers) {
				continue
			}
			if n, err := strconv.ParseUint(numbers[j], 10, 64); err == nil {
				out[name] = n
			}
		}
	}
	return out
}

// neighbours are the states of the namespace's neighbour table that say that nobody answers.
func neighbours() (map[netip.Addr]string, error) {
	out := map[netip.Addr]string{}
	list, err := netlink.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	words := map[int]string{netlink.NUD_FAILED: neighbourFailed, netlink.NUD_INCOMPLETE: neighbourIncomplete, netlink.NUD_PROBE: neighbourProbed}
	for _, n := range list {
		a, ok := netip.AddrFromSlice(n.IP)
		if !ok {
			continue
		}
		word, bad := words[n.State]
		if !bad {
			word = "it answers ARP or neighbour discovery"
		}
		out[a.Unmap()] = word
	}
	return out, nil
}

// askAgain has the kernel of a namespace ask neighbours anew that it believes to be there: it goes by what it heard up
// to 45 s ago (neigh/*/base_reachable_time_ms and half of it more). One that answers stays as it was, and nothing that
// is sent to it waits.
func askAgain(netns string, addrs []netip.Addr) error {
	return topo.Do(netns, func() error {
		list, err := netlink.NeighList(0, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("list neighbours: %w", err)
		}
		for _, n := range list {
			a, ok := netip.AddrFromSlice(n.IP)
			if !ok || !slices.Contains(addrs, a.Unmap()) || n.State&(netlink.NUD_REACHABLE|netlink.NUD_STALE|netlink.NUD_DELAY) == 0 {
				continue
			}
			n.State = netlink.NUD_PROBE
			if err := netlink.NeighSet(&n); err != nil {
				return fmt.Errorf("ask neighbour %s again: %w", a, err)
			}
		}
		return nil
	})
}

// filterCounters are those of nftables' rules that drop and count, by "table T chain C: TCP port 179", UDP
// port 3784, or the rule's handle where it looks for no port of BGP or BFD.
func filterCounters() (counts map[string]uint64, err error) {
	counts = map[string]uint64{}
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("ask for nftables' rules: %w", err)
	}
	defer func() { err = errors.Join(err, conn.CloseLasting()) }()
	chains, err := conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list nftables' chains: %w", err)
	}
	for _, chain := range chains {
		rules, err := conn.GetRules(chain.Table, chain)
		if err != nil {
			return nil, fmt.Errorf("list nftables' rules: %w", err)
		}
		for _, r := range rules {
			if n, port, drops := dropped(r); drops {
				what := fmt.Sprintf("handle %d", r.Handle)
				if port != "" {
					what = port
				}
				counts[fmt.Sprintf("table %s chain %s: %s", chain.Table.Name, chain.Name, what)] += n
			}
		}
	}
	return counts, nil
}

// dropped is how many packets a rule has counted, the port of BGP or BFD that it compares something
// with, and whether it drops or rejects at all.
func dropped(r *nftables.Rule) (packets uint64, port string, drops bool) {
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Counter:
			packets = e.Packets
		case *expr.Cmp:
			switch {
			case slices.Equal(e.Data, binary.BigEndian.AppendUint16(nil, bgp.Port)):
				port = portWords(corev1.ProtocolTCP, bgp.Port)
			case slices.Equal(e.Data, binary.BigEndian.AppendUint16(nil, bfd.Port)):
				port = portWords(corev1.ProtocolUDP, bfd.Port)
			}
		case *expr.Verdict:
			drops = drops || e.Kind == expr.VerdictDrop
		case *expr.Reject:
			drops = true
		}
	}
	return packets, port, drops
}
