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
}

// chapters is the list of everything that must hold.
func chapters() []chapter {
	return []chapter{
		{"Ingress", ingress()},
		{"Virtual servers", virtualServers()},
		{"Egress", egress()},
		{"ICMP", icmp()},
		{"OVN routes", ovnRoutes()},
		{"BGP gate", bgpGate()},
		{"macvlan", macvlan()},
		{"TMM's network", tmmNetwork()},
		{"Diagnosis", diagnosis()},
		{"Throughput", throughput()},
		{"Flannel host-gw", flannel()},
	}
}

// define hands Ginkgo the scenarios that concern the environment's lab. They stand in one
// container, since Ginkgo shuffles outermost ones, and carry their place in the list as the
// line of a source file, by which Ginkgo sorts.
func define(env Env) {
	ginkgo.Describe("spklab", func() {
		for i, c := range chapters() {
			ginkgo.Describe(c.name, place(i), func() {
				for j, s := range c.specs {
					if env.concerns(s.needs) {
						it(env, s, place(j))
					}
				}
			})
		}
	})
}

func place(i int) types.CodeLocation { return types.CodeLocation{FileName: "scenarios", LineNumber: i} }

func it(env Env, s spec, where types.CodeLocation) {
	ginkgo.It(s.name, where, ginkgo.Label(s.labels...), ginkgo.SpecTimeout(limit), func(ctx ginkgo.SpecContext) {
		if lacks := env.missing(s.needs); len(lacks) > 0 {
			ginkgo.AddReportEntry("missing", ginkgo.ReportEntryVisibilityNever, missing(lacks))
			text := fmt.Sprintf("needs %s, which this machine lacks (`spklab doctor` says how to get it)", strings.Join(names(lacks), ", "))
			if env.Strict {
				ginkgo.Fail(text)
			}
			ginkgo.Skip(text)
		}
		s.body(newScene(ctx, env))
	})
}
