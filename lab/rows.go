package lab

import (
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/ovnsim/forward"
)

// gatewayRow is what identifies an external-gateway route.
type gatewayRow struct{ prefix, nexthop string }

// wantRows are the routes that follow from the objects.
func wantRows(res api.Resources) map[gatewayRow]bool {
	want := map[gatewayRow]bool{}
	for _, router := range exgw.Compute(res, exgw.Options{}).Rows.Routers {
		for _, r := range router.Routes {
			if r.Symmetric {
				want[gatewayRow{r.Prefix.Addr().String(), r.Nexthop.String()}] = true
			}
		}
	}
	return want
}

// compareRows names the routes that should be there and are not, and those that are and should
// not.
func compareRows(what string, want, have map[gatewayRow]bool) []string {
	var out []string
	for row := range want {
		if !have[row] {
			out = append(out, fmt.Sprintf("%s of pod %s by %s", what, row.prefix, row.nexthop))
		}
	}
	for row := range have {
		if !want[row] {
			out = append(out, fmt.Sprintf("removal of the %s of pod %s by %s", what, row.prefix, row.nexthop))
		}
	}
	slices.Sort(out)
	return out
}

// missingForwarding compares the routes that the workers' datapaths obey with those that they
// should: each worker those of its own pods. Those in may are there or not. A datapath that gives no answer is named elsewhere.
func missingForwarding(want, may map[gatewayRow]bool, res api.Resources, in *Inspection) []string {
	var out []string
	for i := range res.Nodes {
		node := res.Nodes[i].Name
		doc, ok := in.OVN["ovn-node-"+node]
		if !ok {
			continue
		}
		var st forward.State
		if err := json.Unmarshal(doc, &st); err != nil {
			out = append(out, fmt.Sprintf("a state of ovn-node-%s that can be read: %v", node, err))
			continue
		}
		have, own := forwarded(st), map[gatewayRow]bool{}
		for row := range have {
			if may[row] {
				own[row] = true
			}
		}
		for row := range want {
			if runsOn(res, row.prefix, node) && (have[row] || !waits(st, row.nexthop)) {
				own[row] = true
			}
		}
		out = append(out, compareRows("forwarding in "+node, own, have)...)
	}
	return out
}

// forwarded are the routes that a datapath obeys.
func forwarded(st forward.State) map[gatewayRow]bool {
	rows := map[gatewayRow]bool{}
	for _, p := range st.Pods {
		for _, g := range p.Gateways {
			rows[gatewayRow{p.Pod.String(), g.Address.String()}] = true
		}
	}
	return rows
}

// waits says whether a gateway's routes are rightly not forwarded by: its BFD session is not up.
func waits(st forward.State, gateway string) bool {
	return slices.ContainsFunc(st.BFD, func(s forward.SessionState) bool { return s.Gateway.String() == gateway && s.Status != "up" })
}

// runsOn says whether the pod of an address runs on a node.
func runsOn(res api.Resources, addr, node string) bool {
	return slices.ContainsFunc(res.Pods, func(p corev1.Pod) bool {
		return p.Spec.NodeName == node && slices.ContainsFunc(p.Status.PodIPs, func(ip corev1.PodIP) bool { return ip.IP == addr })
	})
}
