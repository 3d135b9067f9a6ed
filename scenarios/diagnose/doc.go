// Package diagnose says of a failed scenario where the failure lies: which layer, at which hop, concluded
// from what. It asks the running lab at the moment of the failure, compares what it finds with what
// follows from the lab file and the objects, and lets a list of small rules judge. The rules are pure
// functions of an [Evidence]; they know nothing of the scenario but when it began and what it saw.
package diagnose
