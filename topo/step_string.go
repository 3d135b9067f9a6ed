package topo

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spklab/spklab/cni"
)

// String is one stable line that says everything about the step: kind, namespace, object,
// attributes. Of a file's content it holds the size and a hash.
func (s Step) String() string {
	switch {
	case s.Netns != nil:
		return "netns " + s.Netns.Name
	case s.PF != nil:
		return s.PF.Target.String()
	case s.Uplink != nil:
		return words("uplink", s.Uplink.Address, s.Uplink.Netns, "master", s.Uplink.Bridge, number("mtu", s.Uplink.MTU), tags(s.Uplink.Tags))
	case s.Bridge != nil:
		return s.Bridge.line()
	case s.Veth != nil:
		return words("veth", s.Veth.A.line(), "--", s.Veth.B.line(), flag("plain", s.Veth.Plain))
	case s.Trunk != nil:
		return s.Trunk.line()
	case s.Macvlan != nil:
		return s.Macvlan.line()
	case s.HostDevice != nil:
		return s.HostDevice.line()
	case s.VF != nil:
		return words("vf", s.VF.Netns, s.VF.Name, "pci", s.VF.Address, s.VF.Settings.String(), assigned(s.VF.Assigned))
	case s.Addr != nil:
		return fmt.Sprintf("addr %s %s %s", s.Addr.Netns, s.Addr.Link, s.Addr.Prefix)
	case s.Link != nil:
		return words("link", s.Link.Netns, s.Link.Name, flag("promisc", s.Link.Promisc))
	case s.Route != nil:
		return s.Route.line()
	case s.Sysctl != nil:
		return fmt.Sprintf("sysctl %s %s=%s", s.Sysctl.Netns, s.Sysctl.Key, s.Sysctl.Value)
	case s.File != nil:
		return fmt.Sprintf("file %s %s", s.File.Path, s.File.sum())
	case s.Pins != nil:
		return "pins " + s.Pins.Dir
	case s.Process != nil:
		return s.Process.line()
	}
	return "nothing"
}

func (b *BridgeStep) line() string {
	return words("bridge", b.Netns, b.Name, number("mtu", b.MTU), text("mac", b.MAC), flag("vlans", b.VLANs))
}

func (e VethEnd) line() string {
	return words(e.Netns, e.Name, text("mac", e.MAC), number("mtu", e.MTU), text("master", e.Master), number("tag", e.Tag), text("alias", e.Alias))
}

func (m *MacvlanStep) line() string {
	return words("macvlan", m.Netns, m.Name, "on", m.ParentNetns, m.Parent,
		text("mode", m.Mode), text("mac", m.MAC), number("mtu", m.MTU), assigned(m.Assigned))
}

func (d *HostDeviceStep) line() string {
	return words("host-device", d.Netns, d.Name, "from", d.HostNetns, text("device", d.Device), text("mac", d.HWAddr),
		text("path", d.KernelPath), text("pci", d.PCIBusID), assigned(d.Assigned))
}

// assigned is what an IPAM decided on.
func assigned(a *cni.Assigned) string {
	if a == nil {
		return ""
	}
	var out []string
	for _, ip := range a.IPs {
		out = append(out, "ip", ip.Address.String())
		if ip.Gateway.IsValid() {
			out = append(out, "gateway", ip.Gateway.String())
		}
	}
	for _, r := range a.Routes {
		out = append(out, "route", r.Dst.String())
		if r.GW.IsValid() {
			out = append(out, "via", r.GW.String())
		}
	}
	return words(out...)
}

func (r *RouteStep) line() string {
	out := []string{"route", r.Netns, r.To.String()}
	if r.Via.IsValid() {
		out = append(out, "via", r.Via.String())
	}
	out = append(out, text("dev", r.Link), text("proto", r.Protocol), text("scope", r.Scope))
	if r.Src.IsValid() {
		out = append(out, "src", r.Src.String())
	}
	return words(append(out, number("metric", r.Metric))...)
}

func (p *ProcessStep) line() string {
	out := []string{"process", p.Netns, p.Name, fmt.Sprintf("order %d", p.Order),
		number("grace", p.GraceSeconds), text("ready", p.Ready)}
	for _, env := range p.Env {
		out = append(out, "env", quote(env))
	}
	out = append(out, "argv")
	for _, arg := range p.Argv {
		out = append(out, quote(arg))
	}
	return words(out...)
}

// words joins what is not empty with single spaces.
func words(parts ...string) string {
	kept := parts[:0:0]
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, " ")
}

func text(key, value string) string {
	if value == "" {
		return ""
	}
	return key + " " + value
}

func number(key string, value int) string {
	if value == 0 {
		return ""
	}
	return key + " " + strconv.Itoa(value)
}

// tags are VLANs of a port.
func tags(of []int) string {
	var out []string
	for _, t := range of {
		out = append(out, number("tag", t))
	}
	return words(out...)
}

func flag(key string, value bool) string {
	if !value {
		return ""
	}
	return key
}

// quote leaves a plain word as it is, so that lines read like commands.
func quote(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r > '~' }) {
		return strconv.Quote(s)
	}
	return s
}
