package dataplane

// kernelCases: what the TMM's own kernel gets, as it came.
func kernelCases() []packetCase {
	return []packetCase{
		{name: "bgp", script: `client> tcp router:40000 > outside:179 S; tc: kernel; count to_kernel`},
		{name: "bgp goes on", script: `client> tcp router:179 > outside:40000 A; tc: kernel`},
		{name: "bfd", script: `client> udp router:49152 > outside:3784 ttl 255; tc: kernel`},
		{name: "ping of a self-IP", script: `client> echo router > outside id 7 seq 1; tc: kernel`},
		{name: "ping of a self-IP from afar", script: `client> echo client > outside id 7 seq 1; tc: kernel`},
		{name: "ping of the inner self-IP", script: `pod> echo pod > inside id 7 seq 1; tc: kernel`},
		{name: "answer to the TMM's own ping", script: `client> echo-reply client > outside id 7 seq 1; tc: kernel`},
		{name: "hop limit 1", script: `client> tcp router:40000 > outside:179 S ttl 1; tc: kernel`},
		{name: "other protocol", script: `client> proto-89 router > outside; tc: kernel`},
		{name: "multicast", script: `client> udp router:646 > all:646 ttl 1; tc: kernel`},
		{name: "ospf", script: `client> proto-89 router > all ttl 1; tc: kernel`},
		{name: "link-local", script: `client> tcp link:40000 > link:179 S; tc: kernel`},
		{name: "broadcast", script: `client> udp router:68 > limited:67; tc: kernel`},
		{name: "options", only: "4", script: `client> tcp router:40000 > outside:179 S opt ra; tc: kernel`},
		{name: "router alert", only: "6", script: `client> proto-58 link > all ttl 1 ext alert len 28; tc: kernel`},
		{name: "fragment", script: `client> udp router:1 > outside:40000 len 64 ipid 9 part 0-32; tc: kernel
			client> udp router:1 > outside:40000 len 64 ipid 9 part 32-72; tc: kernel`},
		{name: "unreachable about its own", script: `
			client> unreachable hop > outside code 1 about udp outside:40000 > client:53 ttl 60; tc: kernel`},
		{name: "too big about its own", script: `
			client> too-big hop > outside mtu 1400 about tcp outside:40000 > client:179 A ttl 60; tc: kernel`},
		{name: "fragment without its first", script: `client> udp router:1 > outside:40000 len 64 ipid 9 part 32-72; tc: kernel`},
	}
}

// notForwardableCases: what is dropped for what it is.
func notForwardableCases() []packetCase {
	return []packetCase{
		{name: "GRE", script: `client> proto-47 client > web; drop protocol`},
		{name: "ESP of a pod", script: `pod> proto-50 pod > client; drop protocol`},
		{name: "IP in IP", script: `client> proto-4 client > web; drop protocol`},
		{name: "no next header", only: "6", script: `client> proto-59 client > web; drop protocol`},
		{name: "the other family's ICMP", only: "4", script: `client> proto-58 client > web; drop protocol`},
		{name: "the other family's ICMP", only: "6", script: `client> proto-1 client > web; drop protocol`},
		{name: "GRE of options alone", only: "4", script: `client> proto-47 client > web opt rr len 0; drop protocol`},
		{name: "timestamp request", only: "4", script: `client> proto-1 client > web; drop icmp`},
	}
}
