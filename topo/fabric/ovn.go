package fabric

import (
	"cmp"
	"path/filepath"
	"strings"

	"github.com/spklab/spklab/topo"
)

// The ovn fabric, backend sim: the integration bridge br-int stands in every worker, with the
// pods' gateways on it, and no kernel route forwards anything (ip_forward is 0). What leaves or
// enters by the uplink is the matter of `spklab run ovn-node`, which obeys the northbound rows.

// ovnBridge is the integration bridge of OVN-Kubernetes.
const ovnBridge = "br-int"

// Orders of the fabric's processes: the database, who writes to it, who obeys it.
const (
	ovnOrderNB = iota
	ovnOrderExgw
	ovnOrderNode
)

func checkOVN(l *topo.Lab) error { return checkUplinks(l, ovnBridge) }

func ovnNode(l *topo.Lab, w topo.Worker, env Env) []topo.Step {
	ns := topo.NetnsName(l.Name, w.Name)
	steps := topo.Forwarding(ns, false)
	steps = append(steps, topo.Step{Bridge: &topo.BridgeStep{Netns: ns, Name: ovnBridge, MTU: l.Fabric.MTU, MAC: gatewayMAC(w)}})
	for _, cidr := range w.PodCIDRs {
		steps = append(steps, topo.Step{Addr: &topo.AddrStep{Netns: ns, Link: ovnBridge, Prefix: gateway(cidr)}})
	}
	nic, _ := uplink(l, w) // checkOVN has seen it
	argv := []string{"--node", w.Name, "--nb", ovnNB(env), "--bridge", ovnBridge, "--uplink", nic.Name, "--profile", ovnProfile(l)}
	if l.Fabric.UDPHash != "" {
		argv = append(argv, "--udp-hash", l.Fabric.UDPHash)
	}
	return append(steps, ovnProcess(env, ns, "ovn-node", "ovn-node-"+w.Name, ovnOrderNode, argv...))
}

func ovnPod(l *topo.Lab, w topo.Worker, p topo.Pod) []topo.Step {
	return podEth0(l, w, p, ovnBridge)
}

func ovnCluster(l *topo.Lab, env Env) []topo.Step {
	ns := topo.NetnsName(l.Name, topo.Switch)
	cidrs := make([]string, len(l.Fabric.ClusterCIDRs))
	for i, c := range l.Fabric.ClusterCIDRs {
		cidrs[i] = c.String()
	}
	return []topo.Step{
		ovnProcess(env, ns, "ovn-nb", "ovn-nb", ovnOrderNB, "--listen", OVNSocket(env.StateDir)),
		ovnProcess(env, ns, "ovn-exgw", "ovn-exgw", ovnOrderExgw,
			"--nb", ovnNB(env), "--manifests", filepath.Join(env.StateDir, "manifests"), "--cluster-cidr", strings.Join(cidrs, ","),
			"--gateway-mode", cmp.Or(l.Fabric.GatewayMode, topo.GatewayShared), "--nodes", filepath.Join(env.StateDir, "ctl")),
	}
}

// OVNSocket is the unix socket of the northbound database of the lab with that state directory.
func OVNSocket(stateDir string) string { return filepath.Join(stateDir, "ovn", "nb.sock") }

func ovnNB(env Env) string { return "unix:" + OVNSocket(env.StateDir) }

func ovnProfile(l *topo.Lab) string {
	if l.Fabric.Profile == "" {
		return topo.Profiles()[0]
	}
	return l.Fabric.Profile
}

// gatewayMAC is the MAC of the pods' gateway on a worker, formed as OVN-Kubernetes forms it.
func gatewayMAC(w topo.Worker) string {
	return topo.AddrMAC("0a:58", gateway(w.PodCIDRs[0]).Addr())
}

// ovnProcess is one of the fabric's processes, `spklab run WORD ARGV`.
func ovnProcess(env Env, ns, word, name string, order int, argv ...string) topo.Step {
	socket := filepath.Join(env.StateDir, "ctl", name+".sock")
	argv = append([]string{env.Spklab, "run", word}, append(argv, "--ctl", socket)...)
	return topo.Step{Process: &topo.ProcessStep{Name: name, Netns: ns, Argv: argv, Ready: socket, Order: order}}
}
