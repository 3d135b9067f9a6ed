package evidence

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/topo"
)

// BenchmarkRing measures what a ring over four interfaces costs a routed datagram, in processor time of sending,
// receiving and reading together: that says the same on a busy machine, which a rate does not. With and
// without take turns; the medians and their difference are reported.
func BenchmarkRing(b *testing.B) {
	cns, rns, sns := routed(b)
	for _, size := range []int{64, 1400} {
		b.Run(fmt.Sprintf("%d-octets", size), func(b *testing.B) {
			send := flood(b, cns, sns, size)
			var with, without []float64
			for b.Loop() {
				for range 15 {
					without = append(without, send())
					r := ringOf(b, 0, cns, rns, sns)
					with = append(with, send())
					if err := r.Close(); err != nil {
						b.Fatal(err)
					}
				}
			}
			slices.Sort(with)
			slices.Sort(without)
			off, on := without[len(without)/2], with[len(with)/2]
			b.ReportMetric(0, "ns/op") // says nothing here
			b.ReportMetric(off, "without-ns/packet")
			b.ReportMetric(on-off, "ring-ns/packet")
		})
	}
}

// flood returns a function that sends datagrams from one namespace to the other, where nobody reads them,
// and returns the processor time of this process that each has taken, in ns.
func flood(b *testing.B, from, to string, size int) func() float64 {
	b.Helper()
	var conn net.Conn
	err := topo.Do(from, func() (err error) {
		conn, err = net.Dial("udp4", "10.1.2.2:9")
		return err
	})
	if err == nil {
		err = topo.Do(to, func() error { // or each is answered by an ICMP error
			sink, err := net.ListenPacket("udp4", "10.1.2.2:9")
			if err == nil {
				b.Cleanup(func() { _ = sink.Close() })
			}
			return err
		})
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	payload := make([]byte, size)
	const packets = 20000
	return func() float64 {
		begun := processorTime(b)
		for range packets {
			if _, err := conn.Write(payload); err != nil {
				b.Fatal(err)
			}
		}
		return float64(processorTime(b)-begun) / packets
	}
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
