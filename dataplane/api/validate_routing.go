package api

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// asTrans stands for a 32-bit AS number where only 16 bits fit (RFC 6793).
const asTrans = 23456

// maxPassword is the longest key of TCP MD5 that Linux takes (TCP_MD5SIG_MAXKEYLEN).
const maxPassword = 80

// maxRestartTime is what the 12 bits of a capability hold (RFC 4724, section 3).
const maxRestartTime = 4095

// DefaultHoldTime is the hold time of a BGP session in seconds where no value is given.
const DefaultHoldTime = 9

// checkRouting looks at tmm.dynamicRouting.tmmRouting.config. Nothing but these values configures
// BGP, so a key that is not known there is an error: a filter that is misspelt lets everything out.
func checkRouting(f *fitter, n *node, c *RoutingConfig) {
	if n == nil {
		return
	}
	f.strict(n, reflect.TypeFor[RoutingConfig]())
	bgp := n.get("bgp")
	checkFilters(f, n, c.PrefixList, c.RouteMaps)
	if bgp == nil {
		return
	}
	checkFilters(f, bgp, c.BGP.PrefixList, c.BGP.RouteMaps)
	if c.BGP.ASN != 0 {
		f.asn(bgp.at("asn"), c.BGP.ASN)
	}
	if c.BGP.GracefulRestartTime > maxRestartTime {
		f.fail(bgp.at("gracefulRestartTime"), "no restart time; write 1 to %d seconds, or 0 for no graceful restart", maxRestartTime)
	}
	for i := range c.BGP.Neighbors {
		checkNeighbor(f, bgp.at("neighbors").item(i), &c.BGP.Neighbors[i])
	}
}

func checkNeighbor(f *fitter, n *node, v *NeighborValues) {
	if v.ASN != 0 {
		f.asn(n.at("asn"), v.ASN)
	}
	if v.EBGPMultihop < 0 || v.EBGPMultihop > 255 {
		f.fail(n.at("ebgpMultihop"), "no number of hops; write 1 to 255, or leave it out for a neighbor on the same network")
	}
	if v.HoldTime > 0 && v.HoldTime < 3 {
		f.fail(n.at("holdTime"), "too short a time; write 3 to 65535 seconds")
	}
	hold := v.HoldTime
	if hold == 0 {
		hold = DefaultHoldTime
	}
	if v.Keepalive >= hold {
		f.fail(n.at("keepalive"), "the session would end first; write less than the hold time of %d seconds", hold)
	}
	if len(v.Password) > maxPassword {
		at := *n.at("password")
		at.text = "" // it is nobody's business
		f.fail(&at, "a password of %d bytes; write at most %d (TCP MD5)", len(v.Password), maxPassword)
	}
}

// asn asks for a number that may stand in an OPEN: not 0 (RFC 7607), not AS_TRANS (RFC 6793), not
// the last one (RFC 7300).
func (f *fitter) asn(n *node, asn uint32) {
	if asn == 0 || asn == asTrans || asn == math.MaxUint32 {
		f.fail(n, "a reserved AS number; write 1 to 4294967294, not %d (private ones begin at 64512)", asTrans)
	}
}

// strict fails at each field that the type does not have.
func (f *fitter) strict(n *node, t reflect.Type) {
	switch {
	case n.kind == seqNode && t.Kind() == reflect.Slice:
		for _, item := range n.items {
			f.strict(item, t.Elem())
		}
	case n.kind == mapNode && t.Kind() == reflect.Struct && t != addrType:
		known := fieldsOf(t)
		for _, e := range n.fields {
			k, ok := known[e.name]
			if !ok {
				at := &node{line: e.line, col: e.col, text: e.name}
				f.fail(at, "%s", unknownField(e.name, known))
				continue
			}
			f.strict(e.value, k.typ)
		}
	}
}

func unknownField(name string, known map[string]structField) string {
	if best := nearest(name, known); best != "" {
		return fmt.Sprintf("unknown field; did you mean %s?", best)
	}
	return "unknown field; known here: " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")
}

func checkFilters(f *fitter, n *node, lists []PrefixListEntry, maps []RouteMapEntry) {
	for i, e := range lists {
		at := n.at("prefixList").item(i)
		if e.Name == "" {
			f.fail(at, "an entry of no prefix list; write name")
		}
		if _, err := ParsePrefixRule(e.Prefix); err != nil {
			f.fail(at.at("prefix"), `no rule; write one like "192.0.2.0/24 le 32", or any`)
		}
	}
	for i, e := range maps {
		at := n.at("routeMaps").item(i)
		if e.Name == "" {
			f.fail(at, "an entry of no route map; write name")
		}
		for j, c := range e.Set.Communities {
			if _, err := ParseCommunity(c); err != nil {
				f.fail(at.at("set", "communities").item(j), `no community; write one like "65001:100", or no-export, no-advertise, no-peer`)
			}
		}
	}
}

// ParseCommunity reads a community: two numbers of 16 bits, or a well-known one's name (RFC 1997,
// RFC 3765).
func ParseCommunity(text string) (uint32, error) {
	switch text {
	case "no-export":
		return 0xffffff01, nil
	case "no-advertise":
		return 0xffffff02, nil
	case "no-peer":
		return 0xffffff04, nil
	}
	high, low, ok := strings.Cut(text, ":")
	a, errA := strconv.ParseUint(high, 10, 16)
	b, errB := strconv.ParseUint(low, 10, 16)
	if !ok || errA != nil || errB != nil {
		return 0, fmt.Errorf("%q is no community", text)
	}
	return uint32(a)<<16 | uint32(b), nil
}
