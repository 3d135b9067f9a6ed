package control

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
)

// Damping says how long a prefix that was withdrawn again and again waits before it is announced
// again, so that endpoints that flap make no storm at the peers. A withdrawal is never held back. It
// is in the spirit of RFC 2439, at the origin: withdrawals are counted, the count decays, and what is
// beyond Free makes the wait. The zero value never holds anything back.
type Damping struct {
	// Free is how many withdrawals in short order cost nothing.
	Free int `json:"free"`
	// Hold is the wait after the first withdrawal beyond; each further one doubles it.
	Hold time.Duration `json:"hold"`
	// Max bounds the wait; 0 switches damping off.
	Max time.Duration `json:"max"`
	// HalfLife is the time in which half of the count is forgotten, 0 = never.
	HalfLife time.Duration `json:"half_life"`
}

// DefaultDamping lets a rollout or two pass without a wait.
func DefaultDamping() Damping {
	return Damping{Free: 4, Hold: time.Second, Max: 32 * time.Second, HalfLife: time.Minute}
}

// dampingOf is what the Helm values say, nil where they leave it open.
func dampingOf(v *api.Values) *Damping {
	if v == nil || v.TMM.Damping == nil {
		return nil
	}
	d, said := DefaultDamping(), v.TMM.Damping
	if said.Free != nil {
		d.Free = *said.Free
	}
	for _, f := range []struct {
		text string
		to   *time.Duration
	}{{said.Hold, &d.Hold}, {said.Max, &d.Max}, {said.HalfLife, &d.HalfLife}} {
		if t, err := api.ParseTime(f.text); f.text != "" && err == nil {
			*f.to = t
		}
	}
	return &d
}

// decayed is what is left of a count after a while.
func (d Damping) decayed(count float64, after time.Duration) float64 {
	if d.HalfLife <= 0 {
		return count
	}
	return count * math.Exp2(-float64(max(after, 0))/float64(d.HalfLife))
}

// wait is how long a prefix with such a count waits.
func (d Damping) wait(count float64) time.Duration {
	beyond := count - float64(d.Free)
	if beyond <= 0 || d.Max <= 0 {
		return 0
	}
	return time.Duration(min(float64(d.Hold)*math.Exp2(beyond-1), float64(d.Max)))
}

// flap is a prefix's newest withdrawal with the count of that moment.
type flap struct {
	count float64
	at    time.Time
	told  bool // the event about the wait after it has been written
}

// flaps are the withdrawals that are remembered.
type flaps map[netip.Prefix]flap

// add counts a withdrawal.
func (f flaps) add(p netip.Prefix, now time.Time, d Damping) {
	was := f[p]
	f[p] = flap{count: d.decayed(was.count, now.Sub(was.at)) + 1, at: now}
}

// until is when a prefix may be announced again.
func (f flaps) until(p netip.Prefix, d Damping) time.Time {
	was, ok := f[p]
	if !ok {
		return time.Time{}
	}
	return was.at.Add(d.wait(was.count))
}

// forget drops what no virtual server stands behind any more, so that one that is deleted and made
// again begins anew. The addresses of SNAT pools have no endpoints that flap: they never wait.
func (f flaps) forget(d Desired) {
	if d.Blocked {
		return
	}
	known := map[netip.Prefix]bool{}
	for _, vs := range slices.Concat(d.State.VirtualServers, d.Unserved) {
		known[keyOf(&vs).prefix()] = true
	}
	maps.DeleteFunc(f, func(p netip.Prefix, _ flap) bool { return !known[p] })
}

// DampedPrefix is a prefix that serves and waits to be announced again.
type DampedPrefix struct {
	Prefix netip.Prefix `json:"prefix"`
	// Withdrawals is their count, decayed, at the newest of them.
	Withdrawals float64   `json:"withdrawals"`
	Until       time.Time `json:"until"`
	// Object is the resource behind it, Kind namespace/name; the first of several.
	Object string `json:"object"`
}

// condition tells of the wait.
func (p DampedPrefix) condition() Condition {
	return Condition{Severity: api.SeverityWarning, Reason: ReasonDamped, Object: p.Object, Message: fmt.Sprintf(
		"%s was withdrawn too often in short order (%.1f times, decayed): it is not announced before %s",
		p.Prefix, p.Withdrawals, p.Until.UTC().Format(time.TimeOnly+".000Z"))}
}

// held says whether a prefix that serves has to wait, and notes it.
func (r *reconciler) held(p netip.Prefix) bool {
	if _, announced := r.last[p]; announced {
		return false
	}
	until := r.flaps.until(p, r.damping)
	if !r.now().Before(until) {
		return false
	}
	r.damped = append(r.damped, DampedPrefix{Prefix: p, Withdrawals: r.flaps[p].count, Until: until, Object: r.refOfPrefix(p)})
	return true
}

// refOfPrefix names the resource of the first virtual server in the maps behind a prefix.
func (r *reconciler) refOfPrefix(p netip.Prefix) string {
	for _, k := range sortedKeys(r.programmed) {
		if k.prefix() == p {
			return refOfServer(k.proto, r.programmed[k].Name)
		}
	}
	return ""
}

// damp counts what is announced no longer.
func (r *reconciler) damp(before map[netip.Prefix]bgp.Announcement) {
	for p := range before {
		if _, stays := r.last[p]; !stays {
			r.flaps.add(p, r.now(), r.damping)
		}
	}
}

// Damps says whether a prefix waits to be announced again.
func (s *BGPStatus) Damps(p netip.Prefix) bool {
	return slices.ContainsFunc(s.Damped, func(d DampedPrefix) bool { return d.Prefix == p })
}

// setDamped publishes what waits, and tells of each wait once, however often endpoints flap meanwhile.
func (r *reconciler) setDamped() {
	for _, d := range r.damped {
		f := r.flaps[d.Prefix]
		if !f.told {
			r.log.Add(EventDamped, d.Prefix.String(), fmt.Sprintf("%s: withdrawn %.1f times (decayed), waits %s", d.Object, d.Withdrawals, d.Until.Sub(r.now()).Round(time.Millisecond)))
		}
		f.told = true
		r.flaps[d.Prefix] = f
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = slices.Clone(r.damped)
}

// refOfServer names the resource that a virtual server was made of.
func refOfServer(p dataplane.Protocol, name string) string {
	kinds := map[dataplane.Protocol]string{dataplane.TCP: api.KindIngressTCP, dataplane.UDP: api.KindIngressUDP, dataplane.SCTP: api.KindIngressNGAP}
	return kinds[p] + " " + name
}
