package kubesim

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/topo/vf"
)

// ResourceName is the resource whose devices a network's pods get, empty where it needs none.
func ResourceName(n *api.NetworkAttachmentDefinition) string {
	return n.Annotations[api.AnnotationResourceName]
}

// DeviceEnvName is the variable by which a container finds its devices of a resource: PCIDEVICE_ and the
// resource in upper case with _ for its slash and its dots; every other sign stays.
func DeviceEnvName(resource string) string {
	return "PCIDEVICE_" + strings.NewReplacer("/", "_", ".", "_").Replace(strings.ToUpper(resource))
}

// DeviceEnv are the variables KEY=VALUE of a pod's devices, in the order of its networks.
func DeviceEnv(p *corev1.Pod, r *api.Resources) ([]string, error) {
	status, err := api.NetworkStatuses(p)
	if err != nil {
		return nil, err
	}
	var names []string
	devices := map[string][]string{}
	for _, s := range status {
		nad := r.NAD(s.Name)
		if nad == nil || ResourceName(nad) == "" || s.PCIAddress() == "" {
			continue
		}
		name := DeviceEnvName(ResourceName(nad))
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		devices[name] = append(devices[name], s.PCIAddress())
	}
	var out []string
	for _, name := range names {
		out = append(out, name+"="+strings.Join(devices[name], ","))
	}
	return out, nil
}

// deviceManager plays the kubelets' device managers with the SR-IOV device plugin: it knows which pod has
// which device, and gives the first free one of a pool.
type deviceManager struct {
	pools map[string][]vf.Pool // by node
	held  map[string]string    // PCI address with its node: pod, namespace/name
}

// newDeviceManager reads from network-status who has what; pods on their way out still have theirs.
func newDeviceManager(r *api.Resources, opt Options) *deviceManager {
	m := &deviceManager{pools: opt.Pools, held: map[string]string{}}
	for i := range r.Pods {
		p := &r.Pods[i]
		status, err := api.NetworkStatuses(p)
		if err != nil {
			continue // it is written anew
		}
		for _, s := range status {
			if s.PCIAddress() != "" {
				m.held[p.Spec.NodeName+" "+s.PCIAddress()] = p.Namespace + "/" + p.Name
			}
		}
	}
	return m
}

// give chooses the device behind an interface of a network of VFs; before is what the pod had. A VF keeps its
// own MAC address where neither the pod nor the configuration asks for one.
func (m *deviceManager) give(entry *api.NetworkStatus, p *corev1.Pod, nad *api.NetworkAttachmentDefinition, s Selection, before []api.NetworkStatus) *api.Finding {
	c, err := nad.Config()
	if err != nil || c.SRIOV == nil {
		return nil // a config with a mistake is told of where it is read
	}
	has := ""
	for _, b := range before {
		if b.Name == entry.Name && b.Interface == entry.Interface {
			has = b.PCIAddress()
		}
	}
	address, err := m.device(p, nad, c, has)
	if err != nil {
		f := podError(p, err.Error(), m.remedy(p, nad))
		return &f
	}
	entry.DeviceInfo = api.DeviceInfoOf(address)
	if entry.MAC = s.MAC; entry.MAC == "" {
		entry.MAC = c.SRIOV.MAC
	}
	return nil
}

// offers says whether a node has a resource, though all of its VFs may be taken.
func (m *deviceManager) offers(node, resource string) bool {
	return slices.ContainsFunc(m.pools[node], func(p vf.Pool) bool { return p.Resource == resource })
}

// remedy is what would be right for a pod that gets no device of a network: of a resource that its node has, more
// of them, else another one.
func (m *deviceManager) remedy(p *corev1.Pod, nad *api.NetworkAttachmentDefinition) string {
	if resource := ResourceName(nad); resource == "" || m.offers(p.Spec.NodeName, resource) {
		return "offer more VFs, or scale down"
	}
	var names []string
	for _, pool := range m.pools[p.Spec.NodeName] {
		names = append(names, pool.Resource)
	}
	slices.Sort(names)
	if names = slices.Compact(names); names == nil {
		return "make VFs of a card of that node, by a SriovNetworkNodePolicy"
	}
	return fmt.Sprintf("write one of %s as %s of %s", strings.Join(names, ", "), api.AnnotationResourceName, api.Ref(api.KindNAD, nad))
}

// device is the PCI address that a pod's interface gets, or the one that it has.
func (m *deviceManager) device(p *corev1.Pod, nad *api.NetworkAttachmentDefinition, c cni.Config, has string) (string, error) {
	pod := p.Namespace + "/" + p.Name
	take := func(address string) (string, bool) {
		key := p.Spec.NodeName + " " + address
		if holder := m.held[key]; holder != "" && (holder != pod || address != has) {
			return holder, false
		}
		m.held[key] = pod
		return pod, true
	}
	if c.SRIOV != nil && c.SRIOV.DeviceID != "" {
		if holder, ok := take(c.SRIOV.DeviceID); !ok {
			return "", fmt.Errorf("device %s of network %s/%s is pod %s's", c.SRIOV.DeviceID, nad.Namespace, nad.Name, holder)
		}
		return c.SRIOV.DeviceID, nil
	}
	resource := ResourceName(nad)
	if resource == "" {
		return "", fmt.Errorf("network %s/%s names no resource whose VFs it gives: annotation %s", nad.Namespace, nad.Name, api.AnnotationResourceName)
	}
	var all []string
	for _, pool := range m.pools[p.Spec.NodeName] {
		if pool.Resource == resource {
			all = append(all, pool.VFs...)
		}
	}
	if slices.Contains(all, has) {
		return has, nil
	}
	for _, address := range all {
		if _, ok := take(address); ok {
			return address, nil
		}
	}
	if !m.offers(p.Spec.NodeName, resource) {
		return "", fmt.Errorf("network %s/%s gives VFs of %s, and node %s has none", nad.Namespace, nad.Name, resource, p.Spec.NodeName)
	}
	return "", fmt.Errorf("node %s has no VF of %s left: it has %d", p.Spec.NodeName, resource, len(all))
}
