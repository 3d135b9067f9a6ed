package dataplane

import (
	"fmt"
	"strings"
)

// XDPFeatures are what a driver can do with XDP, as the kernel tells (enum netdev_xdp_act, Linux
// 6.3).
type XDPFeatures uint64

// The features.
const (
	XDPBasic         XDPFeatures = 1 << iota // programs run, and can pass, drop and send back
	XDPRedirect                              // what comes in can be redirected
	XDPTransmit                              // takes what others redirect to it
	XDPZeroCopy                              // AF_XDP without copying
	XDPOffload                               // programs run in the hardware
	XDPFrags                                 // frames of several buffers come in
	XDPTransmitFrags                         // frames of several buffers leave
)

// Words are the features' names as the kernel's own description of the interface has them.
func (f XDPFeatures) Words() []string {
	var out []string
	for i, word := range []string{"basic", "redirect", "ndo-xmit", "xsk-zerocopy", "hw-offload", "rx-sg", "ndo-xmit-sg"} {
		if f&(1<<i) != 0 {
			out = append(out, word)
		}
	}
	return out
}

// has reports whether all of want are there.
func (f XDPFeatures) has(want XDPFeatures) bool { return f&want == want }

// singleBufferMTU is the longest packet that every driver with XDP keeps in one buffer: a page
// without the headroom and what the kernel needs behind (veth has the least).
const singleBufferMTU = 3400

// device is what a choice of front end looks at.
type device struct {
	Name   string
	Kind   string // of rtnetlink: "veth", "macvlan"; "device" for hardware
	Driver string // as ethtool names it, "" where it does not
	MTU    int    // bytes
	MAC    [6]byte
	// Features are valid while Known; before Linux 6.3 they are not.
	Features XDPFeatures
	Known    bool
	Tagged   bool // frames of VLANs come in, with their tags
	Peer     bool // one end of a veth pair whose other end is in another network namespace
}

// Choice says where the programs of an interface sit, and why.
type Choice struct {
	Frontend Frontend `json:"frontend"` // never auto
	// Traffic is the place at traffic control: Frontend itself, or where XDP hands over to.
	Traffic Frontend `json:"traffic_control"`
	Why     string   `json:"why"`
}

// isXDP says whether an XDP program comes first.
func (c Choice) isXDP() bool { return c.Frontend != c.Traffic }

// choose picks the front end of a device. All are the devices of the TMM, which what comes in on
// this one may leave by. An error names what the device can do instead.
// Tcx says whether the kernel has it; clsact is as old as what the programs need.
func choose(want Frontend, d device, all []device, tcx bool) (Choice, error) {
	traffic := FrontendTCX
	if !tcx {
		traffic = FrontendClsact
	}
	c := Choice{Frontend: want, Traffic: traffic, Why: "configured"}
	var fault string
	switch want {
	case "", FrontendAuto:
		return automatic(d, all, traffic), nil
	case FrontendTCX:
		if !tcx {
			fault = "the kernel has none (Linux 6.6)"
		}
	case FrontendClsact:
		c.Traffic = FrontendClsact
	case FrontendXDP:
		fault = obstacle(d, all)
	case FrontendXDPGeneric:
		fault = blindness(d)
	default:
		fault = "no such front end"
	}
	if fault != "" {
		return Choice{}, fmt.Errorf("front end %s of %s (%s): %s; it can do %s", want, d.Name, d.Kind, fault, strings.Join(able(d, all, tcx), ", "))
	}
	return c, nil
}

// automatic is XDP on hardware that can do all of it, and traffic control elsewhere.
func automatic(d device, all []device, traffic Frontend) Choice {
	c := Choice{Frontend: traffic, Traffic: traffic}
	switch {
	case d.Kind == "veth":
		c.Why = "veth hands segments and checksums over unfinished, and XDP would have them finished first"
	case d.Kind != "device":
		c.Why = d.Kind + " is no hardware: XDP would gain nothing"
	case !d.Known:
		c.Why = "the kernel does not tell what the driver can do with XDP (Linux 6.3)"
	default:
		c.Why = obstacle(d, all)
	}
	if c.Why == "" {
		c.Frontend, c.Why = FrontendXDP, "the driver has XDP, and every interface takes what is redirected to it"
	}
	return c
}

// obstacle says why XDP in the driver is not possible, "" where it is. What the kernel does not
// tell is left to be tried.
func obstacle(d device, all []device) string {
	if fault := blindness(d); fault != "" {
		return fault
	}
	if d.Known && !d.Features.has(XDPBasic|XDPRedirect) {
		return "its driver has no XDP with redirection"
	}
	if d.Known && d.MTU > singleBufferMTU && !d.Features.has(XDPFrags) {
		return fmt.Sprintf("its driver has no XDP for frames of several buffers (rx-sg), and the MTU is %d", d.MTU)
	}
	for _, o := range all {
		if o.Known && !o.Features.has(XDPTransmit) {
			return o.Name + " does not take what XDP redirects to it (ndo-xmit)" + hint(o)
		}
		if o.Known && d.MTU > singleBufferMTU && !o.Features.has(XDPTransmitFrags) {
			return fmt.Sprintf("%s does not take frames of several buffers (ndo-xmit-sg), and the MTU is %d", o.Name, d.MTU)
		}
	}
	return ""
}

func hint(d device) string {
	if d.Kind == "veth" {
		return ": its other end needs GRO (ethtool -K … gro on) or an XDP program"
	}
	return ""
}

// blindness says why XDP would misread the device's frames.
func blindness(d device) string {
	if d.Tagged {
		return "it carries tagged VLANs, and XDP does not see the tags that the interface has taken off"
	}
	return ""
}

// able lists the front ends that a device can do.
func able(d device, all []device, tcx bool) []string {
	out := []string{string(FrontendAuto)}
	for _, f := range []struct {
		at Frontend
		ok bool
	}{
		{FrontendTCX, tcx}, {FrontendClsact, true},
		{FrontendXDP, obstacle(d, all) == ""}, {FrontendXDPGeneric, blindness(d) == ""},
	} {
		if f.ok {
			out = append(out, string(f.at))
		}
	}
	return out
}
