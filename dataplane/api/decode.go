package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Decode reads objects into typed resources. What an object's author should know but that
// harms nothing is a Warning; objects that cannot be read are left out and their InputErrors
// are joined. Of two objects with one name the later one counts.
func Decode(objs []Object) (Resources, []Warning, error) {
	d := decoder{places: map[string]int{}}
	for i := range objs {
		d.add(&objs[i])
	}
	d.res.renderNetworks()
	d.res.sort()
	return d.res, d.warnings, errors.Join(d.errs...)
}

type decoder struct {
	res      Resources
	places   map[string]int // of objects in their lists, by kind and name
	warnings []Warning
	errs     []error
}

func (d *decoder) add(o *Object) {
	switch o.Kind {
	case KindNamespace:
		add(d, o, &d.res.Namespaces, nil)
	case KindNode:
		add(d, o, &d.res.Nodes, nil)
	case KindPod:
		add(d, o, &d.res.Pods, nil)
	case KindService:
		add(d, o, &d.res.Services, checkService)
	case KindEndpointSlice:
		add(d, o, &d.res.EndpointSlices, checkEndpointSlice)
	case KindDeployment:
		add(d, o, &d.res.Deployments, nil)
	case KindNAD:
		add(d, o, &d.res.NADs, checkNAD)
	case KindVLAN:
		add(d, o, &d.res.VLANs, checkVLAN)
	case KindIngressTCP:
		add(d, o, &d.res.IngressTCPs, func(f *fitter, n *node, v *F5SPKIngressTCP) { checkIngress(f, n.at("spec"), &v.Spec) })
	case KindIngressUDP:
		add(d, o, &d.res.IngressUDPs, func(f *fitter, n *node, v *F5SPKIngressUDP) { checkIngress(f, n.at("spec"), &v.Spec) })
	case KindIngressNGAP:
		add(d, o, &d.res.IngressNGAPs, func(f *fitter, n *node, v *F5SPKIngressNGAP) { checkIngress(f, n.at("spec"), &v.Spec) })
	case KindEgress:
		add(d, o, &d.res.Egresses, checkEgress)
	case KindSnatpool:
		add(d, o, &d.res.Snatpools, checkSnatpool)
	case KindDNSCache:
		add(d, o, &d.res.DNSCaches, checkDNSCache)
	case KindStaticRoute:
		add(d, o, &d.res.StaticRoutes, checkStaticRoute)
	case KindExternalRoute:
		add(d, o, &d.res.ExternalRoutes, checkExternalRoute)
	case KindSriovPolicy:
		add(d, o, &d.res.SriovPolicies, checkSriovPolicy)
	case KindSriovNetwork:
		add(d, o, &d.res.SriovNetworks, checkSriovNetwork)
	case KindValues:
		d.values(o)
	default:
		d.warnings = append(d.warnings, Warning{File: o.File, Line: o.Line, Column: 1, Object: o.String(),
			Message: fmt.Sprintf("unknown kind %q is kept and not used", o.Kind)})
		d.res.Others = append(d.res.Others, *o)
	}
}

func (d *decoder) values(o *Object) {
	var v Values
	if decodeObject(d, o, &v, checkValues) {
		d.res.Values = &v
	}
}

// add decodes an object into its list; check looks at what JSON types cannot say.
func add[T any, P interface {
	*T
	metav1.Object
}](d *decoder, o *Object, list *[]T, check func(*fitter, *node, *T)) {
	var v T
	if !decodeObject(d, o, &v, check) {
		return
	}
	P(&v).SetNamespace(o.Namespace)
	if i, ok := d.places[o.String()]; ok {
		(*list)[i] = v
		return
	}
	d.places[o.String()] = len(*list)
	*list = append(*list, v)
}

// decodeObject reads the object's document into v and reports whether it could.
func decodeObject[T any](d *decoder, o *Object, v *T, check func(*fitter, *node, *T)) bool {
	n, err := o.node()
	if err != nil {
		d.errs = append(d.errs, err)
		return false
	}
	fit := o.fit(n, reflect.TypeFor[T]())
	f := &fitter{doc: o, budget: maxNodes, silent: o.Kind == KindValues, errs: slices.Clone(fit.errs), warnings: slices.Clone(fit.warnings)}
	if len(f.errs) == 0 {
		if err := json.Unmarshal(fit.data, v); err != nil {
			f.fail(n, "does not fit %s: %v", o.Kind, err)
		}
	}
	if len(f.errs) == 0 && check != nil {
		check(f, n, v)
	}
	d.warnings = append(d.warnings, f.warnings...)
	d.errs = append(d.errs, f.errs...)
	return len(f.errs) == 0
}

// fitted is a document as encoding/json can read it, worked out once for all copies of its Object.
type fitted struct {
	once     sync.Once
	data     []byte
	warnings []Warning
	errs     []error
}

// fit holds the object's document against the type of its kind.
func (o *Object) fit(n *node, t reflect.Type) *fitted {
	o.fitted.once.Do(func() {
		f := &fitter{doc: o, budget: maxNodes, silent: o.Kind == KindValues}
		data, err := json.Marshal(f.fit(n, t))
		if err != nil && len(f.errs) == 0 {
			f.fail(n, "does not fit %s: %v", o.Kind, err)
		}
		o.fitted.data, o.fitted.warnings, o.fitted.errs = data, f.warnings, f.errs
	})
	return o.fitted
}

// sort brings every list into the order of namespace and name.
func (r *Resources) sort() {
	sortObjects(r.Namespaces)
	sortObjects(r.Nodes)
	sortObjects(r.Pods)
	sortObjects(r.Services)
	sortObjects(r.EndpointSlices)
	sortObjects(r.Deployments)
	sortObjects(r.NADs)
	sortObjects(r.VLANs)
	sortObjects(r.IngressTCPs)
	sortObjects(r.IngressUDPs)
	sortObjects(r.IngressNGAPs)
	sortObjects(r.Egresses)
	sortObjects(r.Snatpools)
	sortObjects(r.DNSCaches)
	sortObjects(r.StaticRoutes)
	sortObjects(r.ExternalRoutes)
	sortObjects(r.SriovPolicies)
	sortObjects(r.SriovNetworks)
	slices.SortStableFunc(r.Others, func(a, b Object) int { return strings.Compare(a.String(), b.String()) })
}

func sortObjects[T any, P interface {
	*T
	metav1.Object
}](list []T) {
	slices.SortFunc(list, func(a, b T) int {
		if c := strings.Compare(P(&a).GetNamespace(), P(&b).GetNamespace()); c != 0 {
			return c
		}
		return strings.Compare(P(&a).GetName(), P(&b).GetName())
	})
}
