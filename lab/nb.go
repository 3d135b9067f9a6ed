package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/spklab/spklab/dataplane/api"
)

// missingRows are the external-gateway routes that the northbound database should hold and does
// not, and those that it holds and should not.
func (l *Lab) missingRows(ctx context.Context, res api.Resources) ([]string, error) {
	want, err := wantRows(res)
	if err != nil {
		return nil, err
	}
	have, err := l.gatewayRows(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for row := range want {
		if !have[row] {
			out = append(out, fmt.Sprintf("northbound route of pod %s by %s", row.prefix, row.nexthop))
		}
	}
	for row := range have {
		if !want[row] {
			out = append(out, fmt.Sprintf("removal of the northbound route of pod %s by %s", row.prefix, row.nexthop))
		}
	}
	slices.Sort(out)
	return out, nil
}

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
	var answer struct {
		Result []struct {
			Rows []struct {
				Prefix  string `json:"ip_prefix"`
				Nexthop string `json:"nexthop"`
			} `json:"rows"`
			Error string `json:"error"`
		} `json:"result"`
		Error json.RawMessage `json:"error"`
	}
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	if len(answer.Result) != 1 || answer.Result[0].Error != "" {
		return nil, errors.New("refused the select: " + string(answer.Error))
	}
	rows := map[gatewayRow]bool{}
	for _, r := range answer.Result[0].Rows {
		rows[gatewayRow{hostAddress(r.Prefix), r.Nexthop}] = true
	}
	return rows, nil
}

// hostAddress is an ip_prefix without the length of a host route, which OVN's tools leave out.
func hostAddress(s string) string {
	if p, err := netip.ParsePrefix(s); err == nil && p.IsSingleIP() {
		return p.Addr().String()
	}
	return s
}
