// Package bpf holds the eBPF programs of the benchmarks: the wrapper that feeds a program under
// test with packets, the yardsticks that it is compared with, and the sink that counts frames.
package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -output-stem bench -type bench_template -type bench_flow4 -type bench_flow6 -type bench_key4 -type bench_key6 -type bench_value4 -type bench_value6 -type bench_limit Bench bench.bpf.c -- -mcpu=v3 -O2 -Wall -Wextra -Werror -Wno-unused-parameter -idirafter /usr/include/x86_64-linux-gnu

// The generated types by the names that Go code uses. Addresses and ports are in network byte
// order, as on the wire.
type (
	Template = BenchBenchTemplate
	Flow4    = BenchBenchFlow4
	Flow6    = BenchBenchFlow6
	Key4     = BenchBenchKey4
	Key6     = BenchBenchKey6
	Value4   = BenchBenchValue4
	Value6   = BenchBenchValue6
)

// MaxFlows is how many flows the wrapper can go through.
const MaxFlows = BenchBenchLimitBENCH_MAX_FLOWS

// FrameBytes is how much of a frame the wrapper restores.
const FrameBytes = BenchBenchLimitBENCH_FRAME
