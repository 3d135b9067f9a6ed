// Package forward is a sim of an OVN node's datapath: what ovn-controller and Open vSwitch do
// with the logical routers' routes on one node. An eBPF program at tcx ingress of the
// integration bridge and of the uplink obeys the northbound rows and no kernel route.
//
// The profile spk does what the SPK documents say of OVN: for each new connection the next
// gateway in turn, connection tracking keeps a connection with its gateway, and the replies of a
// connection that came in by one gateway go back by it (ecmp_symmetric_reply). OVN 23.03 and
// 25.03 themselves choose by a hash. Between nodes packets travel plainly where OVN uses Geneve.
// Fragments, IP options and ICMP errors are dropped, counted.
package forward
