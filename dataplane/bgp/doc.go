// Package bgp holds everything that speaks BGP-4 (RFC 4271, multiprotocol RFC 4760): the
// Speaker that announces virtual servers from a TMM, and the Router that learns them upstream
// and installs equal-cost routes in its network namespace. gobgp's types stay inside.
package bgp
