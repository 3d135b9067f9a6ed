package cni

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// fieldsOf are the fields that a plugin reads, beside those that every one has; a plugin that is not
// listed is not looked at.
func fieldsOf(plugin string) []string {
	return map[string][]string{
		TypeMacvlan:    {"master", "mode", "mtu", "mac", "linkInContainer", "bcqueuelen"},
		TypeHostDevice: {"device", "hwaddr", "kernelpath", "pciBusID"},
		TypeSRIOV:      sriovFields(),
	}[plugin]
}

// commonFields are those that the specification and multus know.
func commonFields() []string {
	return []string{"cniVersion", "cniVersions", "disableCheck", "name", "type", "capabilities", "ipMasq", "ipam", "dns", "args", "runtimeConfig", "prevResult"}
}

// ipamFields are those of the plugins that decide on addresses.
func ipamFields(plugin string) []string {
	return map[string][]string{
		TypeHostLocal: {"type", "routes", "subnet", "rangeStart", "rangeEnd", "gateway", "ranges", "dataDir", "resolvConf"},
		TypeStatic:    {"type", "routes", "addresses", "dns"},
	}[plugin]
}

// unknown names the fields that a plugin passes over.
func unknown(plugin string, raw map[string]json.RawMessage) []Problem {
	own := fieldsOf(plugin)
	if own == nil {
		return nil
	}
	out := strange(raw, append(commonFields(), own...), plugin)
	var ipam map[string]json.RawMessage
	if json.Unmarshal(raw["ipam"], &ipam) == nil {
		var kind string
		if json.Unmarshal(ipam["type"], &kind) == nil && ipamFields(kind) != nil {
			out = append(out, strange(ipam, ipamFields(kind), kind)...)
		}
	}
	return out
}

func strange(raw map[string]json.RawMessage, known []string, plugin string) []Problem {
	var out []Problem
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		switch {
		case slices.Contains(known, key), key == "vlan": // of which more is said elsewhere
		default:
			out = append(out, Problem{Text: key, Warning: true, Message: fmt.Sprintf("unknown field %q is ignored by %s%s", key, plugin, meant(key, known))})
		}
	}
	return out
}

// meant guesses which field was to be written.
func meant(key string, known []string) string {
	fold := func(s string) string {
		return strings.TrimRight(strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s)), "s")
	}
	for _, k := range known {
		if fold(k) == fold(key) {
			return "; did you mean " + k + "?"
		}
	}
	for _, k := range known {
		if near(fold(k), fold(key)) {
			return "; did you mean " + k + "?"
		}
	}
	return ""
}

// near says whether one letter more, less or another one makes a of b.
func near(a, b string) bool {
	if len(a) < len(b) {
		a, b = b, a
	}
	if len(a) < 4 || len(a)-len(b) > 1 {
		return false
	}
	i := 0
	for i < len(b) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i == len(a) || a[i+1:] == b[i+1:]
	}
	return a[i+1:] == b[i:]
}
