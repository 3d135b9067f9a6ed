package interop

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
)

// iperfReport is what these tests read of iperf3's JSON.
type iperfReport struct {
	Error string
	Start struct {
		Connected []json.RawMessage
	}
	End struct {
		SumReceived struct{ Bytes int64 } `json:"sum_received"`
		Sum         struct {
			Packets     int64
			LostPackets int64 `json:"lost_packets"`
		}
	}
}

// testIperf sends streams with iperf3 through virtual servers from the client, and through the
// egress from a pod.
func testIperf(t *testing.T, n *network) {
	const bytes, datagrams = 32 << 20, 256 << 10
	tests := []struct {
		name    string
		args    string
		streams int
		bytes   int64
		udp     bool
	}{
		{"TCP", "", 1, bytes, false},
		{"TCP reverse", "-R", 1, bytes, false},
		{"TCP 8 streams", "-P 8", 8, bytes, false},
		{"TCP 8 streams reverse", "-P 8 -R", 8, bytes, false},
		{"UDP", "-u -b 30M -l 1200", 1, datagrams, true},
		{"UDP reverse", "-u -b 30M -l 1200 -R", 1, datagrams, true},
	}
	n.each(t, func(t *testing.T, w way) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				drops := n.drops(t)
				r := w.iperf(t, append(strings.Fields(tt.args), "-n", strconv.FormatInt(tt.bytes, 10)))
				if len(r.Start.Connected) != tt.streams {
					t.Errorf("%d streams, want %d", len(r.Start.Connected), tt.streams)
				}
				// A socket may overflow on a busy machine, so the TMM's own losses count;
				// TestRestart counts datagrams one by one.
				if p := r.End.Sum; tt.udp && (p.LostPackets >= p.Packets || n.drops(t) != drops) {
					t.Errorf("%d of %d datagrams lost, %d by the TMM", p.LostPackets, p.Packets, n.drops(t)-drops)
				}
				// The test ends when the sender has handed all to its sockets, which hold much.
				if !tt.udp && r.End.SumReceived.Bytes < tt.bytes/32 {
					t.Errorf("%d bytes received", r.End.SumReceived.Bytes)
				}
			})
		}
	})
}

// iperf runs one server and one client.
func (w way) iperf(t *testing.T, args []string) iperfReport {
	t.Helper()
	const port = "5201"
	s := w.at.serve(t, "iperf3", "-s", "-1", "--forceflush", "-B", w.listen, "-p", port)
	s.prints(t, "Server listening")
	args = append(args, "-J", "-c", w.to, "-B", w.source, "-p", port)
	out := w.from.output(t, "iperf3", args...)
	var r iperfReport
	must(t, json.Unmarshal([]byte(out), &r))
	if r.Error != "" {
		t.Fatal(r.Error)
	}
	s.wait(t)
	return r
}
