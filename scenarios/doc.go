// Package scenarios is what must hold in a lab, as Ginkgo specs: each sends real packets
// through the lab it is given, looks at what the interfaces saw, and attaches figures and
// evidence to its verdict. Scenarios choose what they work on by what it is (a virtual server
// over TCP with automap, say), not by name, and put back whatever they change.
package scenarios
