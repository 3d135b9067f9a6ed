// Package router runs routers of other makers, FRR's and BIRD's own daemons, as the upstream routers
// of a lab: it renders their configuration, starts them in the calling process's network namespace with
// private sockets, asks them for their sessions and routes, and tells what happens as events. What a
// router says of itself is the same document for every kind ([bgp.RouterState]).
package router
