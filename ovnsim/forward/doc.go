// Package forward is a sim of an OVN node's datapath.
package forward
