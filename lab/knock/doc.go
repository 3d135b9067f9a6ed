// Package knock asks whether a server is reached by a given next hop: it sends one SYN there, or one empty datagram,
// past the kernel's choice of routes, and tells what came back. No connection comes of it: what is accepted is reset.
package knock
