package topo

// Plan is a list of steps in the order of making: stage after stage, the steps of one stage
// independent of each other. The zero value is the empty plan.
type Plan struct {
	Stages []Stage `json:"stages"`
}

// Stage is a set of steps that may be made at the same time.
type Stage struct {
	Name  string `json:"name"`
	Steps []Step `json:"steps"`
}

// NewPlan orders steps into stages. Equal steps count once.
func NewPlan(steps []Step) Plan { return Plan{Stages: []Stage{{Steps: steps}}} }

// Steps returns every step in order.
func (p Plan) Steps() []Step {
	var out []Step
	for _, st := range p.Stages {
		out = append(out, st.Steps...)
	}
	return out
}

// String is one line a step, in order, grouped by stage.
func (p Plan) String() string { return "" }
