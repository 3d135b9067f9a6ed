package kubesim

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spklab/spklab/dataplane/api"
)

// What the chart of the SPK controller and TMM installs, and where.
const (
	TMMName      = "f5-tmm" // the Deployment, its container and the label app of its pods
	TMMNamespace = api.DefaultNamespace

	// ImageTMM and ImageTMMRouting are the images of a TMM pod's containers.
	ImageTMM        = "f5/tmm"
	ImageTMMRouting = "f5/tmm-routing"

	labelApp       = "app"
	labelManagedBy = "app.kubernetes.io/managed-by"
	managedByHelm  = "Helm"
	// annotationReplicas holds tmm.replicaCount as it was installed last, so that a scaled
	// Deployment keeps its scale until the value changes.
	annotationReplicas = "spklab.dev/replica-count"
)

// IsTMM says whether a pod is a TMM.
func IsTMM(p *corev1.Pod) bool {
	owner, ok := ownerOf(p)
	return ok && owner == TMMName && p.Labels[labelApp] == TMMName
}

// reconcileTMM installs, upgrades or removes the TMM Deployment as Helm would with the values.
func reconcileTMM(r *api.Resources, _ Options) []api.Finding {
	at := slices.IndexFunc(r.Deployments, func(d appsv1.Deployment) bool {
		return d.Name == TMMName && d.Namespace == TMMNamespace
	})
	if r.Values == nil {
		if at >= 0 && r.Deployments[at].Labels[labelManagedBy] == managedByHelm {
			r.Deployments = slices.Delete(r.Deployments, at, at+1)
		}
		return nil
	}
	d := tmmDeployment(r.Values)
	if at < 0 {
		r.Deployments = append(r.Deployments, d)
		return nil
	}
	old := &r.Deployments[at]
	if old.Annotations[annotationReplicas] == d.Annotations[annotationReplicas] {
		d.Spec.Replicas = old.Spec.Replicas
	}
	d.CreationTimestamp = old.CreationTimestamp
	*old = d
	return nil
}

// tmmDeployment is the Deployment that the chart makes of the values.
func tmmDeployment(v *api.Values) appsv1.Deployment {
	replicas := int32(v.Replicas())
	labels := map[string]string{labelApp: TMMName}
	d := appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{
			Name: TMMName, Namespace: TMMNamespace,
			Labels:      map[string]string{labelApp: TMMName, labelManagedBy: managedByHelm},
			Annotations: map[string]string{annotationReplicas: strconv.Itoa(int(replicas))},
		},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
		},
	}
	t := &d.Spec.Template
	t.Labels = map[string]string{labelApp: TMMName}
	t.Annotations = map[string]string{api.AnnotationNetworks: strings.Join(v.Networks(), ",")}
	t.Spec.Containers = []corev1.Container{{
		Name: TMMName, Image: ImageTMM, Env: v.TMM.CustomEnvVars, Resources: v.TMM.Resources,
	}}
	if v.TMM.DynamicRouting.Enabled {
		t.Spec.Containers = append(t.Spec.Containers, corev1.Container{Name: TMMName + "-routing", Image: ImageTMMRouting})
	}
	return d
}

// annotateTMMs plays the SPK controller: it hands each TMM its place in the lists of self-IPs,
// names the namespaces whose pods leave by TMM, and names the network (with this TMM's
// addresses there) that OVN routes to: the one that carries the internal VLAN.
func annotateTMMs(r *api.Resources, opt Options) []api.Finding {
	network, vlan := internalNetwork(r)
	eachLivePod(r, func(p *corev1.Pod) {
		if !IsTMM(p) {
			return
		}
		index := ordinal(p) - 1
		annotate(p, api.AnnotationTMMIndex, strconv.Itoa(index))
		if !opt.OVN {
			return
		}
		annotate(p, api.AnnotationRoutingNamespaces, strings.Join(r.Values.WatchNamespaces(), ","))
		annotate(p, api.AnnotationRoutingNetwork, network)
		setNetworkIPs(p, network, selfIPs(vlan, index))
	})
	return nil
}

// internalNetwork is the NAD below the VLAN that is marked internal, empty if there is none.
func internalNetwork(r *api.Resources) (string, *api.F5SPKVlan) {
	networks := r.Values.Networks()
	for i := range r.VLANs {
		v := &r.VLANs[i]
		if !v.Spec.Internal || len(v.Spec.Interfaces) == 0 {
			continue
		}
		if at, ok := interfaceIndex(v.Spec.Interfaces[0]); ok && at < len(networks) {
			return networks[at], v
		}
	}
	return "", nil
}

// interfaceIndex turns TMM's interface number "1.N" into an index from 0.
func interfaceIndex(number string) (int, bool) {
	n, ok := strings.CutPrefix(number, "1.")
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(n)
	return i - 1, err == nil && i >= 1
}

// selfIPs are the addresses at one place of a VLAN's lists.
func selfIPs(v *api.F5SPKVlan, index int) []netip.Addr {
	if v == nil {
		return nil
	}
	var out []netip.Addr
	for _, list := range [][]netip.Addr{v.Spec.SelfIPv4s, v.Spec.SelfIPv6s} {
		if index >= 0 && index < len(list) {
			out = append(out, list[index])
		}
	}
	return out
}
