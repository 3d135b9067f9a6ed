package topo

import "net/netip"

// Lab is a whole lab file (NAME.spklab.yml) after strict parsing and validation.
type Lab struct {
	Version  int       `yaml:"spklab" json:"spklab"` // format version, 1
	Name     string    `yaml:"name" json:"name"`     // lower-case DNS label, at most 15 characters
	Networks []Network `yaml:"networks" json:"networks"`
	Fabric   Fabric    `yaml:"fabric" json:"fabric"`
	Workers  []Worker  `yaml:"workers" json:"workers"`
	Routers  []Router  `yaml:"routers,omitempty" json:"routers,omitempty"`
	Clients  []Client  `yaml:"clients,omitempty" json:"clients,omitempty"`
	// Manifests are globs of Kubernetes YAML, relative to the lab file; ../ leads above its directory.
	Manifests []string `yaml:"manifests,omitempty" json:"manifests,omitempty"`
	// Values is the Helm values file of the SPK controller and TMM, relative to the lab file.
	Values string `yaml:"values,omitempty" json:"values,omitempty"`
}

// Network is one L2 segment: a bridge in the lab's switch namespace.
type Network struct {
	Name    string         `yaml:"name" json:"name"`
	Subnets []netip.Prefix `yaml:"subnets,omitempty" json:"subnets,omitempty"`
	MTU     int            `yaml:"mtu,omitempty" json:"mtu,omitempty"` // bytes, 0 = 1500
}

// Fabric is the cluster network.
type Fabric struct {
	Driver string `yaml:"driver" json:"driver"` // ovn | flannel-hostgw
	// Backend of the driver ovn: sim, the default, simulates it; real runs OVN's own daemons and Open
	// vSwitch; real-on-sim runs those on the simulation's northbound database.
	Backend string `yaml:"backend,omitempty" json:"backend,omitempty"`
	// Release of OVN that the backends real and real-on-sim run, such as 25.03. Without it, the one that
	// is installed; another one is downloaded once.
	Release string `yaml:"release,omitempty" json:"release,omitempty"`
	// Profile of the simulated OVN forwarding: spk, the default, does what the SPK documents say
	// (round robin); ovn-23.03 and ovn-25.03 do what those releases were seen to do.
	Profile string `yaml:"profile,omitempty" json:"profile,omitempty"`
	// UDPHash has the simulation choose the gateway of UDP by a hash: of addresses and ports (ports), or
	// of addresses alone (addresses). Without it the profile rules.
	UDPHash string `yaml:"udpHash,omitempty" json:"udpHash,omitempty"`
	// GatewayMode of OVN: shared, the default, or local: pods leave by the node, but for those that
	// have external gateways.
	GatewayMode string `yaml:"gatewayMode,omitempty" json:"gatewayMode,omitempty"`
	// MaxRevalidator is how long Open vSwitch may forward by cached flows that have become wrong, in milliseconds
	// (other_config:max-revalidator of ovs-vswitchd.conf.db(5)), of the backends real and real-on-sim; 0 = its own, 500.
	MaxRevalidator uint32         `yaml:"maxRevalidator,omitempty" json:"maxRevalidator,omitempty"`
	ClusterCIDRs   []netip.Prefix `yaml:"clusterCIDRs" json:"clusterCIDRs"`
	// Network carries the nodes' own addresses and the traffic between nodes.
	Network string `yaml:"network" json:"network"`
	// MTU of the pods' interfaces in bytes, at most that of Network; 0 = 1500.
	MTU int `yaml:"mtu,omitempty" json:"mtu,omitempty"`
}

// NIC is a network card of a node.
type NIC struct {
	Name      string       `yaml:"name" json:"name"`
	Network   string       `yaml:"network" json:"network"`
	Addresses []netip.Addr `yaml:"addresses,omitempty" json:"addresses,omitempty"` // prefix length comes from the network
	// VLANs are the networks that are tagged on the cable of a worker's NIC, beside Network, which is not.
	VLANs []CableVLAN `yaml:"vlans,omitempty" json:"vlans,omitempty"`
}

// Worker is a Kubernetes node.
type Worker struct {
	Name     string         `yaml:"name" json:"name"`
	PodCIDRs []netip.Prefix `yaml:"podCIDRs" json:"podCIDRs"`
	NICs     []NIC          `yaml:"nics" json:"nics"`
	// Pools are the virtual functions of this machine's network cards that the worker has for its pods.
	Pools []Pool `yaml:"pools,omitempty" json:"pools,omitempty"`
}

// Pool is what an SR-IOV device plugin offers by one name.
type Pool struct {
	// Resource is PREFIX/NAME, as NetworkAttachmentDefinitions name it in k8s.v1.cni.cncf.io/resourceName.
	Resource string   `yaml:"resource" json:"resource"`
	VFs      []string `yaml:"vfs" json:"vfs"` // PCI addresses of virtual functions, such as 0000:01:10.0
}

// Router is an upstream router that learns virtual servers by BGP.
type Router struct {
	Name      string      `yaml:"name" json:"name"`
	Kind      string      `yaml:"kind,omitempty" json:"kind,omitempty"` // embedded (gobgp, the default), frr or bird (Debian's)
	ASN       uint32      `yaml:"asn" json:"asn"`
	NICs      []NIC       `yaml:"nics" json:"nics"`
	Neighbors []PeerRange `yaml:"neighbors,omitempty" json:"neighbors,omitempty"`
	// Refuse are prefixes that the router's import filter rejects, with all that lies within them.
	Refuse []netip.Prefix `yaml:"refuse,omitempty" json:"refuse,omitempty"`
	Routes []Route        `yaml:"routes,omitempty" json:"routes,omitempty"`
}

// PeerRange accepts BGP sessions from any address of Range that speaks for ASN.
type PeerRange struct {
	Range netip.Prefix `yaml:"range" json:"range"`
	ASN   uint32       `yaml:"asn" json:"asn"` // the router's own: internal BGP
	// HoldTime of the sessions in seconds, 3 to 65535; 0 = 9.
	HoldTime uint32 `yaml:"holdTime,omitempty" json:"holdTime,omitempty"`
	// Keepalive is the time between keepalive messages in seconds, less than HoldTime; 0 = a third of it.
	Keepalive uint32 `yaml:"keepalive,omitempty" json:"keepalive,omitempty"`
	// Password signs the sessions (TCP MD5, RFC 2385): 1 to 80 letters, digits and signs.
	Password string `yaml:"password,omitempty" json:"password,omitempty"`
	// MaxPrefix is how many prefixes of a family a neighbor may announce; with more the session is ended (RFC
	// 4486, subcode 1). 0 = any number.
	MaxPrefix uint32 `yaml:"maxPrefix,omitempty" json:"maxPrefix,omitempty"`
	// BFD watches the sessions with Bidirectional Forwarding Detection (RFC 5881), as `fallover: true` has the TMMs do.
	BFD bool `yaml:"bfd,omitempty" json:"bfd,omitempty"`
	// BFDInterval is the time between BFD packets in milliseconds, 50 to 60000; 0 = 300. The slower end's counts.
	BFDInterval uint16 `yaml:"bfdInterval,omitempty" json:"bfdInterval,omitempty"`
	// BFDMultiplier is how many BFD packets in a row do not come when a session is down, 2 to 255; 0 = 3.
	BFDMultiplier uint8 `yaml:"bfdMultiplier,omitempty" json:"bfdMultiplier,omitempty"`
}

// Route is a static route.
type Route struct {
	To  netip.Prefix `yaml:"to" json:"to"`
	Via netip.Addr   `yaml:"via" json:"via"`
}

// Client is a host outside the cluster.
type Client struct {
	Name   string  `yaml:"name" json:"name"`
	NICs   []NIC   `yaml:"nics" json:"nics"`
	Routes []Route `yaml:"routes,omitempty" json:"routes,omitempty"`
}
