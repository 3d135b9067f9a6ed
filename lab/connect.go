package lab

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/ovnsim/forward"
)

// How long pods that come or go wait for OVN, and how often it is asked.
const (
	connectTimeout = 3 * time.Second
	connectPoll    = 5 * time.Millisecond
)

// connect waits until the simulated datapath of each node forwards what its new pods send by their external gateways.
// OVN-Kubernetes' CNI plugin waits likewise, so that no endpoint is ready before its answers have a way. What is not
// there in time holds up no pod: Missing names it.
func (l *Lab) connect(ctx context.Context, res api.Resources, pods []*corev1.Pod) {
	l.await(ctx, res, pods, "forwards what %s sends by its gateways", forwards)
}

// disconnect waits until no datapath knows pods that are gone, so that who gets their addresses next is not taken
// for them.
func (l *Lab) disconnect(ctx context.Context, res api.Resources, pods []*corev1.Pod) {
	l.await(ctx, res, pods, "has forgotten %s", forgot)
}

// await asks the datapaths of pods' nodes until all have answered as done wants of the pods' rows, for connectTimeout
// at most. Nobody is asked about a pod without external gateways. What is waited for is told when it is late.
func (l *Lab) await(ctx context.Context, res api.Resources, pods []*corev1.Pod, what string, done func(forward.State, []gatewayRow) bool) {
	if !isOVN(l.Spec) || l.Spec.Fabric.Real() || len(pods) == 0 {
		return
	}
	want := wantRows(res)
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	late := time.After(lateAfter)
	for _, p := range pods {
		for rows := rowsOf(p, want); len(rows) > 0; {
			var st forward.State
			err := ctl.Get(ctx, l.Socket("ovn-node-"+p.Spec.NodeName), ctl.PathState, &st)
			if err == nil && done(st, rows) {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-late:
				l.tell(Event{Text: "waiting until " + p.Spec.NodeName + " " + fmt.Sprintf(what, "pod "+p.Namespace+"/"+p.Name)})
			case <-time.After(connectPoll):
			}
		}
	}
}

// forwards says whether a datapath obeys these routes, but for those whose BFD session is not up.
func forwards(st forward.State, rows []gatewayRow) bool {
	have := forwarded(st)
	return !slices.ContainsFunc(rows, func(r gatewayRow) bool { return !have[r] && !waits(st, r.nexthop) })
}

// forgot says whether a datapath obeys none of these routes.
func forgot(st forward.State, rows []gatewayRow) bool {
	have := forwarded(st)
	return !slices.ContainsFunc(rows, func(r gatewayRow) bool { return have[r] })
}

// rowsOf are the rows of a pod's addresses.
func rowsOf(p *corev1.Pod, want map[gatewayRow]bool) []gatewayRow {
	var out []gatewayRow
	for row := range want {
		if slices.ContainsFunc(p.Status.PodIPs, func(ip corev1.PodIP) bool { return ip.IP == row.prefix }) {
			out = append(out, row)
		}
	}
	return out
}
