// Package bpf holds the eBPF program that sees what the kernel drops: its C source, the compiled
// object and the Go types that are generated from the C.
package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -output-stem drops -type drop Drops drops.bpf.c -- -D__TARGET_ARCH_x86 -mcpu=v3 -O2 -Wall -Wextra -Werror -Wno-unused-parameter -idirafter /usr/include/x86_64-linux-gnu
