// Package kubesim is a simulated Kubernetes: sim, not real. It plays the controllers that a lab
// needs as pure functions over the objects of a store: nodes, deployments, the scheduler, the
// cluster network's address management, multus, the SPK controller's annotations and endpoint
// slices. Given the objects that users applied it returns the objects that a cluster would hold;
// it starts nothing and waits for nothing, which is the caller's part (package lab).
package kubesim
