// Package flow follows the packets of one flow over every interface of a lab: in order, through
// address translation, each hop seen, rewritten, dropped or missing, beside the way that the lab's
// topology makes one expect.
package flow
