package ovn

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

func words(text string) []string { return strings.Fields(text) }

// plug brings the pods' ports on br-int to what stands in the namespace: every cable whose end here
// has an alias belongs to the logical port of that name. It returns the ports that are plugged.
func (n *node) plug(ctx context.Context) ([]NodePort, error) {
	want, err := cables()
	if err != nil {
		return nil, err
	}
	have, err := n.plugged(ctx)
	if err != nil {
		return nil, err
	}
	var argv []string
	for _, p := range have {
		if !slices.Contains(want, p) && p.Link != managementPort {
			argv = append(argv, "--", "--if-exists", "del-port", bridgeInt, p.Link)
			n.log.Add(EventUnplugged, p.Name, p.Link)
		}
	}
	for _, p := range want {
		if !slices.Contains(have, p) {
			argv = append(argv, "--", "--may-exist", "add-port", bridgeInt, p.Link,
				"--", "set", "Interface", p.Link, fmt.Sprintf("external_ids:iface-id=%q", p.Name))
			n.log.Add(EventPlugged, p.Name, p.Link)
		}
	}
	if len(argv) > 0 {
		if _, err := n.vsctl(ctx, argv...); err != nil {
			return have, fmt.Errorf("plug ports: %w", err)
		}
	}
	return want, nil
}

// cables are the pods' cables that end in this namespace, sorted.
func cables() ([]NodePort, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var out []NodePort
	for _, l := range links {
		if a := l.Attrs(); l.Type() == "veth" && a.Alias != "" {
			out = append(out, NodePort{Name: a.Alias, Link: a.Name})
		}
	}
	slices.SortFunc(out, func(a, b NodePort) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// plugged are the ports of br-int that belong to logical ports.
func (n *node) plugged(ctx context.Context) ([]NodePort, error) {
	text, err := n.vsctl(ctx, "--format=json", "--columns=name,external_ids", "list", "Interface")
	if err != nil {
		return nil, fmt.Errorf("list ports: %w", err)
	}
	return decodePorts(text)
}

// decodePorts reads ovs-vsctl's table of interfaces, with columns name and external_ids.
func decodePorts(text string) ([]NodePort, error) {
	var table struct {
		Data [][]json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal([]byte(text), &table); err != nil {
		return nil, fmt.Errorf("decode list of ports: %w", err)
	}
	var out []NodePort
	for _, row := range table.Data {
		if len(row) != 2 {
			return nil, fmt.Errorf("decode list of ports: %d columns, want name and external_ids", len(row))
		}
		var p NodePort
		var ids []json.RawMessage // ["map", [[key, value], …]]
		var pairs [][2]string
		err := errors.Join(json.Unmarshal(row[0], &p.Link), json.Unmarshal(row[1], &ids))
		if err == nil && len(ids) == 2 {
			err = json.Unmarshal(ids[1], &pairs)
		}
		if err != nil {
			return nil, fmt.Errorf("decode list of ports: %w", err)
		}
		for _, kv := range pairs {
			if kv[0] == "iface-id" {
				p.Name = kv[1]
				out = append(out, p)
			}
		}
	}
	return out, nil
}
