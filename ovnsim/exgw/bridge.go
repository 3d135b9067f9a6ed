package exgw

import (
	"encoding/json"
	"fmt"
	"net/netip"
)

// annotationL3Gateway is where OVN-Kubernetes writes how a node is connected to the outside.
const annotationL3Gateway = "k8s.ovn.org/l3-gateway-config"

// secondBridge is a node's bridge for external gateways alone (OVN-Kubernetes'
// --exgw-interface).
type secondBridge struct {
	Interface string
	MAC       string
	Addresses []netip.Prefix
}

// readSecondBridge reads a node's annotation; nil is a node with one bridge.
func readSecondBridge(text string) (*secondBridge, error) {
	if text == "" {
		return nil, nil
	}
	var networks map[string]struct {
		Interface string         `json:"exgw-interface-id"`
		MAC       string         `json:"exgw-mac-address"`
		Addresses []netip.Prefix `json:"exgw-ip-addresses"`
	}
	if err := json.Unmarshal([]byte(text), &networks); err != nil {
		return nil, fmt.Errorf("decode %s: %w", annotationL3Gateway, err)
	}
	own := networks["default"]
	if own.Interface == "" {
		return nil, nil
	}
	if len(own.Addresses) == 0 {
		return nil, fmt.Errorf("decode %s: exgw-interface-id without exgw-ip-addresses", annotationL3Gateway)
	}
	b := secondBridge(own)
	if b.MAC == "" {
		b.MAC = macOf(b.Addresses)
	}
	return &b, nil
}

// secondSwitch connects the gateway router to the network of the second bridge.
func (n node) secondSwitch() Switch {
	peer := routerPort("exgw-etor-GR_"+n.name, n.outPort())
	return Switch{Name: "exgw-ext_" + n.name, Ports: []SwitchPort{
		{Name: n.second.Interface, Type: "localnet", Addresses: []string{"unknown"}, Options: map[string]string{"network_name": "exgwphysnet"}},
		peer,
	}}
}
