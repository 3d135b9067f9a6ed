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
	var rows map[gatewayRow]bool
	err := l.northbound(ctx, selectRoutes, func(r io.Reader) (err error) {
		rows, err = decodeRoutes(r)
		return err
	})
	return rows, err
}

// northbound sends one request to the northbound database and has the answer decoded.
func (l *Lab) northbound(ctx context.Context, request string, decode func(io.Reader) error) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", l.NBSocket())
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	return decode(conn)
}

// decodeRoutes reads the answer to selectRoutes. Routes of whole subnets are the cluster's own
// (each node's subnet by the node's gateway router), those of single addresses the gateways'.
func decodeRoutes(r io.Reader) (map[gatewayRow]bool, error) {
	var routes []struct {
		Prefix  string `json:"ip_prefix"`
		Nexthop string `json:"nexthop"`
	}
	if err := decodeRows(r, &routes); err != nil {
		return nil, err
	}
	rows := map[gatewayRow]bool{}
	for _, r := range routes {
		if a, ok := hostAddress(r.Prefix); ok {
			rows[gatewayRow{a, r.Nexthop}] = true
		}
	}
	return rows, nil
}

// decodeRows reads the answer to one transaction: the rows of each of its selects, in their order.
func decodeRows(r io.Reader, into ...any) error {
	var answer struct {
		Result []struct {
			Rows    json.RawMessage `json:"rows"`
			Error   string          `json:"error"`
			Details string          `json:"details"`
		} `json:"result"`
		Error json.RawMessage `json:"error"`
	}
	if err := json.NewDecoder(r).Decode(&answer); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	for _, res := range answer.Result {
		if res.Error != "" {
			return fmt.Errorf("refused the select: %s: %s", res.Error, res.Details)
		}
		if res.Rows == nil || len(into) == 0 {
			continue // another operation than a select
		}
		if err := json.Unmarshal(res.Rows, into[0]); err != nil {
			return fmt.Errorf("decode rows: %w", err)
		}
		into = into[1:]
	}
	if len(into) > 0 {
		return fmt.Errorf("refused the select: %s", answer.Error)
	}
	return nil
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
