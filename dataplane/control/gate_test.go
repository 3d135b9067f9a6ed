package control

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane"
)

// TestEndpointConditions: what an endpoint's conditions make of the only endpoint of a Service. A
// missing condition says what the EndpointSlice API says that it means.
func TestEndpointConditions(t *testing.T) {
	const gone, drains, ready = "", "drains", "ready"
	for _, tt := range []struct{ conditions, want string }{
		{"", ready},
		{"terminating: false", ready},
		{"serving: false", ready}, // ready rules
		{"ready: true", ready},
		{"ready: true, serving: true, terminating: false", ready},
		{"ready: true, serving: true, terminating: true", ready}, // publishNotReadyAddresses
		{"ready: true, serving: false, terminating: true", ready},
		{"ready: false", gone},
		{"ready: false, serving: false, terminating: false", gone},
		{"ready: false, serving: true", gone}, // not on its way out: somebody took it out by hand
		{"ready: false, serving: true, terminating: false", gone},
		{"ready: false, serving: true, terminating: true", drains},
		{"ready: false, serving: false, terminating: true", gone},
		{"ready: false, terminating: true", gone}, // serving as ready says
		{"ready: false, terminating: false", gone},
	} {
		t.Run(tt.conditions, func(t *testing.T) {
			d := Compute(resources(t, "", onlyEndpoint(tt.conditions)...), twoInterfaces())
			vs := server(d, "tcp 192.0.2.10:80")
			got := gone
			if len(vs.Members) > 0 {
				got = map[bool]string{true: drains, false: ready}[vs.Members[0].Draining]
			}
			if got != tt.want {
				t.Errorf("it is %q, want %q: %+v", got, tt.want, vs.Members)
			}
			if announced := slices.Contains(announced(d), "192.0.2.10/32"); announced != (tt.want == ready) {
				t.Errorf("announced: %t", announced)
			}
			if no := slices.ContainsFunc(d.Conditions, func(c Condition) bool { return c.Reason == ReasonNoEndpoints }); no == (tt.want == ready) {
				t.Errorf("says that there are no endpoints: %t", no)
			}
		})
	}
}

// onlyEndpoint replaces the IPv4 endpoints of the example by one with these conditions.
func onlyEndpoint(conditions string) []string {
	return []string{
		notReady, fmt.Sprintf("- {addresses: [10.131.1.100], conditions: {%s}}\n", conditions),
		"- {addresses: [10.131.1.102], conditions: {ready: false, serving: true, terminating: true}}\n", "",
	}
}

// server is a wanted virtual server, the zero one where there is none.
func server(d Desired, key string) dataplane.VirtualServer {
	for _, vs := range d.State.VirtualServers {
		if keyOf(&vs).String() == key {
			return vs
		}
	}
	return dataplane.VirtualServer{}
}

func announced(d Desired) []string {
	var out []string
	for _, a := range d.Announce {
		out = append(out, a.Prefix.String())
	}
	return out
}

// behind is a Service with a virtual server on a port of 192.0.2.10 and endpoints of its own.
func behind(name, destinationPort, endpoints string) string {
	return strings.NewReplacer("NAME", name, "PORT", destinationPort, "ENDPOINTS", endpoints).Replace(`
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: apps}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME-v4, namespace: apps, labels: {kubernetes.io/service-name: NAME}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: ENDPOINTS
---
apiVersion: ingresstcp.k8s.f5net.com/v1
kind: F5SPKIngressTCP
metadata: {name: NAME, namespace: apps}
service: {name: NAME, port: 80}
spec: {destinationAddress: 192.0.2.10, destinationPort: PORT}
---
`)
}

// TestSharedAddress: an address is announced while any of the virtual servers on it has a ready
// endpoint, whatever their ports.
func TestSharedAddress(t *testing.T) {
	const (
		vip     = "192.0.2.10/32"
		here    = "[{addresses: [10.131.1.110]}]"
		leaving = "[{addresses: [10.131.1.110], conditions: {ready: false, serving: true, terminating: true}}]"
		nobody  = "[]"
	)
	for _, tt := range []struct {
		name, web, more string
		announced       bool
		held            []string // in the state, of the address
	}{
		{"all have endpoints", "ready: true", behind("api", "81", here), true, []string{"tcp 192.0.2.10:80", "tcp 192.0.2.10:81"}},
		{"the first has none", "ready: false", behind("api", "81", here), true, []string{"tcp 192.0.2.10:81"}},
		{"the other has none", "ready: true", behind("api", "81", nobody), true, []string{"tcp 192.0.2.10:80"}},
		{"the other drains", "ready: false", behind("api", "81", leaving), false, []string{"tcp 192.0.2.10:81"}},
		{"none has any", "ready: false", behind("api", "81", nobody), false, nil},
		{"one of three", "ready: false", behind("api", "81", nobody) + behind("adm", "82", here), true, []string{"tcp 192.0.2.10:82"}},
		{"every port, and one that has none", "ready: false", behind("any", "0", here), true, []string{"tcp 192.0.2.10:0"}},
		{"every port has none, and one that has", "ready: true", behind("any", "0", nobody), true, []string{"tcp 192.0.2.10:80"}},
		{"every port alone, drained", "ready: false", behind("any", "0", leaving), false, []string{"tcp 192.0.2.10:0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := Compute(resources(t, tt.more, onlyEndpoint(tt.web)...), twoInterfaces())
			if got := slices.Contains(announced(d), vip); got != tt.announced {
				t.Errorf("announced %t: %v", got, announced(d))
			}
			var held []string
			for _, vs := range d.State.VirtualServers {
				if key := keyOf(&vs); key.prefix().String() == vip {
					held = append(held, key.String())
				}
			}
			slices.Sort(held)
			if diff := cmp.Diff(tt.held, held); diff != "" {
				t.Errorf("virtual servers (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReadyInAnySlice: an endpoint that two slices name is ready when one of them says so, in whichever
// order they come.
func TestReadyInAnySlice(t *testing.T) {
	slice := func(name, conditions string) string {
		return fmt.Sprintf("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %s, namespace: apps, labels: {kubernetes.io/service-name: web}}\n"+
			"addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.131.1.100], conditions: {%s}}]\n---\n", name, conditions)
	}
	going := "ready: false, serving: true, terminating: true"
	for _, more := range []string{
		slice("a", "ready: true") + slice("z", going),
		slice("a", going) + slice("z", "ready: true"),
	} {
		d := Compute(resources(t, more, onlyEndpoint(going)...), twoInterfaces())
		if vs := server(d, "tcp 192.0.2.10:80"); len(vs.Members) != 1 || vs.Members[0].Draining {
			t.Errorf("members %+v", vs.Members)
		}
	}
}
