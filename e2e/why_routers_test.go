package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spklab/spklab/topo"
)

// whyRouter is how a kind of router is kept from doing its work.
type whyRouter struct {
	kind string
	conf string        // file of its configuration, below the lab's state, where obstacles change it
	cut  func(*whyLab) // ends its sessions
	die  func(*whyLab) // kills what speaks BGP
	// tables are obstacles in its tables, and more are those that one kind of router is enough for.
	tables, more []obstacle
}

// whyRouters are all kinds.
func whyRouters() []whyRouter {
	return []whyRouter{whyFRR(), whyBIRD(), whyEmbedded()}
}

// obstaclesOfTables are those that each kind of router has in its own words, where it has words for them. Failure 7 of
// the field is among them.
func obstaclesOfTables(hide, show, single, equal, forget, remember func(*whyLab)) []obstacle {
	out := []obstacle{
		{name: "the router's filter hides the VIP", put: hide, remove: show, condition: "accepted there", object: "upstream", field: "Loc-RIB", says: "refused by the import filter"},
	}
	if single != nil {
		out = append(out, obstacle{
			name: "maximum-paths below the number of TMMs", put: single, remove: equal,
			condition: "best there", object: "upstream", field: "Loc-RIB", says: "by 1 of 2 such paths: look at its maximum-paths",
		})
	}
	if forget != nil {
		out = append(out, obstacle{
			name: "the kernel is not given the route", put: forget, remove: remember,
			condition: "forwarded", object: "upstream", field: "kernel routes", says: "no route by",
		})
	}
	return out
}

// signal sends the router's process a signal; FRR's and BIRD's daemons are others.
func signal(s syscall.Signal) func(*whyLab) {
	return func(w *whyLab) {
		w.t.Helper()
		nodes, err := w.l.Nodes()
		w.must(err)
		sent := 0
		for _, n := range nodes {
			for _, p := range n.Processes {
				for _, pid := range p.PIDs {
					comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
					if n.Name == "upstream" && err == nil && string(comm) == "spklab\n" {
						w.must(syscall.Kill(pid, s))
						sent++
					}
				}
			}
		}
		if sent != 1 {
			w.t.Fatalf("%d processes of the router's", sent)
		}
	}
}

// dir is a file of the router's.
func (w *whyLab) dir(file string) string {
	return filepath.Join(built.state, w.lab, "router", "upstream", file)
}

// daemonDies kills one of a router's daemons, by which the router ends.
func daemonDies(pidFile string) func(*whyLab) {
	return func(w *whyLab) {
		w.t.Helper()
		text, err := os.ReadFile(w.dir(pidFile))
		w.must(err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		w.must(err)
		w.must(syscall.Kill(pid, syscall.SIGKILL))
	}
}

func whyFRR() whyRouter {
	bgp := func(command string) func(*whyLab) {
		return vtysh("configure terminal", "router bgp 65000", "address-family ipv4 unicast", command)
	}
	hide := vtysh("configure terminal", "ip prefix-list why deny 192.0.2.10/32", "ip prefix-list why permit any",
		"router bgp 65000", "address-family ipv4 unicast", "neighbor range0 prefix-list why in")
	keep := vtysh("configure terminal", "ip prefix-list kept seq 5 permit 192.0.2.10/32", "route-map kept deny 5", "match ip address prefix-list kept", "exit",
		"route-map kept permit 10", "exit", "ip protocol bgp route-map kept")
	tables := obstaclesOfTables(hide, bgp("no neighbor range0 prefix-list why in"), bgp("maximum-paths 1"), bgp("maximum-paths 64"),
		keep, vtysh("configure terminal", "no ip protocol bgp route-map kept"))
	cut := vtysh("clear bgp *")
	few := obstacle{
		name: "maximum-prefix below what is announced", put: then(bgp("neighbor range0 maximum-prefix 1"), cut), remove: then(bgp("no neighbor range0 maximum-prefix"), cut),
		condition: "session", object: "upstream", field: "neighbors[].maxPrefix", says: "6/1",
	}
	return whyRouter{
		kind: topo.RouterFRR, cut: cut, die: daemonDies("bgpd.pid"), tables: append(tables, few),
		more: slices.Concat(obstaclesOfObjects(), obstaclesOfPackets(),
			obstaclesOfLiveness(vtysh("configure terminal", "router bgp 65000", "neighbor range0 bfd"), vtysh("configure terminal", "router bgp 65000", "no neighbor range0 bfd"))),
	}
}

// promiscuousOff has a NIC drop what its hardware would drop without promiscuous mode: unicast to other addresses, those
// of its macvlan children among them. It is failure 8 of the field.
const promiscuousOff = "nft \"add table netdev why; add chain netdev why in { type filter hook ingress device ens256 priority 0; }; " +
	"add rule netdev why in ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 ether daddr != $(cat /sys/class/net/ens256/address) counter drop\""

// vtysh has the router's daemons obey commands.
func vtysh(commands ...string) func(*whyLab) {
	return func(w *whyLab) {
		w.t.Helper()
		argv := []string{"vtysh", "--vty_socket", w.dir("")}
		for _, c := range commands {
			argv = append(argv, "-c", c)
		}
		w.in("upstream", argv...)
	}
}

func whyBIRD() whyRouter {
	const exports = "ipv4 { import none; export where source = RTS_BGP; };"
	tables := obstaclesOfTables(
		birdConf("ipv4 { import all;", "ipv4 { import where net != 192.0.2.10/32;"), birdConf("", ""),
		birdConf("merge paths yes limit 64;", "merge paths no;"), birdConf("", ""),
		birdConf(exports, strings.Replace(exports, "RTS_BGP", "RTS_BGP && net != 192.0.2.10/32", 1)), birdConf("", ""))
	cut := birdc(`restart "range*"`)
	return whyRouter{
		kind: topo.RouterBIRD, conf: "router/upstream/bird.conf", cut: cut, die: daemonDies("bird.pid"), tables: tables,
		more: []obstacle{{
			name: "the parent takes no MAC but its own", put: then(cut, nodeDoes("worker-1", promiscuousOff)), remove: nodeDoes("worker-1", "nft delete table netdev why"),
			condition: "session", object: "neighbour table of TMM", field: "198.51.100.1", says: "nobody answers for the address",
		}},
	}
}

func birdc(command string) func(*whyLab) {
	return func(w *whyLab) {
		w.t.Helper()
		w.in("upstream", "birdc", "-s", w.dir("bird.ctl"), command)
	}
}

// birdConf has BIRD take its configuration with one text in place of another; with none, as it was.
func birdConf(from, to string) func(*whyLab) {
	return func(w *whyLab) {
		w.t.Helper()
		if !strings.Contains(w.conf, from) {
			w.t.Fatalf("no %q in\n%s", from, w.conf)
		}
		text := w.conf
		if from != "" {
			text = strings.ReplaceAll(text, from, to)
		}
		w.must(os.WriteFile(w.dir("bird.conf"), []byte(text), 0o600))
		birdc("configure")(w)
	}
}

const whyConf = "conf/router-upstream.json"

func whyEmbedded() whyRouter {
	restart := func(refuse string) func(*whyLab) {
		return func(w *whyLab) {
			w.t.Helper()
			w.must(os.WriteFile(filepath.Join(built.state, w.lab, whyConf), []byte(strings.Replace(w.conf, "{", "{"+refuse, 1)), 0o600))
			p := find(w.t, filepath.Join(built.state, w.lab, "upstream"))
			p.replace(w.t, p.argv)
		}
	}
	return whyRouter{
		kind: topo.RouterEmbedded, conf: whyConf, cut: restart(""), die: func(w *whyLab) { w.kill("upstream") },
		tables: obstaclesOfTables(restart(`"refuse": ["192.0.2.10/32"],`), restart(""), nil, nil, nil, nil),
		more: []obstacle{{
			name: "the router's process hangs", put: signal(syscall.SIGSTOP), remove: signal(syscall.SIGCONT),
			condition: "router", object: "upstream", field: "state", says: "no answer",
		}},
	}
}
