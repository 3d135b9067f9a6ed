// Package exgw is a sim of OVN-Kubernetes' controllers, as far as a lab needs them: it writes
// the logical topology of nodes and pods, and for pods whose namespace leaves by external
// gateways the policy routes by source, into a northbound database. It does so only through an
// OVSDB client, so it works on any server.
//
// Sources of gateways are annotated pods (k8s.ovn.org/routing-namespaces and routing-network)
// and namespaces (k8s.ovn.org/routing-external-gws). Load balancers, NAT, ACLs and policies are not
// written.
package exgw
