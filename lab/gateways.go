package lab

import (
	"context"
	"fmt"

	"github.com/spklab/spklab/ovnsim/northbound"
)

// Northbound is what the northbound database of a lab with OVN holds.
func (l *Lab) Northbound(ctx context.Context) (northbound.Topology, error) {
	return northbound.Read(ctx, "unix:"+l.NBSocket())
}

// Behind names what the nodes' datapaths do not do yet of what the northbound database says now;
// empty when all have followed. Unlike Missing it does not ask whether the database holds what
// follows from the objects.
func (l *Lab) Behind(ctx context.Context) ([]string, error) {
	if l.Spec.Fabric.Real() {
		return l.missingReal(ctx, nil)
	}
	rows, err := l.gatewayRows(ctx)
	if err != nil {
		return nil, fmt.Errorf("read northbound database: %w", err)
	}
	in, err := l.Inspect(ctx)
	if err != nil {
		return nil, err
	}
	res, err := l.store.read()
	if err != nil {
		return nil, err
	}
	return missingForwarding(rows, res, in), nil
}
