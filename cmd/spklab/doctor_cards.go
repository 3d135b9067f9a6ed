package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/sriov"
)

// cardFinding is what doctor says of one SR-IOV card.
type cardFinding struct {
	sriov.PF
	// XDP is native where the driver can run and redirect, generic where it cannot, unknown where the kernel
	// does not tell (before Linux 6.3).
	XDP string `json:"xdp"`
	// Labels are settings of VFs that the card keeps without acting on them, with what reports say of them.
	Labels map[sriov.Setting]string `json:"labels,omitempty"`
	// Owner has changed the card and not put it back.
	Owner string `json:"owner,omitempty"`
}

// cardFindings are the SR-IOV cards of the machine, and whether its IOMMU is on.
func cardFindings(host topo.Host) (cards []cardFinding, iommu bool, err error) {
	inv, err := host.Cards()
	if err != nil {
		return nil, false, err
	}
	records, err := host.CardRecords()
	if err != nil {
		return nil, false, err
	}
	cards = []cardFinding{}
	for i := range inv.PFs {
		pf := &inv.PFs[i]
		c := cardFinding{PF: *pf, XDP: xdpWord(pf.Name), Labels: map[sriov.Setting]string{}}
		for _, s := range sriov.Settings() {
			if l := inv.Label(pf, s); l != "" {
				c.Labels[s] = l
			}
		}
		for _, r := range records {
			if r.Target.Address == pf.Address {
				c.Owner = r.Owner
			}
		}
		cards = append(cards, c)
	}
	return cards, inv.IOMMU, nil
}

func xdpWord(link string) string {
	native, known := dataplane.NativeXDP(link)
	switch {
	case !known:
		return "unknown"
	case native:
		return "native"
	}
	return "generic"
}

func printCards(w io.Writer, d diagnosis) {
	if len(d.Cards) == 0 {
		fmt.Fprintln(w, "\nno SR-IOV card")
		return
	}
	rows := make([][]string, 0, len(d.Cards))
	for _, c := range d.Cards {
		use := strings.Join(c.Protected, ", ")
		if use == "" {
			use = "free"
		}
		if c.Owner != "" {
			use = c.Owner + "'s"
		}
		rows = append(rows, []string{
			mark(w, len(c.Protected) == 0), dash(c.Name), c.Address, c.Vendor + ":" + c.Device, dash(c.Driver), dash(c.Firmware),
			fmt.Sprintf("%d of %d", c.NumVFs, c.TotalVFs), fmt.Sprint(c.MTU), dash(c.Link), c.XDP, use,
		})
	}
	iommu := "off: no vfio-pci"
	if d.IOMMU {
		iommu = "on"
	}
	fmt.Fprintln(w)
	printTable(w, "SR-IOV cards, IOMMU "+iommu, []string{"", "pf", "pci", "model", "driver", "firmware", "vfs", "mtu", "link", "xdp", "use"}, rows)
	for _, c := range d.Cards {
		for _, s := range sriov.Settings() {
			if l := c.Labels[s]; l != "" {
				fmt.Fprintf(w, "%s: %s is %s\n", dash(c.Name), s, l)
			}
		}
	}
}
