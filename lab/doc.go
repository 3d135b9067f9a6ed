// Package lab is a running lab: it brings one up from a lab file and manifests, changes it while
// it runs (apply, delete, scale), looks into it and takes it down. Every change is the same
// operation: compute the objects that the simulated Kubernetes holds, the plan that follows from
// them, and converge.
package lab
