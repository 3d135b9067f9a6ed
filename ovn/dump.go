package ovn

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Bridges are the switches of every node, by name.
func Bridges() []string { return []string{bridgeInt, bridgeExt} }

// Flows are the OpenFlow flows of a bridge of the node whose run directory dir is, a line each,
// without counts and ages.
func (p Programs) Flows(ctx context.Context, dir, bridge string) (string, error) {
	text, err := p.output(ctx, dir, "ovs-ofctl", "-OOpenFlow15", "--no-stats", "--no-names", "dump-flows", bridge)
	if err != nil {
		return "", fmt.Errorf("read flows of %s: %w", bridge, err)
	}
	return text, nil
}

// Conntrack is what the datapath of the node whose run directory dir is tracks, an entry a line.
func Conntrack(ctx context.Context, dir string) (string, error) {
	text, err := datapath(ctx, dir, "dpctl/dump-conntrack")
	if err != nil {
		return "", fmt.Errorf("read conntrack: %w", err)
	}
	return text, nil
}

// Drops are the packets that the datapath of the node whose run directory dir has dropped for a reason of its
// own, by Open vSwitch's name of the reason (datapath_drop_…). What the flows drop is not among them. Open
// vSwitch collects them about once a second.
func Drops(ctx context.Context, dir string) (map[string]uint64, error) {
	text, err := datapath(ctx, dir, "coverage/show")
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	return parseDrops(text), nil
}

// parseDrops reads the output of `ovs-appctl coverage/show`, whose lines end in "total: N".
func parseDrops(text string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 3 || !strings.HasPrefix(words[0], "datapath_drop_") || words[len(words)-2] != "total:" {
			continue
		}
		if n, err := strconv.ParseUint(words[len(words)-1], 10, 64); err == nil {
			out[words[0]] = n
		}
	}
	return out
}

// datapath sends a command to a node's ovs-vswitchd.
func datapath(ctx context.Context, dir, command string, args ...string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "ovs-vswitchd.pid"))
	if err != nil {
		return "", fmt.Errorf("find ovs-vswitchd: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("find ovs-vswitchd: %w", err)
	}
	return unixctl(ctx, controlSocket(dir, "ovs-vswitchd", pid), command, args...)
}
