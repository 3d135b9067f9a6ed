// Package e2e holds the tests that use spklab as its users do: they build the programs, bring
// the shipped labs up under names and in a state directory of their own, run the scenarios,
// break things, and ask that nothing is left behind.
package e2e
