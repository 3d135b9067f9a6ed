package kubesim

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/dataplane/api"
)

// Selection is one additional network that a pod asks for.
type Selection struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Interface string `json:"interface,omitempty"` // empty: net1, net2, … in order
	MAC       string `json:"mac,omitempty"`
	// IPs are fixed addresses with their prefix lengths, as multus hands them to a plugin with
	// the capability "ips".
	IPs []netip.Prefix `json:"ips,omitempty"`
	// DefaultRoute are the gateways of the pod's default routes, by this interface; the cluster network's
	// own go then.
	DefaultRoute []netip.Addr `json:"default-route,omitempty"`
}

// ParseSelections reads the annotation k8s.v1.cni.cncf.io/networks of a pod in namespace, in
// either of its forms: NS/NAME@INTERFACE,… or a JSON list.
func ParseSelections(text, namespace string) ([]Selection, error) {
	text = strings.TrimSpace(text)
	var out []Selection
	if strings.HasPrefix(text, "[") {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&out); err != nil {
			return nil, fmt.Errorf("decode %s: %w; write name, namespace, interface, mac, ips and default-route", api.AnnotationNetworks, err)
		}
	} else {
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				out = append(out, parseSelection(item))
			}
		}
	}
	for i := range out {
		if out[i].Namespace == "" {
			out[i].Namespace = namespace
		}
		if out[i].Interface == "" {
			out[i].Interface = fmt.Sprintf("net%d", i+1)
		}
		if out[i].Name == "" || strings.ContainsAny(out[i].Namespace+out[i].Name+out[i].Interface, "/@ ") {
			return nil, fmt.Errorf("decode %s: entry %d of %q is no NAMESPACE/NAME@INTERFACE", api.AnnotationNetworks, i+1, text)
		}
		if slices.ContainsFunc(out[i].IPs, func(p netip.Prefix) bool { return !p.IsValid() }) {
			return nil, fmt.Errorf("decode %s: entry %d of %q: ips want ADDRESS/LENGTH", api.AnnotationNetworks, i+1, text)
		}
		if err := out[i].check(out[:i]); err != nil {
			return nil, fmt.Errorf("decode %s: entry %d of %q: %w", api.AnnotationNetworks, i+1, text, err)
		}
	}
	return out, nil
}

// check asks for what the kernel would refuse.
func (s *Selection) check(before []Selection) error {
	if _, err := net.ParseMAC(s.MAC); s.MAC != "" && err != nil {
		return fmt.Errorf("mac %q; write one like 02:00:00:00:00:01", s.MAC)
	}
	if len(s.Interface) > 15 || s.Interface == "lo" || s.Interface == "eth0" {
		return fmt.Errorf("interface %q; write another name of at most 15 letters", s.Interface)
	}
	if slices.ContainsFunc(before, func(b Selection) bool { return b.Interface == s.Interface }) {
		return fmt.Errorf("interface %s is taken by an entry before it", s.Interface)
	}
	if slices.ContainsFunc(s.DefaultRoute, func(a netip.Addr) bool { return !a.IsValid() }) {
		return errors.New("default-route wants addresses of gateways")
	}
	return nil
}

func parseSelection(item string) Selection {
	item, link, _ := strings.Cut(item, "@")
	if ns, name, ok := strings.Cut(item, "/"); ok {
		return Selection{Namespace: ns, Name: name, Interface: link}
	}
	return Selection{Name: item, Interface: link}
}

// addrs are the fixed addresses without their prefix lengths.
func (s Selection) addrs() []netip.Addr {
	var out []netip.Addr
	for _, p := range s.IPs {
		out = append(out, p.Addr())
	}
	return out
}

// attachNetworks plays multus and the plugins: it writes network-status, the cluster network first, and
// what IPAM decides. A pod one of whose networks does not exist, or has no address or device for it, cannot
// start.
func attachNetworks(r *api.Resources, opt Options) []api.Finding {
	var findings []api.Finding
	releaseGone(r, opt)
	devices := newDeviceManager(r, opt)
	eachLivePod(r, func(p *corev1.Pod) {
		before, err := api.NetworkStatuses(p)
		if err != nil {
			before = nil // it is written anew
		}
		annotate(p, api.AnnotationNetworkStatus, "")
		annotate(p, AnnotationAssigned, "")
		if len(p.Status.PodIPs) == 0 {
			return
		}
		selections, err := ParseSelections(p.Annotations[api.AnnotationNetworks], p.Namespace)
		if err != nil {
			findings = append(findings, podError(p, err.Error(), "default/macvlan-internal,default/macvlan-external"))
			return
		}
		status := []api.NetworkStatus{clusterNetwork(p, opt)}
		given := map[string]*cni.Assigned{}
		for _, s := range selections {
			name := s.Namespace + "/" + s.Name
			nad := r.NAD(name)
			if nad == nil {
				findings = append(findings, podError(p, fmt.Sprintf("asks for network %s, which does not exist", name),
					"a NetworkAttachmentDefinition of that name"))
				return
			}
			entry, assigned, err := attach(p, nad, s, opt)
			if err != nil {
				findings = append(findings, podError(p, fmt.Sprintf("network %s: %v", name, err), "mend the ipam of the NetworkAttachmentDefinition or the annotation "+api.AnnotationNetworks))
				return
			}
			if problem := devices.give(&entry, p, nad, s, before); problem != nil {
				findings = append(findings, *problem)
				return
			}
			if assigned != nil {
				given[s.Interface] = assigned
			}
			status = append(status, entry)
		}
		annotate(p, api.AnnotationNetworkStatus, encodeStatus(status))
		if len(given) > 0 {
			annotate(p, AnnotationAssigned, mustJSON(given))
		}
	})
	return findings
}

func clusterNetwork(p *corev1.Pod, opt Options) api.NetworkStatus {
	name := "cluster"
	if opt.OVN {
		name = "ovn-kubernetes"
	}
	return api.NetworkStatus{Name: name, Interface: "eth0", IPs: PodIPs(p), MAC: PodMAC(p), Default: true}
}

// setNetworkIPs fills in a network's addresses in network-status, which is where
// OVN-Kubernetes looks for the gateways that a pod offers.
func setNetworkIPs(p *corev1.Pod, network string, ips []netip.Addr) {
	status, err := api.NetworkStatuses(p)
	if err != nil || network == "" || len(status) == 0 {
		return // written by attachNetworks, so it decodes; a pod that cannot start has none
	}
	for i := range status {
		if status[i].Name == network && !status[i].Default {
			status[i].IPs = ips
		}
	}
	annotate(p, api.AnnotationNetworkStatus, encodeStatus(status))
}

// encodeStatus indents as multus does.
func encodeStatus(status []api.NetworkStatus) string {
	b, err := json.MarshalIndent(status, "", "    ")
	if err != nil {
		panic(err) // as in mustJSON
	}
	return string(b)
}

func digestMAC(prefix, text string, n int) string {
	sum := sha256.Sum256([]byte(text))
	mac := prefix
	for _, b := range sum[:n] {
		mac += fmt.Sprintf(":%02x", b)
	}
	return mac
}
