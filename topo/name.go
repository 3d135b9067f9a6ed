package topo

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
)

// Switch is the reserved node name of the namespace that holds a lab's bridges.
const Switch = "lan"

// maxLabName keeps namespaces' names readable and link names derivable.
const maxLabName = 15

// ValidName says whether s is a lower-case DNS label short enough for a lab.
func ValidName(s string) bool { return len(s) <= maxLabName && dnsLabel(s) }

// dnsLabel says whether s is a lower-case label of RFC 1123.
func dnsLabel(s string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (c != '-' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return s != "" && len(s) <= 63
}

// maxLinkName is IFNAMSIZ less the terminating zero.
const maxLinkName = 15

// netnsPrefix begins the names of labs' namespaces.
const netnsPrefix = "spk-"

// NetnsName is the network namespace of a node or pod of a lab, spk-LAB-NODE. As both may hold dashes, nodes of two
// labs can have one name; the lab that comes second is refused.
func NetnsName(lab, node string) string { return netnsPrefix + lab + "-" + node }

// portName names the switch end of the cable of a node's NIC. Node and NIC names hold no dot,
// so that NODE.NIC is unique; where it is longer than the kernel allows, its tail becomes a hash.
func portName(node, nic string) string {
	name := node + "." + nic
	if len(name) <= maxLinkName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	head := node[:min(len(node), 8)]
	return head + "." + hex.EncodeToString(sum[:3])
}

// PodLink names the worker end of the cable of a pod's eth0.
func PodLink(p Pod) string {
	sum := sha256.Sum256([]byte(p.Namespace + "/" + p.Name))
	return "veth" + hex.EncodeToString(sum[:])[:maxLinkName-len("veth")]
}

// NICMAC is the MAC address of a node's NIC, empty where the lab has no such NIC.
func (l *Lab) NICMAC(node, nic string) string {
	for _, w := range l.Workers {
		for _, n := range w.NICs {
			if w.Name == node && n.Name == nic {
				return nicMAC(l.Name, node, nic)
			}
		}
	}
	return ""
}

// nicMAC is the locally administered unicast address of a node's NIC, the same in every run.
func nicMAC(lab, node, nic string) string {
	sum := sha256.Sum256([]byte(lab + "/" + node + "/" + nic))
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4])
}

// AddrMAC is prefix (two octets, such as "0a:58") followed by the four octets of an IPv4
// address, or by the head of a hash of an IPv6 one, as container networks form their MACs.
func AddrMAC(prefix string, a netip.Addr) string {
	var tail [4]byte
	if a.Is4() {
		tail = a.As4()
	} else {
		sum := sha256.Sum256([]byte(a.String()))
		copy(tail[:], sum[:])
	}
	return fmt.Sprintf("%s:%02x:%02x:%02x:%02x", prefix, tail[0], tail[1], tail[2], tail[3])
}
