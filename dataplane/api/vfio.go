package api

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// vfioPrefix begins the names of the variables by which TMM is told the SR-IOV resources of its interfaces,
// OPENSHIFT_VFIO_RESOURCE_1 for 1.1.
const vfioPrefix = "OPENSHIFT_VFIO_RESOURCE_"

// VFIOResources are the resources of tmm.customEnvVars by the number of their interface, without prefixes.
func (v *Values) VFIOResources() map[int]string {
	out := map[int]string{}
	if v == nil {
		return out
	}
	for _, e := range v.TMM.CustomEnvVars {
		number, ok := strings.CutPrefix(e.Name, vfioPrefix)
		if n, err := strconv.Atoi(number); ok && err == nil && n >= 1 {
			out[n] = path.Base(e.Value)
		}
	}
	return out
}

// CheckVFIO holds the order of the variables against that of tmm.cniNetworks: TMM takes the devices of the Nth
// resource for its Nth interface, whatever network they are on. Networks without a resource are not looked at.
func CheckVFIO(r *Resources) []Finding {
	told := r.Values.VFIOResources()
	if len(told) == 0 {
		return nil
	}
	networks := r.Values.Networks()
	resources := make([]string, len(networks))
	for i, name := range networks {
		if nad := r.NAD(name); nad != nil && nad.Annotations[AnnotationResourceName] != "" {
			resources[i] = path.Base(nad.Annotations[AnnotationResourceName])
		}
	}
	c := &checker{r: r}
	for i, want := range resources {
		if want != "" && told[i+1] != want {
			c.vfio(networks, resources, told, i)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(told)) {
		if n > len(networks) {
			c.add(SeverityWarning, valuesObject, "write one variable for each network", "%s%d has no network: tmm.cniNetworks holds %d", vfioPrefix, n, len(networks))
		}
	}
	return c.findings
}

// vfio tells of one interface whose variable names another resource than its network has.
func (c *checker) vfio(networks, resources []string, told map[int]string, i int) {
	variable := fmt.Sprintf("%s%d", vfioPrefix, i+1)
	hint := fmt.Sprintf("write %s: %s", variable, resources[i])
	got, ok := told[i+1]
	if !ok {
		c.add(SeverityError, valuesObject, hint, "%s is missing: interface 1.%d is %s, of resource %s", variable, i+1, networks[i], resources[i])
		return
	}
	for j, other := range resources {
		if j == i || other != got {
			continue
		}
		if told[j+1] != resources[i] {
			break
		}
		if j > i { // told once for both
			c.add(SeverityError, valuesObject, fmt.Sprintf("%s, and %s%d: %s", hint, vfioPrefix, j+1, other),
				"1.%d and 1.%d are swapped: tmm.cniNetworks has %s (resource %s) as 1.%d and %s (resource %s) as 1.%d, and %s is %s, %s%d is %s",
				i+1, j+1, networks[i], resources[i], i+1, networks[j], other, j+1, variable, got, vfioPrefix, j+1, told[j+1])
		}
		return
	}
	c.add(SeverityError, valuesObject, hint, "%s is %s, and interface 1.%d is %s, of resource %s", variable, got, i+1, networks[i], resources[i])
}
