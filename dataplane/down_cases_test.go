package dataplane

import "net/netip"

// downCases: connections of a member that is removed.
func downCases() []packetCase {
	with := func(action DownAction) func(*State) {
		return func(s *State) {
			for i := range s.VirtualServers {
				s.VirtualServers[i].DownAction = action
			}
		}
	}
	// Only pod3 is left, one address above pod2.
	moved := servers("nosnat", func(v *VirtualServer) {
		for i, m := range v.Members {
			v.Members[i].Addr = netip.AddrPortFrom(m.Addr.Addr().Next().Next(), m.Addr.Port())
		}
	})
	const tcp = `
		client> tcp client:40001 > nosnat:80 S; pod< tcp client:40001 > pod:8080 S
		pod> tcp pod:8080 > client:40001 SA; client< tcp nosnat:80 > client:40001 SA
		client> tcp client:40001 > nosnat:80 A; pod< tcp client:40001 > pod:8080 A; conns 1; change; `
	const udp = `
		client> udp client:40001 > nosnat:53; pod< udp client:40001 > pod:5300
		pod> udp pod:5300 > client:40001; client< udp nosnat:53 > client:40001; conns 1; change; `
	const sctp = `
		client> sctp client:40001 > nosnat:80 INIT; pod< sctp client:40001 > pod:8080 INIT
		client> sctp client:40001 > nosnat:80 COOKIE-ECHO; pod< sctp client:40001 > pod:8080 COOKIE-ECHO; conns 1; change; `
	return []packetCase{
		{name: "none: tcp goes on", state: with(DownNone), change: moved, script: tcp + `
			client> tcp client:40001 > nosnat:80 PA; pod< tcp client:40001 > pod:8080 PA
			pod> tcp pod:8080 > client:40001 A; client< tcp nosnat:80 > client:40001 A
			client> tcp client:40002 > nosnat:80 S; pod< tcp client:40002 > pod3:8080 S`},
		{name: "none: sctp goes on", state: with(DownNone), change: moved, script: sctp + `
			client> sctp client:40001 > nosnat:80 DATA; pod< sctp client:40001 > pod:8080 DATA`},
		{name: "none: udp is forgotten", state: with(DownNone), change: moved, script: udp + `conns 0
			client> udp client:40001 > nosnat:53; pod< udp client:40001 > pod3:5300`},
		{name: "none: a port used again", state: with(DownNone), change: moved, script: tcp + `
			client> tcp client:40001 > nosnat:80 S; pod< tcp client:40001 > pod3:8080 S; count flows_replaced`},
		{name: "drop: tcp", state: with(DownDrop), change: moved, script: tcp + `
			client> tcp client:40001 > nosnat:80 A; drop member_down
			pod> tcp pod:8080 > client:40001 A; drop member_down
			client> tcp client:40002 > nosnat:80 S; pod< tcp client:40002 > pod3:8080 S`},
		{name: "drop: udp", state: with(DownDrop), change: moved, script: udp + `
			client> udp client:40001 > nosnat:53; drop member_down
			pod> udp pod:5300 > client:40001; drop member_down`},
		{name: "drop: a port used again", state: with(DownDrop), change: moved, script: tcp + `
			client> tcp client:40001 > nosnat:80 S; pod< tcp client:40001 > pod3:8080 S; count flows_replaced`},
		{name: "drop: half-open", state: with(DownDrop), change: moved, script: `
			client> tcp client:40001 > nosnat:80 S; pod< tcp client:40001 > pod:8080 S; change
			client> tcp client:40001 > nosnat:80 A; drop member_down; conns 0`},
		{name: "reselect: tcp", state: with(DownReselect), change: moved, script: tcp + `
			client> tcp client:40001 > nosnat:80 PA; pod< tcp client:40001 > pod3:8080 PA; count flows_reselected flows_started
			pod> tcp pod3:8080 > client:40001 R; client< tcp nosnat:80 > client:40001 R`},
		{name: "reselect: udp", state: with(DownReselect), change: moved, script: udp + `
			client> udp client:40001 > nosnat:53; pod< udp client:40001 > pod3:5300; count flows_reselected
			pod> udp pod3:5300 > client:40001; client< udp nosnat:53 > client:40001`},
		{name: "reselect: nobody is left", state: with(DownReselect), script: udp + `
			client> udp client:40001 > nosnat:53; drop no_member`,
			change: servers("nosnat", func(v *VirtualServer) { v.Members = nil })},
		{name: "the member comes back", state: with(DownDrop), script: tcp + `
			client> tcp client:40001 > nosnat:80 A; drop member_down; change
			client> tcp client:40001 > nosnat:80 A; pod< tcp client:40001 > pod:8080 A; conns 1`,
			change: servers("nosnat", func(v *VirtualServer) {
				if len(v.Members) > 0 {
					v.Members = nil
					return
				}
				// As tableState has it.
				port := map[Protocol]uint16{TCP: 8080, SCTP: 8080, UDP: 5300}[v.Protocol]
				host := tableHosts("4")["pod"]
				if v.Destination.Addr().Is6() {
					host = tableHosts("6")["pod"]
				}
				v.Members = []Member{{Addr: netip.AddrPortFrom(host, port)}}
			})},
		{name: "the virtual server is removed", state: with(DownReset), script: tcp + `conns 0
			client> tcp client:40001 > nosnat:80 A; drop not_permitted
			pod> tcp pod:8080 > client:40001 A; drop no_flow`,
			change: func(s *State) {
				var left []VirtualServer
				nosnat := map[netip.Addr]bool{tableHosts("4")["nosnat"]: true, tableHosts("6")["nosnat"]: true}
				for _, v := range s.VirtualServers {
					if !nosnat[v.Destination.Addr()] {
						left = append(left, v)
					}
				}
				s.VirtualServers = left
			}},
	}
}
