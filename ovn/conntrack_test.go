package ovn

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dump is what ovs-appctl 3.1 prints, with entries of OVN and others.
const dump = `tcp,orig=(src=203.0.113.10,dst=10.131.1.100,sport=60980,dport=8080),reply=(src=10.131.1.100,dst=203.0.113.10,sport=8080,dport=60980),zone=9,mark=131072,labels=0x2b995fd5b8600000000,protoinfo=(state=TIME_WAIT)
udp,orig=(src=2001:db8:113::10,dst=fd01:0:0:1::100,sport=47062,dport=5300),reply=(src=fd01:0:0:1::100,dst=2001:db8:113::10,sport=5300,dport=47062),zone=4,mark=65536,labels=0x2ec59125e0900000000
icmp,orig=(src=203.0.113.10,dst=10.131.1.100,id=7,type=8,code=0),reply=(src=10.131.1.100,dst=203.0.113.10,id=7,type=0,code=0),zone=9,mark=131072,labels=0x2b995fd5b8600000000
tcp,orig=(src=10.144.100.11,dst=10.144.100.17,sport=1,dport=2),reply=(src=10.144.100.17,dst=10.144.100.11,sport=2,dport=1),zone=64000,mark=2,protoinfo=(state=ESTABLISHED)
tcp,orig=(src=203.0.113.10,dst=10.131.1.100,sport=3,dport=4),reply=(src=10.131.1.100,dst=203.0.113.10,sport=4,dport=3),zone=9,labels=0x1,protoinfo=(state=ESTABLISHED)
gre,orig=(src=203.0.113.10,dst=10.131.1.100),reply=(src=10.131.1.100,dst=203.0.113.10),zone=9
`

func TestParseEntries(t *testing.T) {
	all, err := parseEntries(dump)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 5 {
		t.Errorf("%d entries, want 5", len(all))
	}
	var got []string
	for _, e := range withMAC(all) {
		c := e.conn()
		got = append(got, strings.Join(append([]string{c.Pod.String(), c.Peer.String(), c.MAC}, e.match()...), " "))
		if c.Over != strings.Contains(got[len(got)-1], "60980") {
			t.Errorf("%s: over %v", got[len(got)-1], c.Over)
		}
	}
	want := []string{
		"10.131.1.100:8080 203.0.113.10:60980 02:b9:95:fd:5b:86 zone=9 ct_nw_src=203.0.113.10,ct_nw_dst=10.131.1.100,ct_nw_proto=6,ct_tp_src=60980,ct_tp_dst=8080",
		"[fd01:0:0:1::100]:5300 [2001:db8:113::10]:47062 02:ec:59:12:5e:09 zone=4 ct_ipv6_src=2001:db8:113::10,ct_ipv6_dst=fd01:0:0:1::100,ct_nw_proto=17,ct_tp_src=47062,ct_tp_dst=5300",
		"10.131.1.100:7 203.0.113.10:7 02:b9:95:fd:5b:86 zone=9 ct_nw_src=203.0.113.10,ct_nw_dst=10.131.1.100,ct_nw_proto=1,icmp_id=7,icmp_type=8,icmp_code=0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseEntriesMistakes(t *testing.T) {
	for name, line := range map[string]string{
		"no tuple":    "tcp,labels=0x1",
		"address":     "tcp,orig=(src=x,dst=2.2.2.2,sport=1,dport=1),labels=0x1",
		"port":        "tcp,orig=(src=1.1.1.1,dst=2.2.2.2,sport=70000,dport=1),labels=0x1",
		"label":       "tcp,orig=(src=1.1.1.1,dst=2.2.2.2,sport=1,dport=1),labels=0xz",
		"long label":  "tcp,orig=(src=1.1.1.1,dst=2.2.2.2,sport=1,dport=1),labels=0x" + strings.Repeat("1", 33),
		"other label": "tcp,orig=(src=1.1.1.1,dst=2.2.2.2,sport=1,dport=1),labels=12",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseEntries(line); err == nil {
				t.Error("no error")
			}
		})
	}
}

func FuzzParseEntries(f *testing.F) {
	f.Add(dump)
	f.Fuzz(func(_ *testing.T, text string) {
		all, err := parseEntries(text)
		if err != nil {
			return
		}
		for _, e := range all {
			_ = e.match()
			_ = e.conn()
		}
	})
}
