// Package interop holds no code but tests: programs that everybody has (nginx, curl, iperf3,
// ping, traceroute, tracepath, wrk) and the kernel's own stacks, on a network of
// namespaces with the dataplane in its middle.
package interop
