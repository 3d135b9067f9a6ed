// Package conform holds the simulation of OVN against OVN itself: the same changes of objects on two
// labs, and after each change three levels compared. L1 is the northbound database, row for row and
// exactly; L2 what the forwarding promises, whatever it chooses; L3 the entries of conntrack by the
// MACs of gateways. A difference names the row, the property or the entry.
package conform
