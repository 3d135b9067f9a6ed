package api

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Severities of findings and conditions.
const (
	SeverityError   = "error"
	SeverityWarning = "warning"
)

// Finding is something that does not fit between objects.
type Finding struct {
	Severity string `json:"severity"` // SeverityError | SeverityWarning
	Object   string `json:"object"`   // Kind namespace/name
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"` // what would be right
}

// String is severity: object: message; hint.
func (f Finding) String() string {
	s := f.Severity + ": " + f.Object + ": " + f.Message
	if f.Hint != "" {
		s += "; " + f.Hint
	}
	return s
}

// Check looks at the objects together. The order of findings is stable.
func Check(r Resources) []Finding {
	c := checker{r: &r}
	c.values()
	c.vlans()
	for _, in := range r.Ingresses() {
		c.ingress(in)
	}
	c.destinations()
	c.egresses()
	c.snatpools()
	return c.findings
}

type checker struct {
	r        *Resources
	findings []Finding
}

func (c *checker) add(severity, object, hint, format string, args ...any) {
	c.findings = append(c.findings, Finding{Severity: severity, Object: object, Hint: hint, Message: fmt.Sprintf(format, args...)})
}

// Ref names an object as messages do.
func Ref(kind string, m metav1.Object) string {
	return Object{Kind: kind, Namespace: m.GetNamespace(), Name: m.GetName()}.String()
}

// valuesObject is how messages name the Helm values.
const valuesObject = "HelmValues spk"

func (c *checker) values() {
	const object = valuesObject
	v := c.r.Values
	if v == nil {
		if len(c.r.VLANs)+len(c.r.Ingresses()) > 0 {
			c.add(SeverityError, object, "write a values file with tmm.cniNetworks", "no Helm values: TMM has no interfaces")
		}
		return
	}
	networks := v.Networks()
	if len(networks) == 0 {
		c.add(SeverityError, object, "write tmm.cniNetworks: default/macvlan-internal,default/macvlan-external", "tmm.cniNetworks is empty: TMM has no interfaces")
	}
	for i, n := range networks {
		if slices.Index(networks, n) < i {
			c.add(SeverityError, object, "write each NetworkAttachmentDefinition once", "tmm.cniNetworks holds %s twice", n)
		}
		if !c.hasNAD(n) {
			c.add(SeverityError, object, "create it, or mend tmm.cniNetworks", "tmm.cniNetworks names %s, and there is no such NetworkAttachmentDefinition", n)
		}
	}
	if v.Replicas() < 0 {
		c.add(SeverityError, object, "write 0 or more", "tmm.replicaCount is %d", v.Replicas())
	}
	c.findings = append(c.findings, CheckVFIO(c.r)...)
	c.watchNamespaces(object)
	if v.TMM.DynamicRouting.Enabled {
		c.bgp(object, &v.TMM.DynamicRouting.TMMRouting.Config.BGP)
		c.routingServices(v.TMM.DynamicRouting.TMMRouting.Config.BGP.Neighbors)
	}
}

func (c *checker) hasNAD(name string) bool {
	return slices.ContainsFunc(c.r.NADs, func(n NetworkAttachmentDefinition) bool { return n.Namespace+"/"+n.Name == name })
}

func (c *checker) watchNamespaces(object string) {
	names := c.r.Values.WatchNamespaces()
	if len(names) == 0 {
		c.add(SeverityError, object, "write the namespace of the applications", "controller.watchNamespace is empty: no pod's egress is routed to TMM")
	}
	for _, ns := range names {
		if ns != DefaultNamespace && !slices.ContainsFunc(c.r.Namespaces, func(n corev1.Namespace) bool { return n.Name == ns }) {
			c.add(SeverityError, object, "create the namespace, or mend controller.watchNamespace", "controller.watchNamespace names %s, and there is no such Namespace", ns)
		}
	}
}

func (c *checker) bgp(object string, b *BGPValues) {
	if b.ASN == 0 {
		c.add(SeverityError, object, "write bgp.asn", "dynamic routing is enabled without an ASN")
	}
	if len(b.Neighbors) == 0 {
		c.add(SeverityWarning, object, "write bgp.neighbors", "dynamic routing is enabled without a neighbor: nothing is announced")
	}
	for _, n := range b.Neighbors {
		switch {
		case !n.IP.IsValid():
			c.add(SeverityError, object, "write its ip", "a BGP neighbor has no address")
		case n.ASN == 0:
			c.add(SeverityError, object, "write its asn", "BGP neighbor %s has no ASN", n.IP)
		case !n.AcceptsIPv4 && !n.AcceptsIPv6:
			c.add(SeverityWarning, object, "write acceptsIPv4: true or acceptsIPv6: true (both default to false)", "BGP neighbor %s accepts no address family: nothing is announced to it", n.IP)
		}
	}
}

func (c *checker) vlans() {
	tags := map[int]string{}
	untagged := map[string]string{}
	internal := false
	interfaces := len(c.r.Values.Networks())
	for i := range c.r.VLANs {
		v := &c.r.VLANs[i]
		object := Ref(KindVLAN, v)
		internal = internal || v.Spec.Internal
		if v.Spec.Tag != 0 {
			if other, ok := tags[v.Spec.Tag]; ok {
				c.add(SeverityError, object, "give each VLAN its own tag", "tag %d is also the tag of %s", v.Spec.Tag, other)
			}
			tags[v.Spec.Tag] = object
		}
		for _, name := range v.Spec.Interfaces {
			if other, ok := untagged[name]; ok && v.Spec.Tag == 0 {
				c.add(SeverityError, object, "give one of them a tag", "interface %s carries the untagged %s already", name, other)
			}
			if v.Spec.Tag == 0 {
				untagged[name] = object
			}
			var n int
			if _, err := fmt.Sscanf(name, "1.%d", &n); err == nil && interfaces > 0 && n > interfaces {
				c.add(SeverityError, object, fmt.Sprintf("write 1.1 to 1.%d, or add a network", interfaces), "interface %s does not exist: tmm.cniNetworks has %d", name, interfaces)
			}
		}
		c.selfIPs(object, &v.Spec)
		c.sriov(v)
		c.parentMTU(v)
	}
	if len(c.r.VLANs) > 0 && !internal {
		c.add(SeverityError, KindVLAN, "write internal: true on the VLAN that leads to the pods", "no VLAN is marked internal: no pod's egress is routed to TMM")
	}
}

// replicas is how many TMMs there are to be, or are: a deployment may have been scaled since.
func (c *checker) replicas() int {
	n := c.r.Values.Replicas()
	for i := range c.r.Pods {
		if at, err := strconv.Atoi(c.r.Pods[i].Annotations[AnnotationTMMIndex]); err == nil {
			n = max(n, at+1)
		}
	}
	return n
}

func (c *checker) selfIPs(object string, s *VLANSpec) {
	replicas := c.replicas()
	if len(s.SelfIPv4s) == 0 && len(s.SelfIPv6s) == 0 {
		c.add(SeverityError, object, "write selfip_v4s, selfip_v6s or both", "a VLAN without a self-IP")
	}
	for _, l := range []struct {
		field string
		addrs []netip.Addr
	}{{"selfip_v4s", s.SelfIPv4s}, {"selfip_v6s", s.SelfIPv6s}} {
		if n := len(l.addrs); n > 0 && n < replicas {
			c.add(SeverityError, object, fmt.Sprintf("write %d addresses, or lower tmm.replicaCount", replicas),
				"%s holds %d addresses for %d TMM replicas: TMM %d gets none", l.field, n, replicas, n+1)
		}
	}
}

func (c *checker) ingress(in Ingress) {
	object, namespace := in.Ref(), in.Meta.Namespace
	if _, pool := in.Spec.Translation(); pool != "" {
		c.poolRef(object, "snatpool", pool)
	}
	if in.Service.Name == "" {
		c.add(SeverityError, object, "write service.name and service.port beside spec, not inside it", "no service")
		return
	}
	svc := c.r.Service(namespace, in.Service.Name)
	if svc == nil {
		c.add(SeverityWarning, object, "create it in the namespace of the "+in.Kind, "Service %s/%s is missing: the virtual server is not announced", namespace, in.Service.Name)
		return
	}
	if _, ok := in.ServicePort(svc); !ok {
		c.add(SeverityWarning, object, "mend service.port", "Service %s/%s has no %s port %d: the virtual server is not announced", namespace, in.Service.Name, in.Protocol, in.Service.Port)
		return
	}
	if len(c.r.EndpointSlices) > 0 && !c.hasEndpoints(svc) || len(c.r.EndpointSlices) == 0 && !c.hasPods(svc) {
		c.add(SeverityWarning, object, "start a pod that the Service selects", "Service %s/%s has no endpoint: the virtual server is not announced", namespace, in.Service.Name)
	}
}

func (c *checker) hasEndpoints(svc *corev1.Service) bool {
	for i := range c.r.EndpointSlices {
		s := &c.r.EndpointSlices[i]
		if s.Namespace == svc.Namespace && s.Labels[LabelServiceName] == svc.Name && len(s.Endpoints) > 0 {
			return true
		}
	}
	return false
}

// hasPods stands in for hasEndpoints before anything has made EndpointSlices: pods and pod
// templates of Deployments count.
func (c *checker) hasPods(svc *corev1.Service) bool {
	if len(svc.Spec.Selector) == 0 {
		return false
	}
	matches := func(ns string, labels map[string]string) bool {
		if ns != svc.Namespace {
			return false
		}
		for k, v := range svc.Spec.Selector {
			if labels[k] != v {
				return false
			}
		}
		return true
	}
	for i := range c.r.Pods {
		if matches(c.r.Pods[i].Namespace, c.r.Pods[i].Labels) {
			return true
		}
	}
	for i := range c.r.Deployments {
		if matches(c.r.Deployments[i].Namespace, c.r.Deployments[i].Spec.Template.Labels) {
			return true
		}
	}
	return false
}

// destinations finds virtual servers that claim the same network, port and protocol.
func (c *checker) destinations() {
	seen := map[string]string{}
	for _, in := range c.r.Ingresses() {
		for _, dst := range in.Spec.Destinations() {
			key := strings.ToLower(string(in.Protocol)) + " " + destinationText(dst, in.Spec.DestinationPort)
			if other, ok := seen[key]; ok {
				c.add(SeverityError, in.Ref(), "give each its own address or port", "destination %s is also the destination of %s", key, other)
				continue
			}
			seen[key] = in.Ref()
		}
	}
}

// destinationText is address:port for a host and network:port for a subnet.
func destinationText(dst netip.Prefix, port Port) string {
	if dst.IsSingleIP() {
		return netip.AddrPortFrom(dst.Addr(), uint16(port)).String()
	}
	return fmt.Sprintf("%s port %d", dst, port)
}
