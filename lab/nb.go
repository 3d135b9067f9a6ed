package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// selectRoutes asks for the policy routes by source (RFC 7047, 5.2.2).
const selectRoutes = `{"id":0,"method":"transact","params":["OVN_Northbound",{"op":"select",` +
	`"table":"Logical_Router_Static_Route","where":[["policy","==","src-ip"]],"columns":["ip_prefix","nexthop"]}]}`

// gatewayRows reads the external-gateway routes from the northbound database.
func (l *Lab) gatewayRows(ctx context.Context) (map[gatewayRow]bool, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", l.NBSocket())
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, fmt.Errorf("set deadline: %w", err)
		}
	}
	if _, err := conn.Write([]byte(selectRoutes)); err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	return decodeRoutes(conn)
}

// decodeRoutes reads the answer to selectRoutes. Routes of whole subnets are the cluster's own
// (each node's subnet by the node's gateway router), those of single addresses the gateways'.
func decodeRoutes(r io.Reader) (map[gatewayRow]bool, error) {
	var answer struct {
		Result []struct {
			Rows []struct {
				Prefix  string `json:"ip_prefix"`
				Nexthop string `json:"nexthop"`
			} `json:"rows"`
			Error   string `json:"error"`
			Details string `json:"details"`
		} `json:"result"`
		Error json.RawMessage `json:"error"`
	}
	if err := json.NewDecoder(r).Decode(&answer); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	if len(answer.Result) != 1 {
		return nil, fmt.Errorf("refused the select: %s", answer.Error)
	}
	if res := answer.Result[0]; res.Error != "" {
		return nil, fmt.Errorf("refused the select: %s: %s", res.Error, res.Details)
	}
	rows := map[gatewayRow]bool{}
	for _, r := range answer.Result[0].Rows {
		if a, ok := hostAddress(r.Prefix); ok {
			rows[gatewayRow{a, r.Nexthop}] = true
		}
	}
	return rows, nil
}

// hostAddress is the address of a host route, whether it is written with its length or, as OVN's
// tools do, without.
func hostAddress(s string) (string, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.String(), true
	}
	p, err := netip.ParsePrefix(s)
	return p.Addr().String(), err == nil && p.IsSingleIP()
}
