package lab

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/vf"
)

// Check looks at a source as a whole without making anything. What cannot work is the error,
// joined InputErrors; what deserves a look is a finding.
func Check(src *Source) ([]api.Finding, error) {
	res, _, err := api.Decode(src.Objects)
	if err != nil {
		return nil, err
	}
	errs := []error{checkNodes(src.Objects), checkNADs(src.Spec, src.Objects)}
	res, findings := settled(src.Spec, res, pools(src.Spec, src.Hardware, src.Inventory, res))
	if err := needCards(src, res); err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	plans := cardPlans(src.Spec, src.Hardware, src.Inventory, res)
	cards := cardFindings(plans, src.Hardware, res)
	if slices.ContainsFunc(cards, func(f api.Finding) bool { return f.Severity == api.SeverityError }) {
		findings = nil // pods lack what the policies do not make
	}
	findings = slices.Concat(cards, findings, api.Check(res), checkCables(src.Spec, res, src.Hardware, plans), checkNames(src.Spec, res), checkImages(res))
	var warnings []api.Finding
	for _, f := range findings {
		if f.Severity != api.SeverityError {
			warnings = append(warnings, f)
			continue
		}
		errs = append(errs, locate(src, f))
	}
	return warnings, errors.Join(errs...)
}

// settled is what the cluster will hold once every pod runs, with the workers' VFs.
func settled(spec *topo.Lab, res api.Resources, vfs map[string][]vf.Pool) (api.Resources, []api.Finding) {
	opt := kubesim.Options{Now: time.Unix(0, 0), OVN: isOVN(spec), Reservations: map[string]cni.Reservations{}, NICMAC: spec.NICMAC, Pools: vfs}
	res.Nodes = machines(spec)
	res, _ = kubesim.Reconcile(res, opt)
	for i := range res.Pods {
		if p := &res.Pods[i]; kubesim.Runnable(p) {
			kubesim.Run(p, node(res.Nodes, p.Spec.NodeName), opt.Now)
		}
	}
	return kubesim.Reconcile(res, opt)
}

// locate gives a finding the place of the object it speaks of.
func locate(src *Source, f api.Finding) error {
	e := &api.InputError{File: src.File, Message: f.Object + ": " + f.Message}
	if f.Hint != "" {
		e.Message += "; " + f.Hint
	}
	if o := origin(src.Objects, f.Object); o != nil {
		e.File, e.Line, e.Column = o.File, o.Line, 1
	}
	return e
}

// origin is the object of that name, or for what controllers make the one that they make it of: a SriovNetwork for
// its NetworkAttachmentDefinition, for a pod its Deployment, for a TMM the Helm values. Nil where there is none.
func origin(objs []api.Object, name string) *api.Object {
	kind, id, _ := strings.Cut(name, " ")
	_, short, _ := strings.Cut(id, "/")
	makes := func(o *api.Object) bool {
		switch {
		case o.String() == name:
			return true
		case kind == api.KindNAD:
			return o.Kind == api.KindSriovNetwork && o.Name == short
		case kind == api.KindPod && o.Kind == api.KindValues:
			return strings.HasPrefix(short, kubesim.TMMName+"-")
		}
		return kind == api.KindPod && o.Kind == api.KindDeployment && strings.HasPrefix(id, o.Namespace+"/"+o.Name+"-")
	}
	var found *api.Object
	for i := range objs {
		if o := &objs[i]; makes(o) && (found == nil || o.String() == name) {
			found = o
		}
	}
	return found
}

// checkNodes asks that nodes come from the lab file alone.
func checkNodes(objs []api.Object) error {
	var errs []error
	for _, o := range objs {
		if o.Kind == api.KindNode {
			errs = append(errs, at(o, o.Name, o.String()+": the lab file makes the nodes; add a worker there"))
		}
	}
	return errors.Join(errs...)
}

// checkNADs asks that the master of each NetworkAttachmentDefinition is a NIC of every worker and
// carries its MTU.
func checkNADs(spec *topo.Lab, objs []api.Object) error {
	var errs []error
	for _, o := range objs {
		if o.Kind != api.KindNAD {
			continue
		}
		res, _, err := api.Decode([]api.Object{o})
		if err != nil || len(res.NADs) != 1 {
			continue // said already
		}
		c, err := res.NADs[0].Config()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, checkNAD(spec, o, c))
	}
	return errors.Join(errs...)
}

func checkNAD(spec *topo.Lab, o api.Object, c cni.Config) error {
	switch c.Type {
	case cni.TypeMacvlan:
		return checkMaster(spec, o, c)
	case cni.TypeHostDevice:
		return checkDevice(spec, o, c)
	case cni.TypeSRIOV:
		return nil // its devices are those of pools, of which the pods' findings tell
	}
	return at(o, c.Type, fmt.Sprintf("%s: no plugin of type %s here; write macvlan, host-device or sriov", o, c.Type))
}

// checkDevice asks that every worker has the device, as far as it is named by its name.
func checkDevice(spec *topo.Lab, o api.Object, c cni.Config) error {
	for _, w := range spec.Workers {
		if c.Device != "" && !slices.Contains(nicNames(w), c.Device) {
			return at(o, c.Device, fmt.Sprintf("%s: device is no NIC of %s; it has %s", o, w.Name, strings.Join(nicNames(w), ", ")))
		}
	}
	return nil
}

// checkMaster asks that every worker has the master of a macvlan, and that its MTU is enough. A master in
// the pod is known to who makes the pod.
func checkMaster(spec *topo.Lab, o api.Object, c cni.Config) error {
	if c.LinkInContainer {
		return nil
	}
	for _, w := range spec.Workers {
		if c.Master == "" {
			return at(o, c.Type, fmt.Sprintf("%s: no default route interface on %s for a macvlan without a master; write \"master\": and one of %s", o, w.Name, strings.Join(nicNames(w), ", ")))
		}
		i := slices.IndexFunc(w.NICs, func(n topo.NIC) bool { return n.Name == c.Master })
		if i < 0 {
			return at(o, c.Master, fmt.Sprintf("%s: master is no NIC of %s; it has %s", o, w.Name, strings.Join(nicNames(w), ", ")))
		}
		if mtu := spec.MTUOf(w.NICs[i]); c.MTU > mtu {
			return at(o, fmt.Sprint(c.MTU), fmt.Sprintf("%s: mtu is above the %d of its master %s; write at most that", o, mtu, c.Master))
		}
	}
	return nil
}

// at is an InputError at the first place in an object where text stands.
func at(o api.Object, text, message string) error {
	e := &api.InputError{File: o.File, Line: o.Line, Column: 1, Text: text, Message: message}
	before, _, found := bytes.Cut(o.Raw, []byte(`"`+text+`"`))
	if !found {
		before, _, found = bytes.Cut(o.Raw, []byte(text))
	}
	if found {
		e.Line += bytes.Count(before, []byte("\n"))
		e.Column = len(before) - bytes.LastIndexByte(before, '\n')
	}
	return e
}

func nicNames(w topo.Worker) []string {
	var names []string
	for _, n := range w.NICs {
		names = append(names, n.Name)
	}
	return names
}

// checkNames asks that each pod has a name of its own in the lab, whatever its namespace: it names
// the pod's network namespace and process.
func checkNames(spec *topo.Lab, res api.Resources) []api.Finding {
	taken := map[string]string{topo.Switch: "a node of the lab"}
	for _, n := range labNodes(spec) {
		taken[n.Name] = "a node of the lab"
	}
	var out []api.Finding
	for i := range res.Pods {
		p := &res.Pods[i]
		if owner, ok := taken[p.Name]; ok {
			out = append(out, api.Finding{
				Severity: api.SeverityError, Object: api.Ref(api.KindPod, p),
				Message: owner + " has this name too", Hint: "choose another; names of pods and nodes are unique in a lab",
			})
			continue
		}
		taken[p.Name] = "pod " + p.Namespace + "/" + p.Name
	}
	return out
}

// checkApply asks of objects that are to join a running lab what can be asked before they do.
func (l *Lab) checkApply(objs []api.Object) error {
	if err := errors.Join(checkNodes(objs), checkNADs(l.Spec, objs)); err != nil {
		return err
	}
	all, err := l.store.objects()
	if err != nil {
		return err
	}
	for _, o := range objs {
		all = slices.DeleteFunc(all, func(have api.Object) bool { return have.StoreName() == o.StoreName() })
	}
	all = append(all, objs...)
	res, _, err := api.Decode(all)
	if err != nil {
		return err
	}
	inv, err := l.inventory()
	if err != nil {
		return err
	}
	res, _ = settled(l.Spec, res, pools(l.Spec, l.cards, inv, res))
	var errs []error
	for _, f := range checkNames(l.Spec, res) {
		errs = append(errs, locate(&Source{Objects: objs, File: f.Object}, f))
	}
	return errors.Join(errs...)
}

// checkImages names the pods in which nothing will run.
func checkImages(res api.Resources) []api.Finding {
	var out []api.Finding
	for i := range res.Pods {
		p := &res.Pods[i]
		if imageless(p) && len(p.Spec.Containers) > 0 {
			out = append(out, api.Finding{
				Severity: api.SeverityWarning, Object: api.Ref(api.KindPod, p),
				Message: fmt.Sprintf("nothing runs in it and it does not become ready: the lab has no image %s", p.Spec.Containers[0].Image),
				Hint:    "use " + imageApp,
			})
		}
	}
	return out
}
