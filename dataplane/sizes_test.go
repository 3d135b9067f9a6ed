package dataplane

// sizesCases: MTUs, and frames that stand for several segments.
func sizesCases() []packetCase {
	return []packetCase{
		{name: "fits a narrow way", script: `
			pod> udp pod:50001 > narrow:53 len 1300; client< udp outside:$p > narrow:53 len 1300`},
		{name: "as large as a narrow way", only: "4", script: `
			pod> udp pod:50001 > narrow:53 len 1372; client< udp outside:$p > narrow:53 len 1372
			pod> udp pod:50001 > narrow:53 len 1372; client< udp outside:$p > narrow:53 len 1372
			pod> udp pod:50001 > narrow:53 len 1372; client< udp outside:$p > narrow:53 len 1372`},
		{name: "segments that fit", script: `
			pod> tcp pod:50001 > client:443 S; client< tcp outside:$p > client:443 S
			pod> tcp pod:50001 > client:443 A len 3000 gso 1400; client< tcp outside:$p > client:443 A len 3000
			pod> tcp pod:50001 > client:443 A len 3000 gso 1400; client< tcp outside:$p > client:443 A len 3000`, front: "tc"},
		{name: "segments that fit a narrow way", script: `
			pod> tcp pod:50001 > narrow:443 S; client< tcp outside:$p > narrow:443 S
			pod> tcp pod:50001 > narrow:443 A len 3000 gso 1300; client< tcp outside:$p > narrow:443 A len 3000`, front: "tc"},
		{name: "datagrams in one", script: `
			client> udp client:40001 > web:53 len 3000 gso 1200; pod< udp inside:$p > pod:5300 len 3000`, front: "tc"},
		{name: "jumbo frames, in several buffers", front: "xdp", script: `
			client> udp client:40001 > web:53 len 8000; pod< udp inside:$p > pod:5300 len 8000
			pod> udp pod:5300 > inside:$p len 8900; client< udp web:53 > client:40001 len 8900
			client> udp client:40001 > web:53 len 8000; pod< udp inside:$p > pod:5300 len 8000`},
		{name: "segments with options", only: "4", front: "tc", script: `
			pod> tcp pod:50001 > client:443 S; client< tcp outside:$p > client:443 S
			pod> tcp pod:50001 > client:443 A len 3000 gso 1400 opt nop; client< tcp outside:$p > client:443 A len 3000 opt nop`},
	}
}
