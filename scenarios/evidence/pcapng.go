package evidence

import (
	"fmt"
	"io"
	"os"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Pcapng writes packets to a capture file as they come. Make one with [NewPcapng].
type Pcapng struct {
	ng  *pcapgo.NgWriter
	ids map[Point]int
}

// NewPcapng writes the head of a file, with each point as an interface under its own name; there is at
// least one. Everything is written when a call returns.
func NewPcapng(w io.Writer, points []Point) (*Pcapng, error) {
	opts := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "spklab"}}
	ng, err := pcapgo.NewNgWriterInterface(w, describe(points[0]), opts)
	if err != nil {
		return nil, fmt.Errorf("write pcapng header: %w", err)
	}
	f := &Pcapng{ng, map[Point]int{points[0]: 0}}
	for _, p := range points[1:] {
		if f.ids[p], err = ng.AddInterface(describe(p)); err != nil {
			return nil, fmt.Errorf("write pcapng interface %s: %w", p, err)
		}
	}
	return f, f.flush()
}

// Write writes packets of the points, with their comments.
func (f *Pcapng) Write(packets []Packet) error {
	for _, p := range packets {
		if err := writePacket(f.ng, f.ids[p.Point], p); err != nil {
			return fmt.Errorf("write packet of %s: %w", p.Point, err)
		}
	}
	return f.flush()
}

func (f *Pcapng) flush() error {
	if err := f.ng.Flush(); err != nil {
		return fmt.Errorf("write pcapng: %w", err)
	}
	return nil
}

// WritePcapng writes the trace in the order of its time stamps, each point as an interface of
// the file under its own name. A trace without points writes nothing at all.
func (t *Trace) WritePcapng(w io.Writer) error {
	if len(t.Points) == 0 {
		return nil
	}
	f, err := NewPcapng(w, t.Points)
	if err != nil {
		return err
	}
	return f.Write(t.Packets)
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
	opts := pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: way}}
	if p.Comment != "" {
		opts.Comments = []string{p.Comment}
	}
	return ng.WritePacketWithOptions(gopacket.CaptureInfo{
		Timestamp:      p.At,
		CaptureLength:  len(p.Data),
		Length:         max(p.Length, len(p.Data)),
		InterfaceIndex: id,
	}, p.Data, opts)
}
