package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
)

// Apply creates or changes objects, as `kubectl apply` does; Helm values upgrade the release. It
// returns when the lab has followed. Objects with mistakes are refused before anything changes.
func (l *Lab) Apply(ctx context.Context, objs []api.Object) ([]api.Finding, error) {
	unlock, err := l.rt.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := l.checkApply(objs); err != nil {
		return nil, err
	}
	if err := l.putObjects(objs); err != nil {
		return nil, err
	}
	findings, err := l.converge(ctx)
	if err != nil {
		return findings, err
	}
	res, err := l.store.read()
	return append(findings, api.Check(res)...), err
}

// putObjects stores objects. Those that controllers own keep what the controllers wrote.
func (l *Lab) putObjects(objs []api.Object) error {
	res, err := l.store.read()
	if err != nil {
		return err
	}
	for _, o := range objs {
		put := l.store.putRaw
		if o.Kind == api.KindPod {
			put = func(o api.Object) error { return l.putPod(o, &res) }
		}
		if err := put(o); err != nil {
			return err
		}
	}
	return nil
}

// putPod stores a pod. One that exists keeps its place, its status and what controllers wrote.
func (l *Lab) putPod(o api.Object, res *api.Resources) error {
	old := res.Pod(o.Namespace, o.Name)
	if old == nil {
		return l.store.putRaw(o)
	}
	decoded, _, err := api.Decode([]api.Object{o})
	if err != nil || len(decoded.Pods) != 1 {
		return err
	}
	p := kubesim.Apply(old, &decoded.Pods[0])
	return l.store.put(api.KindPod, p, p)
}

// Delete removes an object and returns when the lab has followed. A pod is given its grace
// period: graceSeconds below 0 is the pod's own, 0 kills it at once, as a crash would. A
// namespace takes everything in it along.
func (l *Lab) Delete(ctx context.Context, kind, namespace, name string, graceSeconds int64) error {
	unlock, err := l.rt.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	kind, err = l.kind(kind)
	if err != nil {
		return err
	}
	if api.ClusterScoped(kind) {
		namespace = ""
	}
	o := api.Object{Kind: kind, Namespace: namespace, Name: name}
	switch kind {
	case api.KindNode:
		return &api.InputError{File: "delete", Text: o.String(), Message: "the lab file makes the nodes; take it out there"}
	case api.KindNamespace:
		err = l.empty(ctx, name, graceSeconds)
	case api.KindPod:
		err = l.terminate(ctx, namespace, name, graceSeconds)
	}
	if err == nil && kind != api.KindPod {
		err = l.store.remove(kind, namespace, name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", o, ErrNotFound)
	}
	if err != nil {
		return err
	}
	_, err = l.converge(ctx)
	return err
}

// ErrNotFound says that there is no such object in the lab.
var ErrNotFound = errors.New("not found")

// empty removes what a namespace holds: its pods are asked to end, its other objects go at once.
func (l *Lab) empty(ctx context.Context, namespace string, graceSeconds int64) error {
	all, err := l.store.objects()
	if err != nil {
		return err
	}
	for _, o := range all {
		switch {
		case o.Namespace != namespace:
		case o.Kind == api.KindPod:
			err = l.terminate(ctx, namespace, o.Name, graceSeconds)
		default:
			err = l.store.remove(o.Kind, o.Namespace, o.Name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a controller may have been first
			return err
		}
	}
	return nil
}

// terminate marks a pod as on its way out. Its own grace period is the process's as well; with
// another one the process is ended here, once everybody has been told.
func (l *Lab) terminate(ctx context.Context, namespace, name string, graceSeconds int64) error {
	res, err := l.store.read()
	if err != nil {
		return err
	}
	p := res.Pod(namespace, name)
	if p == nil {
		return fs.ErrNotExist
	}
	if graceSeconds == 0 {
		if err := l.rt.Kill(ctx, p.Name); err != nil {
			return err
		}
	}
	own := graceSeconds < 0
	if own {
		graceSeconds = int64(grace(p))
	}
	kubesim.Terminate(p, time.Now(), graceSeconds)
	if own {
		return l.store.put(api.KindPod, p, p)
	}
	if _, _, err := l.reconcile(res); err != nil {
		return err
	}
	return l.rt.Stop(ctx, p.Name, int(graceSeconds))
}

// SetReady sets a pod's readiness, as its kubelet would after a failed or passed probe.
func (l *Lab) SetReady(ctx context.Context, namespace, name string, ready bool) error {
	unlock, err := l.rt.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	res, err := l.store.read()
	if err != nil {
		return err
	}
	p := res.Pod(namespace, name)
	if p == nil {
		return fmt.Errorf("%s: %w", api.Object{Kind: api.KindPod, Namespace: namespace, Name: name}, ErrNotFound)
	}
	p = p.DeepCopy()
	kubesim.SetReady(p, ready, time.Now())
	if err := l.store.put(api.KindPod, p, p); err != nil {
		return err
	}
	_, err = l.converge(ctx)
	return err
}

// Scale sets the replicas of a deployment (tmm means f5-tmm) and returns when the lab has
// followed and is ready again.
func (l *Lab) Scale(ctx context.Context, deployment string, replicas int) ([]api.Finding, error) {
	if replicas < 0 {
		return nil, &api.InputError{Text: fmt.Sprint(replicas), File: "scale", Message: "want 0 or more replicas"}
	}
	unlock, err := l.rt.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	name := strings.TrimPrefix(deployment, "deployment/")
	if name == "tmm" {
		name = kubesim.TMMName
	}
	res, err := l.store.read()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(res.Deployments, func(d appsv1.Deployment) bool { return d.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("%s: %w", api.Object{Kind: api.KindDeployment, Name: name}, ErrNotFound)
	}
	d := res.Deployments[i].DeepCopy()
	n := int32(replicas)
	d.Spec.Replicas = &n
	if err := l.store.put(api.KindDeployment, d, d); err != nil {
		return nil, err
	}
	findings, err := l.converge(ctx)
	if err != nil {
		return findings, err
	}
	if res, err = l.store.read(); err != nil {
		return findings, err
	}
	return append(findings, api.Check(res)...), l.awaitReady(ctx, nil)
}

// Get lists the objects of a kind, sorted; an empty name or namespace means all.
func (l *Lab) Get(kind, namespace, name string) ([]api.Object, error) {
	kind, err := l.kind(kind)
	if err != nil {
		return nil, err
	}
	all, err := l.store.objects()
	if err != nil {
		return nil, err
	}
	var out []api.Object
	for _, o := range all {
		if o.Kind == kind && (namespace == "" || o.Namespace == namespace || o.Namespace == "") && (name == "" || o.Name == name) {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b api.Object) int { return strings.Compare(a.String(), b.String()) })
	return out, nil
}

// kind is the kind that a user's word means: the kind itself, its plural, its short name or the
// name of its CRD.
func (l *Lab) kind(word string) (string, error) {
	w := strings.ToLower(word)
	w, _, _ = strings.Cut(w, ".")
	names := kindNames()
	if k, ok := names[w]; ok {
		return k, nil
	}
	all, err := l.store.objects()
	if err != nil {
		return "", err
	}
	for _, o := range all {
		if k := strings.ToLower(o.Kind); w == k || w == k+"s" {
			return o.Kind, nil
		}
	}
	known := slices.Sorted(maps.Values(names))
	return "", &api.InputError{File: "kind", Text: word, Message: "no such kind here; known: " + strings.Join(slices.Compact(known), ", ")}
}

// kindNames are the words for the kinds, as kubectl knows them.
func kindNames() map[string]string {
	out := map[string]string{
		"ns": api.KindNamespace, "no": api.KindNode, "po": api.KindPod, "svc": api.KindService, "deploy": api.KindDeployment,
		"net-attach-def": api.KindNAD, "network-attachment-definitions": api.KindNAD, "nad": api.KindNAD,
		"intcp": api.KindIngressTCP, "f5-spk-ingresstcps": api.KindIngressTCP, "f5-spk-ingressudps": api.KindIngressUDP,
		"f5-spk-ingressngaps": api.KindIngressNGAP,
		"f5-spk-vlans":        api.KindVLAN, "f5-spk-egresses": api.KindEgress, "f5-spk-snatpools": api.KindSnatpool,
		"f5-spk-dnscaches":    api.KindDNSCache,
		"f5-spk-staticroutes": api.KindStaticRoute, "apbexternalroute": api.KindExternalRoute, "apbexternalroutes": api.KindExternalRoute,
		"values": api.KindValues,
	}
	for _, k := range []string{
		api.KindNamespace, api.KindNode, api.KindPod, api.KindService, api.KindEndpointSlice, api.KindDeployment, api.KindNAD,
		api.KindVLAN, api.KindIngressTCP, api.KindIngressUDP, api.KindIngressNGAP, api.KindEgress, api.KindSnatpool, api.KindDNSCache, api.KindStaticRoute, api.KindExternalRoute, api.KindValues,
	} {
		w := strings.ToLower(k)
		out[w], out[w+"s"] = k, k
	}
	return out
}

// podNode is a pod as a node of the lab.
func podNode(p *corev1.Pod) Node {
	n := Node{Name: p.Name, Kind: KindPod, Worker: p.Spec.NodeName}
	if kubesim.IsTMM(p) {
		n.Kind = KindTMM
	}
	return n
}

// Manifests is the directory of the object store.
func (l *Lab) Manifests() string { return filepath.Clean(l.store.dir) }
