package topo

// Base is what every lab of this shape consists of, whatever its cluster network: the switch
// namespace with a bridge a network, and the workers, routers and clients with their NICs,
// addresses, routes and sysctls.
func Base(l *Lab) []Step { return nil }

// PodBase is what a pod consists of, whatever the cluster network: its namespace and its macvlan
// attachments. eth0 is the fabric driver's.
func PodBase(l *Lab, p Pod) []Step { return nil }
