package lab

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/hil"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/topo"
)

// inventorySuffix is how the names of shipped inventories end.
const inventorySuffix = ".yml"

// Inventories lists the inventories of SR-IOV cards that ship with the binary, sorted.
func Inventories() ([]string, error) {
	files, err := fs.Glob(hil.FS, "*"+inventorySuffix)
	if err != nil {
		return nil, fmt.Errorf("list shipped inventories: %w", err)
	}
	for i := range files {
		files[i] = strings.TrimSuffix(files[i], inventorySuffix)
	}
	return files, nil
}

// LoadInventory reads the inventory that arg means: a file, or else one that ships with the binary. Mistakes
// are InputErrors of topo.
func LoadInventory(arg string) (*topo.Hardware, error) {
	if st, err := os.Stat(arg); err != nil || st.IsDir() {
		if data, err := fs.ReadFile(hil.FS, arg+inventorySuffix); err == nil {
			return topo.ParseHardware("shipped:hil/"+arg+inventorySuffix, data)
		}
	}
	return topo.LoadHardware(arg)
}

// HasPolicies says whether the lab has SriovNetworkNodePolicies, which make VFs of the cards that it uses.
func (s *Source) HasPolicies() bool {
	return slices.ContainsFunc(s.Objects, func(o api.Object) bool { return o.Kind == api.KindSriovPolicy })
}

// needCards says, of a lab without cards, that its pods are to have VFs of its policies, which make them of
// cards alone.
func needCards(src *Source, res api.Resources) error {
	if src.Hardware != nil {
		return nil
	}
	made := map[string]bool{}
	for i := range res.SriovPolicies {
		made[api.ResourcePrefix+"/"+res.SriovPolicies[i].Spec.ResourceName] = true
	}
	for _, w := range src.Spec.Workers {
		for _, p := range w.Pools {
			delete(made, p.Resource)
		}
	}
	var pods []string
	for i := range res.Pods {
		if slices.ContainsFunc(resources(&res.Pods[i], &res), func(r string) bool { return made[r] }) {
			pods = append(pods, res.Pods[i].Name)
		}
	}
	if len(pods) == 0 {
		return nil
	}
	return &topo.InputError{File: src.File, Message: fmt.Sprintf("%s get VFs of SR-IOV cards, by the lab's SriovNetworkNodePolicies, and no card is named; "+
		"write --backend hil -i INVENTORY: hil/sample.yml is one to copy, `spklab doctor` says which cards this machine has; "+
		"without a card the lab runs in a virtual machine: spklab vm -- test --label-filter sriov", strings.Join(pods, ", "))}
}

// resources are those whose devices a pod's networks give it.
func resources(p *corev1.Pod, res *api.Resources) []string {
	selections, err := kubesim.ParseSelections(p.Annotations[api.AnnotationNetworks], p.Namespace)
	if err != nil {
		return nil // said where the pod is attached
	}
	var out []string
	for _, s := range selections {
		if nad := res.NAD(s.Namespace + "/" + s.Name); nad != nil {
			out = append(out, kubesim.ResourceName(nad))
		}
	}
	return out
}
