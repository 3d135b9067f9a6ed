// Package state tells what a lab is at one moment and how two moments differ: eBPF maps decoded by
// BTF, counters, RIBs, routes, rules, neighbours, interfaces, conntrack, northbound rows, flows of
// Open vSwitch, pods and processes. Every value is one line of text under a key, so that a
// difference is one entry that came, went or changed. What changes by itself (ages, timestamps,
// identifiers of the kernel) is left out; counters are compared as what they gained.
package state
