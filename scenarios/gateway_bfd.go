package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/scenarios/report"
)

// detectionTime is when OVN takes a gateway for dead that is silent: the gateway's multiplier times
// OVN's own required interval (RFC 5880 section 6.8.4), which is a second by default.
const detectionTime = bfdMultiplier * time.Second

// bfdMultiplier is what the gateways ask for: one packet may get lost.
const bfdMultiplier = 2

// slack is how much later than it has to a datapath may follow on a busy machine.
const slack = 3 * time.Second

// speakBFD has a gateway answer the BFD of the node that the project's pod runs on, until the scenario
// ends. A gateway whose interface is down says nothing.
func (p *project) speakBFD(g gateway, f family) {
	ginkgo.GinkgoHelper()
	var sp *bfd.Speaker
	times := bfd.Times{MinTx: 200 * time.Millisecond, MinRx: 200 * time.Millisecond, Multiplier: bfdMultiplier}
	check(p.s.inNetns(g.name, func() (err error) {
		if sp, err = bfd.Listen(f.of(g.addrs), func(bfd.Change) {}); err != nil {
			return err
		}
		return sp.Set(map[netip.Addr]bfd.Times{f.of(p.nodeIPs): times})
	}), "speak BFD in "+g.name)
	p.s.cleanup("end BFD in "+g.name, func(context.Context) error { return sp.Close() })
}

// sessions are the states of the BFD sessions in the northbound database by the gateway's address.
func (p *project) sessions(ctx context.Context) (map[string]string, error) {
	nb, err := p.s.lab.Northbound(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for i := range nb.BFDs {
		if status := nb.BFDs[i].Status; status != nil {
			out[nb.BFDs[i].DstIP] = *status
		}
	}
	return out, nil
}

// expectSession waits until the session with a gateway is in a state and the datapaths have followed.
func (p *project) expectSession(g gateway, f family, state nbdb.BFDStatus) {
	ginkgo.GinkgoHelper()
	hop := f.of(g.addrs).String()
	p.s.eventually(fmt.Sprintf("the BFD session with %s is %s", g.name, state), func() error {
		have, err := p.sessions(p.s.ctx)
		if err == nil && have[hop] != state {
			err = fmt.Errorf("it is %q", have[hop])
		}
		return err
	})
	check(p.settled(p.s.ctx), "the datapaths follow")
}

// declareBFD makes gateways with BFD the project's and waits until their sessions are up.
func (p *project) declareBFD(from origin, f family, gateways ...gateway) {
	ginkgo.GinkgoHelper()
	for _, g := range gateways {
		p.speakBFD(g, f)
	}
	check(from.declare(p, p.s.ctx, true, gateways), from.name)
	p.expectRoutes(true, gateways...)
	for _, g := range gateways {
		p.expectSession(g, f, nbdb.BFDStatusUp)
		p.warm(g, f)
	}
}

// bfdGateways: with BFD a gateway is used while its session is up. Of two one dies: what is sent to it
// is lost until the time of detection is over, and nothing after that; it comes back and has its part.
func (s *scene) bfdGateways(from origin, f family) {
	p := s.begin()
	alive, dies := p.gateways[0], p.gateways[1]
	p.declareBFD(from, f, alive, dies)
	t := transport{"tcp", f}
	s.judgeShares(p.gateways[:2], p.reaches(t, shareRounds), shareRounds*behind, "tcp")
	check(p.setLink(dies, false, dies.mac), "cut "+dies.name+" off")
	began := time.Now()
	sent, lost := p.untilMoved(t, began.Add(detectionTime+slack))
	took := time.Since(began)
	s.figure(report.Figure{Name: "connections lost until its share moved", Value: float64(lost),
		Note: fmt.Sprintf("of %d in %d ms; a gateway that is silent is dead after %s", sent, took.Milliseconds(), detectionTime)})
	gomega.Expect(lost).To(gomega.BeNumerically(">", 0), "connections that the dead gateway has lost before it was found dead")
	p.expectSession(dies, f, nbdb.BFDStatusDown)
	gomega.Expect(p.reaches(t, 2)).To(gomega.Equal(map[string]int{alive.id(): 2 * behind}), "who answers while %s is dead", dies.name)
	check(p.setLink(dies, true, dies.mac), dies.name+" comes back")
	p.expectSession(dies, f, nbdb.BFDStatusUp)
	p.warm(dies, f)
	s.judgeShares(p.gateways[:2], p.reaches(t, shareRounds), shareRounds*behind, "tcp")
}

// untilMoved opens connections to every address behind the gateways, time and again, until none of a
// turn is lost; after the deadline the scenario fails.
func (p *project) untilMoved(t transport, deadline time.Time) (sent, lost int) {
	ginkgo.GinkgoHelper()
	for {
		missed := p.turn(t)
		sent, lost = sent+behind, lost+missed
		if missed == 0 {
			return sent, lost
		}
		gomega.Expect(time.Now()).To(gomega.BeTemporally("<", deadline), "%d of %d connections are lost, the last turn's %d among them", lost, sent, missed)
	}
}

// turn opens a connection to each address behind the gateways at once and counts those that do not
// open before a SYN is sent again.
func (p *project) turn(t transport) int {
	var mu sync.Mutex
	var wg sync.WaitGroup
	missed := 0
	for _, to := range beyond(t.f) {
		wg.Go(func() {
			d := p.s.dialer(projectPod)
			d.Timeout = goneAfter
			conn, err := open(p.s, d, t.proto, netip.AddrPort{}, netip.AddrPortFrom(to, gatewayPort))
			if err == nil {
				_ = conn.Close() // it has opened
				return
			}
			mu.Lock()
			defer mu.Unlock()
			missed++
		})
	}
	wg.Wait()
	return missed
}
