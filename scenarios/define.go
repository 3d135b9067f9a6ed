package scenarios

import (
	"fmt"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
)

// limit bounds one scenario. The longest recreates every TMM twice.
const limit = 3 * time.Minute

// spec is one scenario before Ginkgo knows it.
type spec struct {
	name   string
	labels []string
	needs  []Capability
	body   func(*scene)
}

// chapter is a group of scenarios.
type chapter struct {
	name  string
	specs []spec
	// setUp makes what all scenarios of the chapter share, before the first of them that runs, and
	// tearDown removes it after the last; nil where they share nothing. They run in the order of
	// the list then.
	setUp, tearDown func(*scene)
}

// chapters is the list of everything that must hold.
func chapters() []chapter {
	return []chapter{
		{name: "Ingress", specs: ingress()},
		{name: "Virtual servers", specs: virtualServers()},
		{name: "Health monitors", specs: monitors()},
		{name: "Egress", specs: egress()},
		{name: "ICMP", specs: icmp()},
		{name: "OVN routes", specs: ovnRoutes()},
		{name: "External gateways", specs: externalGateways(), setUp: (*scene).setUp, tearDown: (*scene).tearDown},
		{name: "BGP gate", specs: bgpGate()},
		{name: "BGP peers", specs: bgpPeers(), setUp: (*scene).peersSetUp, tearDown: (*scene).peersTearDown},
		{name: "macvlan", specs: macvlan()},
		{name: "SR-IOV", specs: sriov()},
		{name: "VLANs", specs: vlans()},
		{name: "Long packets", specs: longPackets()},
		{name: "Pods' networks", specs: podNetworks()},
		{name: "TMM's network", specs: tmmNetwork()},
		{name: "Diagnosis", specs: diagnosis()},
		{name: "Throughput", specs: throughput()},
		{name: "Flannel host-gw", specs: flannel()},
	}
}

// define hands Ginkgo the scenarios that concern the environment's lab. They stand in one
// container, since Ginkgo shuffles outermost ones, and carry their place in the list as the
// line of a source file, by which Ginkgo sorts.
func define(env Env) {
	ginkgo.Describe("spklab", func() {
		for i, c := range chapters() {
			ginkgo.Describe(c.name, place(i), c.decorations(), func() {
				c.share(env)
				for j, s := range c.specs {
					if env.concerns(s.needs) {
						it(env, s, place(j))
					}
				}
			})
		}
	})
}

// decorations tell Ginkgo of a chapter whose scenarios share something.
func (c chapter) decorations() []any {
	if c.setUp == nil {
		return nil
	}
	return []any{ginkgo.Ordered, ginkgo.ContinueOnFailure}
}

// share has Ginkgo make and remove what the scenarios of the chapter share.
func (c chapter) share(env Env) {
	if c.setUp == nil {
		return
	}
	ginkgo.BeforeAll(func(ctx ginkgo.SpecContext) {
		env.rec.begin(ginkgo.CurrentSpecReport())
		c.setUp(newScene(ctx, env))
	}, ginkgo.NodeTimeout(limit))
	ginkgo.AfterAll(func(ctx ginkgo.SpecContext) { c.tearDown(newScene(ctx, env)) }, ginkgo.NodeTimeout(limit))
}

func place(i int) types.CodeLocation { return types.CodeLocation{FileName: "scenarios", LineNumber: i} }

func it(env Env, s spec, where types.CodeLocation) {
	ginkgo.It(s.name, where, ginkgo.Label(env.labels(s)...), ginkgo.SpecTimeout(limit), func(ctx ginkgo.SpecContext) {
		if lacks := env.missing(s.needs); len(lacks) > 0 {
			ginkgo.AddReportEntry("missing", ginkgo.ReportEntryVisibilityNever, missing(lacks))
			text := fmt.Sprintf("needs %s, which this machine lacks (`spklab doctor` says how to get it)", strings.Join(names(lacks), ", "))
			if env.Strict {
				refuse(text)
			}
			ginkgo.Skip(text)
		}
		env.rec.body(ginkgo.CurrentSpecReport(), func() { s.body(newScene(ctx, env)) })
	})
}
