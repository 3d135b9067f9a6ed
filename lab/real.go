package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovn"
)

// selectPorts asks for the ports of pods, those without a type, and whether they are up.
const selectPorts = `{"id":0,"method":"transact","params":["OVN_Northbound",` +
	`{"op":"select","table":"Logical_Switch_Port","where":[["type","==",""]],"columns":["name","up"]}]}`

// How long a look at the chassis waits for them, and how often it asks.
const (
	chassisTimeout = 2 * time.Second
	chassisPoll    = 5 * time.Millisecond
)

// missingReal adds to what is missing what only OVN's own daemons can lack: pods' ports that no
// chassis has bound, and, once there is nothing else, chassis that have not followed the database.
func (l *Lab) missingReal(ctx context.Context, missing []string) ([]string, error) {
	down, err := l.portsDown(ctx)
	if err != nil {
		return append(missing, "the ports of the northbound database: "+err.Error()), nil
	}
	if missing = append(missing, down...); len(missing) > 0 {
		return missing, nil
	}
	behind, err := l.chassisBehind(ctx)
	if err == nil && len(behind) == 0 {
		err = l.revalidated(ctx)
	}
	if err != nil {
		return []string{"the chassis: " + err.Error()}, nil
	}
	return behind, nil
}

// revalidated waits until no datapath forwards by flows that it has cached before: hv_cfg says that
// the flow tables are as they should be, and not that packets go by them yet.
func (l *Lab) revalidated(ctx context.Context) error {
	for _, w := range l.Spec.Workers {
		var said string
		if err := ctl.Post(ctx, l.Socket("ovn-node-"+w.Name), ovn.PathRevalidate, &said); err != nil {
			return fmt.Errorf("cached flows of %s: %w", w.Name, err)
		}
	}
	return nil
}

// portsDown names the pods' ports that are not up.
func (l *Lab) portsDown(ctx context.Context) ([]string, error) {
	var ports []struct {
		Name string          `json:"name"`
		Up   json.RawMessage `json:"up"` // true, false, or an empty set
	}
	if err := l.northbound(ctx, selectPorts, func(r io.Reader) error { return decodeRows(r, &ports) }); err != nil {
		return nil, err
	}
	var out []string
	for _, p := range ports {
		if string(p.Up) != "true" {
			out = append(out, "logical port "+p.Name+" on a chassis")
		}
	}
	slices.Sort(out)
	return out, nil
}

// chassisBehind asks every chassis to catch up, as `ovn-nbctl --wait=hv sync` does: nb_cfg goes up by
// one, and hv_cfg follows when northd and then all chassis have done what the database said then.
func (l *Lab) chassisBehind(ctx context.Context) ([]string, error) {
	const where = `"table":"NB_Global","where":[]`
	read := `{"op":"select",` + where + `,"columns":["nb_cfg","sb_cfg","hv_cfg"]}`
	request := func(ops string) string { return `{"id":0,"method":"transact","params":["OVN_Northbound",` + ops + `]}` }
	type counts struct{ NB, SB, HV int64 }
	ask := func(ops string) (counts, error) {
		var rows []struct {
			NB int64 `json:"nb_cfg"`
			SB int64 `json:"sb_cfg"`
			HV int64 `json:"hv_cfg"`
		}
		err := l.northbound(ctx, request(ops), func(r io.Reader) error { return decodeRows(r, &rows) })
		if err == nil && len(rows) != 1 {
			err = fmt.Errorf("%d rows in NB_Global, want one", len(rows))
		}
		if err != nil {
			return counts{}, err
		}
		return counts(rows[0]), nil
	}
	now, err := ask(`{"op":"mutate",` + where + `,"mutations":[["nb_cfg","+=",1]]},` + read)
	if err != nil {
		return nil, err
	}
	goal := now.NB
	tick := time.NewTicker(chassisPoll)
	defer tick.Stop()
	for end := time.Now().Add(chassisTimeout); ; {
		switch {
		case now.HV >= goal:
			return nil, nil
		case now.SB < goal && time.Now().After(end):
			return []string{"northd that follows the northbound database"}, nil
		case time.Now().After(end):
			return []string{"every chassis to follow the database"}, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		if now, err = ask(read); err != nil {
			return nil, err
		}
	}
}
