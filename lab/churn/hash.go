package churn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/spklab/spklab/topo"
)

// HashPolicy is what a router's kernel chooses among next hops by: net.ipv4.fib_multipath_hash_policy.
type HashPolicy int

// The policies (Linux, Documentation/networking/ip-sysctl.rst).
const (
	HashL3 HashPolicy = 0 // addresses
	HashL4 HashPolicy = 3 // what fib_multipath_hash_fields says, in a lab addresses, protocol and ports
)

// String is "L3 hash" or "L4 hash".
func (p HashPolicy) String() string {
	if p == HashL3 {
		return "L3 hash"
	}
	return "L4 hash"
}

// set has the kernel of a namespace hash by the policy.
func (p HashPolicy) set(netns string) error {
	return topo.Do(netns, func() error {
		const path = "/proc/sys/net/ipv4/fib_multipath_hash_policy"
		if err := os.WriteFile(path, []byte(strconv.Itoa(int(p))), 0); err != nil {
			return fmt.Errorf("set hash policy: %w", err)
		}
		return nil
	})
}

// tuple is a flow as a router sees it.
type tuple struct {
	from, to netip.AddrPort
}

// synthetic are flows that nobody sends: what the hash makes of them is told with more figures.
func synthetic() []tuple {
	const each = 48
	var out []tuple
	for i, a := range clientAddresses() {
		for n := range each {
			out = append(out, tuple{netip.AddrPortFrom(a, uint16(20000+997*n+i)), netip.AddrPortFrom(netip.MustParseAddr(dying), 80)})
		}
	}
	return out
}

// ways are the next hops that the router's kernel has for flows that come in from the client; it is asked as if a
// packet of the flow came in.
func (b *failover) ways(flows []tuple) ([]netip.Addr, error) {
	return ways(b.routerNetns(), b.clientSide(), flows)
}

// clientSide is the router's interface that the client is behind.
func (b *failover) clientSide() string {
	for _, nic := range b.router.NICs {
		if nic.Network == b.lab.Spec.Clients[0].NICs[0].Network {
			return nic.Name
		}
	}
	return ""
}

func ways(netns, in string, flows []tuple) ([]netip.Addr, error) {
	var batch strings.Builder
	for _, f := range flows {
		fmt.Fprintf(&batch, "route get %s from %s iif %s ipproto tcp sport %d dport %d\n", f.to.Addr(), f.from.Addr(), in, f.from.Port(), f.to.Port())
	}
	text, err := ip(netns, batch.String())
	if err != nil {
		return nil, err
	}
	out := make([]netip.Addr, 0, len(flows))
	dec := json.NewDecoder(bytes.NewReader(text))
	for dec.More() {
		var routes []struct {
			Gateway netip.Addr `json:"gateway"`
		}
		if err := dec.Decode(&routes); err != nil {
			return nil, fmt.Errorf("decode the router's ways: %w", err)
		}
		for _, r := range routes {
			out = append(out, r.Gateway)
		}
	}
	if len(out) != len(flows) {
		return nil, fmt.Errorf("the router knows %d ways for %d flows", len(out), len(flows))
	}
	return out, nil
}

// ip runs commands of iproute2 in a namespace.
func ip(netns, batch string) ([]byte, error) {
	cmd := exec.Command("ip", "-json", "-batch", "-")
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(batch), &out, &errs
	if err := topo.Start(netns, cmd); err != nil {
		return nil, fmt.Errorf("start ip: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("ip -batch: %w: %s", err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}
