// Package ovnsim simulates the parts of OVN and OVN-Kubernetes that carry the traffic of a
// service proxy, so that a lab needs neither. Everything below it is a simulation, except that
// the northbound database speaks the real protocol to real clients:
//
//   - ovsdb is an OVSDB server (RFC 7047) with the OVN_Northbound schema; Debian's ovn-nbctl
//     talks to it.
//   - nbdb are the Go types of that schema.
//   - exgw writes what OVN-Kubernetes' controllers write: the logical topology and the
//     external-gateway routes.
//   - forward is a node's datapath: a BPF program that obeys those routes and no kernel route, and
//     speaks BFD with the gateways.
package ovnsim
