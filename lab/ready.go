package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/kubesim"
)

const (
	readyTimeout = 30 * time.Second
	readyPoll    = 20 * time.Millisecond
)

// ErrNotReady says that a lab stands but does not do its work in time.
var ErrNotReady = errors.New("not ready")

// awaitReady waits until everything that follows from the objects is there: virtual servers
// programmed and announced, sessions up, routes in the routers' kernels, OVN's rows.
func (l *Lab) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	var missing []string
	for last := ""; ; {
		now, err := l.Missing(ctx)
		if err == nil && len(now) == 0 {
			return nil
		}
		if ctx.Err() == nil {
			missing = now // an answer that the deadline cut off says less than the one before
		}
		if err == nil {
			if text := "waiting for " + now[0]; text != last {
				last = text
				l.tell(Event{Text: text})
			}
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("lab %s is %w after %s; it lacks:\n  %s", l.Name(), ErrNotReady, readyTimeout, strings.Join(missing, "\n  "))
			}
			return err
		case <-tick.C:
		}
	}
}

// Missing lists what the lab still lacks to do its work; empty when it is ready.
func (l *Lab) Missing(ctx context.Context) ([]string, error) {
	in, err := l.Inspect(ctx)
	if err != nil {
		return nil, err
	}
	res, err := l.store.read()
	if err != nil {
		return nil, err
	}
	var missing []string
	for process, why := range in.Silent {
		missing = append(missing, fmt.Sprintf("an answer of %s (%s)", process, why))
	}
	slices.Sort(missing)
	for i := range in.TMMs {
		missing = append(missing, missingOf(&in.TMMs[i], in.Routers)...)
	}
	if isOVN(l.Spec) {
		rows, err := l.missingRows(ctx, res)
		if err != nil {
			return append(missing, "the northbound database: "+err.Error()), nil
		}
		missing = append(missing, rows...)
	}
	return missing, nil
}

// missingOf is what one TMM lacks. Virtual servers without a ready member are as they should be.
func missingOf(st *control.Status, routers []bgp.RouterState) []string {
	var out []string
	if slices.ContainsFunc(st.Conditions, func(c control.Condition) bool { return c.Reason == control.ReasonNoSelfIP }) {
		return nil // it serves nothing, and says so
	}
	for _, vs := range st.VirtualServers {
		served := slices.ContainsFunc(vs.Members, func(m control.MemberStatus) bool { return m.State == control.MemberReady })
		if served && !vs.Programmed {
			out = append(out, fmt.Sprintf("virtual server %s %s in %s", vs.Name, vs.Destination, st.Pod))
		}
	}
	for _, p := range st.BGP.Peers {
		if p.State != bgp.StateNoFamily && !p.Established() {
			out = append(out, fmt.Sprintf("BGP session of %s with %s (%s)", st.Pod, p.Addr, p.State))
		}
	}
	for _, vs := range st.VirtualServers {
		served := slices.ContainsFunc(vs.Members, func(m control.MemberStatus) bool { return m.State == control.MemberReady })
		if served && st.BGP.ASN != 0 && !vs.Announced && len(out) == 0 {
			out = append(out, fmt.Sprintf("announcement of %s by %s", vs.Destination.Addr(), st.Pod))
		}
	}
	for _, r := range routers {
		for _, prefix := range st.BGP.Announced {
			if hop, ok := learns(r, st, prefix); !ok {
				out = append(out, fmt.Sprintf("route to %s by %s (%s) in router %s", prefix, st.Pod, hop, r.Name))
			}
		}
	}
	return out
}

// learns says whether a router that peers with the TMM has the TMM as a next hop of prefix.
func learns(r bgp.RouterState, st *control.Status, prefix netip.Prefix) (hop netip.Addr, ok bool) {
	for _, v := range st.VLANs {
		for _, self := range v.SelfIPs {
			peer := slices.ContainsFunc(r.Peers, func(p bgp.Peer) bool { return p.Addr == self.Addr() && p.Established() })
			if !peer || self.Addr().Is4() != prefix.Addr().Is4() {
				continue
			}
			hop = self.Addr()
			if slices.ContainsFunc(r.Routes, func(rt bgp.Route) bool { return rt.Prefix == prefix && slices.Contains(rt.NextHops, hop) }) {
				return hop, true
			}
		}
	}
	return hop, !hop.IsValid() // no session in this family: nothing to wait for
}

// gatewayRow is what identifies an external-gateway route.
type gatewayRow struct{ prefix, nexthop string }

// wantRows are the routes that follow from the annotations: each pod of a gateway's namespaces
// by each of the gateway's addresses of its family.
func wantRows(res api.Resources) (map[gatewayRow]bool, error) {
	want := map[gatewayRow]bool{}
	for i := range res.Pods {
		gw := &res.Pods[i]
		network := gw.Annotations[api.AnnotationRoutingNetwork]
		if network == "" || !kubesim.Ready(gw) || gw.DeletionTimestamp != nil {
			continue
		}
		status, err := api.NetworkStatuses(gw)
		if err != nil {
			return nil, err
		}
		for _, s := range status {
			if s.Name != network {
				continue
			}
			for _, hop := range s.IPs {
				addRows(want, res.Pods, strings.Split(gw.Annotations[api.AnnotationRoutingNamespaces], ","), hop)
			}
		}
	}
	return want, nil
}

func addRows(want map[gatewayRow]bool, pods []corev1.Pod, namespaces []string, hop netip.Addr) {
	for i := range pods {
		p := &pods[i]
		if !slices.Contains(namespaces, p.Namespace) || p.DeletionTimestamp != nil || p.Spec.HostNetwork {
			continue
		}
		for _, ip := range kubesim.PodIPs(p) {
			if ip.Is4() == hop.Is4() {
				want[gatewayRow{ip.String(), hop.String()}] = true
			}
		}
	}
}
