// Package topo turns a lab file into network namespaces and back into nothing.
//
// Parse reads a lab file strictly into a Lab. Base and PodBase, together with the steps of a
// fabric driver, say what the lab consists of: a list of Steps, plain data, each printable as
// one stable line. NewPlan orders them into stages. All of that is pure. A Runtime makes a plan
// true (Converge) and takes it away again (Down): every object is journalled before it is made,
// so that a lab whose builder was killed at any moment can still be taken down completely.
package topo
