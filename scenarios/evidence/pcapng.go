package evidence

import (
	"fmt"
	"io"
	"os"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// WritePcapng writes the trace in the order of its time stamps, each point as an interface of
// the file under its own name. A trace without points writes nothing at all.
func (t *Trace) WritePcapng(w io.Writer) error {
	if len(t.Points) == 0 {
		return nil
	}
	opts := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "spklab"}}
	ng, err := pcapgo.NewNgWriterInterface(w, describe(t.Points[0]), opts)
	if err != nil {
		return fmt.Errorf("write pcapng header: %w", err)
	}
	ids := map[Point]int{t.Points[0]: 0}
	for _, p := range t.Points[1:] {
		if ids[p], err = ng.AddInterface(describe(p)); err != nil {
			return fmt.Errorf("write pcapng interface %s: %w", p, err)
		}
	}
	for _, p := range t.Packets {
		if err := writePacket(ng, ids[p.Point], p); err != nil {
			return fmt.Errorf("write packet of %s: %w", p.Point, err)
		}
	}
	if err := ng.Flush(); err != nil {
		return fmt.Errorf("write pcapng: %w", err)
	}
	return nil
}

// SavePcapng is WritePcapng to a new file.
func (t *Trace) SavePcapng(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("create capture file: %w", err)
	}
	if err := t.WritePcapng(f); err != nil {
		_ = f.Close() // the first error says more
		return err
	}
	return f.Close()
}

func describe(p Point) pcapgo.NgInterface {
	return pcapgo.NgInterface{
		Name:                p.String(),
		Description:         "network namespace " + p.Netns,
		LinkType:            layers.LinkTypeEthernet,
		TimestampResolution: 9,
	}
}

func writePacket(ng *pcapgo.NgWriter, id int, p Packet) error {
	way := pcapgo.NgEpbFlagDirectionInbound
	if p.Out {
		way = pcapgo.NgEpbFlagDirectionOutbound
	}
	return ng.WritePacketWithOptions(gopacket.CaptureInfo{
		Timestamp:      p.At,
		CaptureLength:  len(p.Data),
		Length:         max(p.Length, len(p.Data)),
		InterfaceIndex: id,
	}, p.Data, pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: way}})
}
