// Package exgw is a sim of OVN-Kubernetes' controllers, as far as a lab needs them: it writes
// the logical topology of nodes and pods, and for pods whose namespace leaves by external
// gateways the policy routes by source, into a northbound database. It does so only through an
// OVSDB client, so it works on any server.
//
// Sources of gateways are annotated pods (k8s.ovn.org/routing-namespaces and routing-network),
// namespaces (k8s.ovn.org/routing-external-gws) and AdminPolicyBasedExternalRoutes. Load balancers, ACLs
// and other NAT than the gateways need are not written.
//
// Its own rows are told from those of others by their shape: see externalRoute for routes, rerouteOf
// and ownSet for local gateway mode, newTransactor for BFD.
package exgw
