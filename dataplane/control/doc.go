// Package control turns resources into what one TMM does: a pure function computes everything
// that should hold, and a loop brings the eBPF program, the kernel and the BGP speaker there,
// in the order that never lets a virtual server attract traffic it cannot serve.
package control
