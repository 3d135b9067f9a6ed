// Package forward is a sim of an OVN node's datapath: what ovn-controller and Open vSwitch do
// with the logical routers' routes on one node. An eBPF program at tcx ingress of the
// integration bridge and of the uplink obeys the northbound rows and no kernel route.
//
// How it chooses among the gateways of a pod, and what it remembers of connections, is a Profile: spk
// does what the SPK documents say of OVN, ovn-23.03 and ovn-25.03 what those releases were seen to do.
// Between nodes packets travel plainly where OVN uses Geneve.
//
// A packet whose hop limit is used up is answered by the router where that is so: the program hands it
// to the agent, as Open vSwitch does to ovn-controller. Every protocol of IP is forwarded, with options
// and extension headers, and ICMP errors go to whom they are about. Fragments go the way of the
// datagram's first one; where OVN's conntrack puts datagrams together, here a fragment that comes
// before the first is dropped.
package forward
