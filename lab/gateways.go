package lab

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovn"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// Northbound is what the northbound database of a lab with OVN holds.
func (l *Lab) Northbound(ctx context.Context) (northbound.Topology, error) {
	return northbound.Read(ctx, "unix:"+l.NBSocket())
}

// Behind names what the nodes' datapaths do not do yet of what the northbound database says now;
// empty when all have followed. Whether a route with BFD is used is its session's matter. Unlike Missing it does not ask whether the database holds what
// follows from the objects.
func (l *Lab) Behind(ctx context.Context) ([]string, error) {
	if l.Spec.Fabric.Real() {
		return l.missingReal(ctx, nil)
	}
	nb, err := l.Northbound(ctx)
	if err != nil {
		return nil, fmt.Errorf("read northbound database: %w", err)
	}
	rows, withBFD := map[gatewayRow]bool{}, map[gatewayRow]bool{}
	for _, r := range nb.Routes {
		a, ok := hostAddress(r.IPPrefix)
		switch {
		case !ok || r.Policy == nil || *r.Policy != nbdb.LogicalRouterStaticRoutePolicySrcIP:
		case r.BFD != nil:
			withBFD[gatewayRow{a, r.Nexthop}] = true
		default:
			rows[gatewayRow{a, r.Nexthop}] = true
		}
	}
	res, err := l.store.read()
	if err != nil {
		return nil, err
	}
	in := &Inspection{OVN: map[string]json.RawMessage{}}
	for _, w := range l.Spec.Workers {
		var doc json.RawMessage
		if err := ctl.Get(ctx, l.Socket("ovn-node-"+w.Name), ctl.PathState, &doc); err != nil {
			return []string{"an answer of the datapath of " + w.Name}, nil
		}
		in.OVN["ovn-node-"+w.Name] = doc
	}
	return missingForwarding(rows, withBFD, res, in), nil
}

// Conns is the conntrack of a worker's datapath: the connections of pods by external gateways.
func (l *Lab) Conns(ctx context.Context, worker string) ([]forward.Conn, error) {
	var out []forward.Conn
	return out, ctl.Get(ctx, l.Socket("ovn-node-"+worker), forward.PathConns, &out)
}

// Tracked is every entry of the conntrack of a worker's datapath, with and without a gateway's MAC. OVN
// may have one in each zone that a connection passes, the simulation has one a connection.
func (l *Lab) Tracked(ctx context.Context, worker string) ([]forward.Conn, error) {
	var out []forward.Conn
	return out, ctl.Get(ctx, l.Socket("ovn-node-"+worker), forward.PathConns+"?all=true", &out)
}

// Drops are the packets that Open vSwitch has dropped on a worker for reasons of its own, as [ovn.Drops] has
// them; of a lab with the backend real alone.
func (l *Lab) Drops(ctx context.Context, worker string) (map[string]uint64, error) {
	var out map[string]uint64
	return out, ctl.Get(ctx, l.Socket("ovn-node-"+worker), ovn.PathDrops, &out)
}
