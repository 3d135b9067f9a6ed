package dataplane

import (
	"net/netip"
	"testing"

	"github.com/spklab/spklab/dataplane/bpf"
)

// TestFlushMatching: what is selected ends in both directions, half-open or established, and is
// counted as ended; the rest goes on.
func TestFlushMatching(t *testing.T) {
	tests := []struct {
		name  string
		match Match
		want  int
	}{
		{"all", Match{}, 6},
		{"protocol", Match{Protocol: UDP}, 1},
		{"client", Match{Client: netip.MustParsePrefix("203.0.113.10/32")}, 3},
		{"VIP", Match{VIP: netip.MustParsePrefix("192.0.2.10/31")}, 2},
		{"port of a VIP", Match{VIP: netip.MustParsePrefix("192.0.2.0/24"), Port: 5300}, 1},
		{"endpoint", Match{Endpoint: ap("10.131.1.100:8080")}, 2},
		{"every port of an endpoint", Match{Endpoint: ap("10.131.1.100:0")}, 3},
		{"host beyond the egress", Match{Endpoint: ap("203.0.113.10:443")}, 1},
		{"virtual server", Match{VirtualServer: "spk-apps/web"}, 2},
		{"egress", Match{Egress: "spk-apps/egress"}, 2},
		{"both", Match{Egress: "spk-apps/egress", VirtualServer: "spk-apps/web"}, 0},
		{"gateway by MAC address", Match{Gateway: macRouter}, 4},
		{"gateway by IP address", Match{Gateway: "10.144.100.11", Protocol: UDP}, 1},
		{"gateway of nothing", Match{Gateway: "02:00:00:00:09:09"}, 0},
	}
	r := newRig(t, labState())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			begin(t, r)
			ended := r.ended(t)
			var n int
			r.ns.do(t, func() error {
				var err error
				n, err = r.d.FlushMatching(tt.match)
				return err
			})
			if n != tt.want || r.entries(t) != 12-2*tt.want {
				t.Errorf("%d ended, want %d; %d entries left", n, tt.want, r.entries(t))
			}
			_, err := r.d.Flush(func(Conn) bool { return true })
			must(t, err)
			if got := r.ended(t) - ended; got != 2 || r.entries(t) != 0 {
				t.Errorf("%d counted as ended, %d entries left after all", got, r.entries(t))
			}
		})
	}
	_, err := r.d.FlushMatching(Match{Gateway: "gw"})
	if err == nil {
		t.Error("a gateway that is no address")
	}
}

// begin starts six flows, two of which are established. Two more have no next hop yet for their
// answers.
func begin(t *testing.T, r *rig) {
	t.Helper()
	for _, p := range []packet{
		fromClient(TCP, "203.0.113.10:40001", "192.0.2.11:80", "S"),
		fromClient(TCP, "203.0.113.10:40001", "192.0.2.11:80", "A"),
		fromClient(TCP, "203.0.113.10:40002", "192.0.2.10:80", "S"),
		fromClient(TCP, "[2001:db8:113::10]:40001", "[2001:db8:2::10]:80", "S"),
		fromClient(UDP, "203.0.113.10:40003", "192.0.2.13:5300", ""),
	} {
		r.forwarded(t, p.dst, bpf.External, p)
	}
	for _, p := range []packet{
		fromPod(UDP, "10.131.1.100:5300", "203.0.113.10:40003", ""),
		fromPod(TCP, "10.131.1.100:8080", "203.0.113.10:40001", "SA"),
		fromPod(TCP, "10.131.1.100:9", "203.0.113.10:443", "S"),
		fromPod(TCP, "[fd01:0:0:1::100]:9", "[2001:db8:113::10]:443", "S"),
	} {
		r.forwarded(t, p.src, bpf.Internal, p)
	}
}

// ended counts the connections that have ended, of all owners.
func (r *rig) ended(t *testing.T) (n uint64) {
	t.Helper()
	for i := range r.d.loads {
		n += r.d.loads[i].Ended
	}
	return n
}
