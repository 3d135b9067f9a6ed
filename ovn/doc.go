// Package ovn runs OVN's own daemons and Open vSwitch as processes of a lab: each with its sockets
// and databases in a directory of the lab, the datapath in user space (datapath_type=netdev), so
// that no kernel module is needed. It also sets a node's bridges up, plugs pods into br-int, and
// reads and flushes the datapath's conntrack.
package ovn
