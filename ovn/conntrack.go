package ovn

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spklab/spklab/ovnsim/forward"
)

// entry is one of the datapath's conntrack. Where OVN has labelled it with the MAC of the gateway that
// the connection came by (ct_label.ecmp_reply_eth, bits 32 to 79) its source is outside, its
// destination a pod.
type entry struct {
	proto              uint8
	src, dst           netip.AddrPort // ICMP echo: the identifier as port
	icmpType, icmpCode string         // of ICMP alone
	zone               string
	mac                net.HardwareAddr // nil without a label
	over               bool
}

// protocols are the IANA numbers by the names that Open vSwitch prints.
func protocols() map[string]uint8 {
	return map[string]uint8{"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
}

// parseEntries reads the output of `ovs-appctl dpctl/dump-conntrack`. Entries of protocols without
// connections are left out.
func parseEntries(text string) ([]entry, error) {
	var out []entry
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		e, err := parseEntry(line)
		if errors.Is(err, errProtocol) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("conntrack entry %q: %w", line, err)
		}
		out = append(out, e)
	}
	return out, nil
}

// withMAC are the entries that have a gateway's.
func withMAC(all []entry) []entry {
	return slices.DeleteFunc(all, func(e entry) bool { return e.mac == nil })
}

// errProtocol says that an entry is of a protocol that has no connections.
var errProtocol = errors.New("protocol is none of those that connections have")

func parseEntry(line string) (entry, error) {
	name, rest, _ := strings.Cut(line, ",")
	proto, ok := protocols()[name]
	if !ok {
		return entry{}, fmt.Errorf("%q: %w", name, errProtocol)
	}
	e := entry{proto: proto, over: strings.Contains(rest, "TIME_WAIT") || strings.Contains(rest, "CLOSED")}
	_, orig, ok := strings.Cut(rest, "orig=(")
	orig, tail, closed := strings.Cut(orig, ")")
	if !ok || !closed {
		return entry{}, fmt.Errorf("no original tuple")
	}
	if err := e.tuple(orig); err != nil {
		return entry{}, err
	}
	for field := range strings.SplitSeq(tail, ",") {
		switch key, value, _ := strings.Cut(field, "="); key {
		case "zone":
			e.zone = value
		case "labels":
			mac, err := labelMAC(value)
			if err != nil {
				return entry{}, err
			}
			e.mac = mac
		}
	}
	return e, nil
}

// tuple reads src=A,dst=B,sport=N,dport=N, or id=N,type=N,code=N in place of the ports.
func (e *entry) tuple(text string) error {
	fields := map[string]string{}
	for field := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(field, "=")
		fields[key] = value
	}
	src, err := netip.ParseAddr(fields["src"])
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	dst, err := netip.ParseAddr(fields["dst"])
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	sport, dport := fields["sport"], fields["dport"]
	if id, ok := fields["id"]; ok {
		sport, dport = id, id
		e.icmpType, e.icmpCode = fields["type"], fields["code"]
	}
	a, err := strconv.ParseUint(sport, 10, 16)
	if err != nil {
		return fmt.Errorf("source port: %w", err)
	}
	b, err := strconv.ParseUint(dport, 10, 16)
	if err != nil {
		return fmt.Errorf("destination port: %w", err)
	}
	e.src, e.dst = netip.AddrPortFrom(src, uint16(a)), netip.AddrPortFrom(dst, uint16(b))
	return nil
}

// labelMAC is bits 32 to 79 of a label such as 0x2ec59125e0900000000, nil where they are zero.
func labelMAC(text string) (net.HardwareAddr, error) {
	digits, ok := strings.CutPrefix(text, "0x")
	if !ok || len(digits) > 32 {
		return nil, fmt.Errorf("label %q: want 0x and at most 32 digits", text)
	}
	raw, err := hex.DecodeString(strings.Repeat("0", 32-len(digits)) + digits)
	if err != nil {
		return nil, fmt.Errorf("label %q: %w", text, err)
	}
	mac := raw[6:12]
	if binary.BigEndian.Uint32(mac) == 0 && mac[4] == 0 && mac[5] == 0 {
		return nil, nil
	}
	return net.HardwareAddr(mac), nil
}

// match is the entry as `ovs-appctl dpctl/flush-conntrack` takes it.
func (e entry) match() []string {
	field := "ct_nw"
	if e.dst.Addr().Is6() {
		field = "ct_ipv6"
	}
	text := fmt.Sprintf("%s_src=%s,%s_dst=%s,ct_nw_proto=%d", field, e.src.Addr(), field, e.dst.Addr(), e.proto)
	if e.icmpType != "" {
		text += fmt.Sprintf(",icmp_id=%d,icmp_type=%s,icmp_code=%s", e.src.Port(), e.icmpType, e.icmpCode)
	} else {
		text += fmt.Sprintf(",ct_tp_src=%d,ct_tp_dst=%d", e.src.Port(), e.dst.Port())
	}
	if e.zone == "" {
		return []string{text}
	}
	return []string{"zone=" + e.zone, text}
}

// conn is the entry as the simulation tells its own.
func (e entry) conn() forward.Conn {
	return forward.Conn{Protocol: e.proto, Pod: e.dst, Peer: e.src, MAC: e.mac.String(), Over: e.over}
}

// conntrackTimeout bounds one look at the conntrack with everything that is flushed.
const conntrackTimeout = 8 * time.Second

// entries reads the datapath's conntrack, all zones of it.
func (n *node) entries(ctx context.Context) ([]entry, error) {
	text, err := Conntrack(ctx, n.cfg.Dir)
	if err != nil {
		return nil, err
	}
	return parseEntries(text)
}

// flush deletes the entries of a pod whose MAC is none of those to keep, and returns how many.
func (n *node) flush(ctx context.Context, pod netip.Addr, keep []net.HardwareAddr) (int, error) {
	all, err := n.entries(ctx)
	if err != nil {
		return 0, err
	}
	count := 0
	for _, e := range withMAC(all) {
		if e.dst.Addr() != pod || slices.ContainsFunc(keep, func(m net.HardwareAddr) bool { return slices.Equal(m, e.mac) }) {
			continue
		}
		if _, err := datapath(ctx, n.cfg.Dir, "dpctl/flush-conntrack", e.match()...); err != nil {
			return count, fmt.Errorf("flush %s to %s: %w", e.src, e.dst, err)
		}
		count++
	}
	return count, nil
}
