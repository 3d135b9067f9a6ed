// Package evidence looks at packets: it captures on many interfaces of many network namespaces
// at once, puts what was seen in one order by the kernel's time stamps, follows single packets
// from hop to hop through address translations, and writes everything as one pcapng file.
//
// Each interface sees a packet as the kernel's packet taps do: incoming before any eBPF
// program at tcx ingress has touched it, outgoing after everything.
package evidence
