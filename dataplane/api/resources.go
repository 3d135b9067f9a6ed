package api

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Kinds that Decode knows. KindValues stands for a document of Helm values, which has no kind
// of its own.
const (
	KindNamespace     = "Namespace"
	KindNode          = "Node"
	KindPod           = "Pod"
	KindService       = "Service"
	KindEndpointSlice = "EndpointSlice"
	KindDeployment    = "Deployment"
	KindNAD           = "NetworkAttachmentDefinition"
	KindVLAN          = "F5SPKVlan"
	KindIngressTCP    = "F5SPKIngressTCP"
	KindIngressUDP    = "F5SPKIngressUDP"
	KindIngressNGAP   = "F5SPKIngressNGAP"
	KindEgress        = "F5SPKEgress"
	KindSnatpool      = "F5SPKSnatpool"
	KindDNSCache      = "F5SPKDnscache"
	KindStaticRoute   = "F5SPKStaticRoute"
	KindExternalRoute = "AdminPolicyBasedExternalRoute"
	KindSriovPolicy   = "SriovNetworkNodePolicy"
	KindSriovNetwork  = "SriovNetwork"
	KindValues        = "HelmValues"
)

// DefaultNamespace is where a namespaced object without a namespace belongs.
const DefaultNamespace = "default"

// Resources is every object of one directory or cluster, each list sorted by namespace and
// name. The zero value is an empty cluster.
type Resources struct {
	Namespaces     []corev1.Namespace
	Nodes          []corev1.Node
	Pods           []corev1.Pod
	Services       []corev1.Service
	EndpointSlices []discoveryv1.EndpointSlice
	Deployments    []appsv1.Deployment
	NADs           []NetworkAttachmentDefinition
	VLANs          []F5SPKVlan
	IngressTCPs    []F5SPKIngressTCP
	IngressUDPs    []F5SPKIngressUDP
	IngressNGAPs   []F5SPKIngressNGAP
	Egresses       []F5SPKEgress
	Snatpools      []F5SPKSnatpool
	DNSCaches      []F5SPKDnscache
	StaticRoutes   []F5SPKStaticRoute
	ExternalRoutes []AdminPolicyBasedExternalRoute
	SriovPolicies  []SriovNetworkNodePolicy
	SriovNetworks  []SriovNetwork // their NetworkAttachmentDefinitions are in NADs
	// Values are the Helm values, nil when none were given. Where several documents hold
	// values the last one wins.
	Values *Values
	// Others are objects of kinds that Decode does not know, unread.
	Others []Object
}

// Object is one document of a manifest, not yet decoded.
type Object struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Namespace  string `json:"namespace,omitempty"` // empty for cluster-scoped kinds
	Name       string `json:"name"`
	File       string `json:"file"`
	Line       int    `json:"line"` // of the document's first line in File, from 1
	// Raw is the document's own text; JSON for an item of a List.
	Raw []byte `json:"-"`

	root   *node   // Raw parsed, nil until needed
	fitted *fitted // what all copies know of the document as its kind's type, nil until parsed
}

// String is the object as messages name it: Kind namespace/name.
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// StoreName is the file that an object store keeps the object in: KIND.NAMESPACE.NAME.yaml
// with the kind in lower case and an empty namespace for cluster-scoped kinds.
func (o Object) StoreName() string { return StoreName(o.Kind, o.Namespace, o.Name) }

// StoreName is the file name of an object in an object store.
func StoreName(kind, namespace, name string) string {
	return fmt.Sprintf("%s.%s.%s.yaml", strings.ToLower(kind), namespace, name)
}

// ClusterScoped says whether objects of kind have no namespace.
func ClusterScoped(kind string) bool {
	switch kind {
	case KindNamespace, KindNode, KindValues, KindExternalRoute, "PersistentVolume", "ClusterRole", "ClusterRoleBinding",
		"CustomResourceDefinition", "StorageClass", "PriorityClass":
		return true
	}
	return false
}

// Warning is something that was kept but that its author should look at.
type Warning struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Object  string `json:"object"` // Object.String, or empty
	Message string `json:"message"`
}

// String is file:line:col: message.
func (w Warning) String() string {
	return position(w.File, w.Line, w.Column) + ": " + w.Message
}

// InputError is a user's mistake at one place of one file.
type InputError struct {
	File         string
	Line, Column int    // from 1; 0 where unknown
	Text         string // the offending text, may be empty
	Message      string // what is wrong; what would be right
}

// Error is file:line:col: "text": message.
func (e *InputError) Error() string {
	at := position(e.File, e.Line, e.Column)
	if e.Text == "" {
		return at + ": " + e.Message
	}
	return fmt.Sprintf("%s: %q: %s", at, e.Text, e.Message)
}

func position(file string, line, column int) string {
	switch {
	case line == 0:
		return file
	case column == 0:
		return fmt.Sprintf("%s:%d", file, line)
	}
	return fmt.Sprintf("%s:%d:%d", file, line, column)
}
