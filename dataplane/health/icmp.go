package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// IANA protocol numbers, as icmp.ParseMessage wants them.
const (
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// echoFamily is what differs between ICMP and ICMPv6.
type echoFamily struct {
	network        string
	protocol       int
	request, reply icmp.Type
}

func echoOf(v4 bool) echoFamily {
	if v4 {
		return echoFamily{"ip4:icmp", protocolICMP, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply}
	}
	return echoFamily{"ip6:ipv6-icmp", protocolICMPv6, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply}
}

// probeICMP sends an echo request (RFC 792, RFC 4443 4.1) and waits for its reply. The raw
// socket is connected, so the kernel hands it packets of this member alone; it needs
// CAP_NET_RAW, which the dataplane needs anyway.
func probeICMP(ctx context.Context, t Target) error {
	f := echoOf(t.Member.Addr().Is4())
	c, closeIt, err := connect(ctx, dialer(t, ipFrom), f.network, t.Member.Addr().String())
	if err != nil {
		return err
	}
	defer closeIt()
	raw, ok := c.(*net.IPConn)
	if !ok {
		return errors.New("no raw socket")
	}
	echo := icmp.Echo{ID: int(rand.N[uint16](0xffff)) + 1, Seq: 1, Data: fmt.Appendf(nil, "spkproxy %016x", rand.Uint64())}
	// The kernel writes the checksum of ICMPv6.
	request, err := (&icmp.Message{Type: f.request, Body: &echo}).Marshal(nil)
	if err != nil {
		return fmt.Errorf("write echo request: %w", err)
	}
	if _, err := raw.Write(request); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		n, _, err := raw.ReadFromIP(buf) // without the IPv4 header
		if err != nil {
			return err
		}
		if isReply(buf[:n], f, echo) {
			return nil
		}
	}
}

// isReply says whether a packet answers the request.
func isReply(packet []byte, f echoFamily, request icmp.Echo) bool {
	m, err := icmp.ParseMessage(f.protocol, packet)
	if err != nil || m.Type != f.reply {
		return false
	}
	reply, ok := m.Body.(*icmp.Echo)
	return ok && reply.ID == request.ID && reply.Seq == request.Seq && bytes.Equal(reply.Data, request.Data)
}
