package sriov

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/lab/topologies"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/sriov"
)

// restored: what policies choose, and that each card is as it was after `up` was killed, or refused.
func restored(before *[]sriov.PF) group {
	unchanged := func() error { return asBefore(before) }
	checks := []check{
		{name: "the cards are read", do: func(c *cards) (err error) {
			if err = raise(c.peer); err != nil { // for a route over it
				return err
			}
			*before, err = cardsNow()
			return err
		}},
		{name: "pfNames: the plan has the VFs of each range", do: func(*cards) error { return planned() }},
	}
	for _, r := range []struct{ name, old, new, want string }{
		{"another vendor's cards: no PF is chosen", `vendor: "8086"`, `vendor: "15b3"`, "its nicSelector chooses no PF"},
		{"more VFs than the inventory allows are refused", "numVfs: 4", "numVfs: 7", "the inventory allows 6"},
		{"more VFs than the card has are refused", "numVfs: 4", "numVfs: 8", "can have 7"},
	} {
		checks = append(checks, check{name: r.name, do: func(*cards) error {
			files, err := variant(r.old, r.new)
			if err != nil {
				return err
			}
			defer os.RemoveAll(filepath.Dir(files))
			return errors.Join(refusedUp(files, r.want), unchanged())
		}})
	}
	checks = append(checks, check{name: "a card with the default route is refused", do: func(c *cards) error {
		return errors.Join(defaultRoute(c), unchanged())
	}})
	for _, k := range moments() {
		checks = append(checks, check{name: "up killed " + k.name + ", then down: all is as before", do: func(*cards) error {
			return errors.Join(killed(k.come), unchanged())
		}})
	}
	return group{name: "policies and restoring", chained: true, checks: checks}
}

// takenDown: down after work, right after somebody has removed the VFs of a card once more.
func takenDown(before *[]sriov.PF) group {
	return group{name: "down", checks: []check{
		{name: "after the VFs of a card have gone every card is as it was before the topology", do: func(*cards) error {
			return errors.Join(write(cardAddress, "sriov_numvfs", "0"), spklab("down", labName), gone(), asBefore(before))
		}},
		{name: "no record of a card is left", do: func(*cards) error {
			left, err := records("*")
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("left: %v", left)
			}
			return err
		}},
	}}
}

// cardsNow is what `spklab doctor` says of the cards, without the state of their cables and the numbers of IOMMU
// groups, which the kernel gives out anew with each VF.
func cardsNow() ([]sriov.PF, error) {
	inv, err := topo.Host{}.Cards()
	if err != nil {
		return nil, err
	}
	if len(inv.PFs) != 3 {
		return nil, fmt.Errorf("%d cards, want 3", len(inv.PFs))
	}
	for i := range inv.PFs {
		inv.PFs[i].Link = ""
		for k := range inv.PFs[i].VFs {
			inv.PFs[i].VFs[k].Group = ""
		}
	}
	return inv.PFs, nil
}

// asBefore compares the cards with what they were.
func asBefore(before *[]sriov.PF) error {
	now, err := cardsNow()
	if err != nil {
		return err
	}
	if diff := cmp.Diff(*before, now); diff != "" {
		return fmt.Errorf("the cards differ (-before +now)\n%s", diff)
	}
	return nil
}

// planned holds the plan's lines against the policies.
func planned() error {
	out, err := output("plan", labFiles, "--backend", "hil", "-i", inventory)
	if err != nil {
		return err
	}
	for _, want := range []string{
		"pf 0000:01:00.0 vfs 4 vf 0 netdevice vf 1 netdevice vf 2 netdevice vf 3 netdevice", "pf 0000:02:00.0 vfs 4",
		"vf spk-spk-sriov-f5-tmm-1 net1 pci 0000:01:10.0", "vf spk-spk-sriov-f5-tmm-1 net2 pci 0000:01:10.4",
		"vf spk-spk-sriov-f5-tmm-2 net1 pci 0000:02:10.0", "vf spk-spk-sriov-f5-tmm-2 net2 pci 0000:02:10.4",
		"uplink 0000:03:00.0 spk-spk-sriov-lan master trunk000003000 mtu 1500 tag 100 tag 200",
	} {
		if !strings.Contains(string(out), want) {
			return fmt.Errorf("the plan lacks %q", want)
		}
	}
	return nil
}

// variant is a copy of the lab's files, policies changed.
func variant(old, to string) (string, error) {
	dir, err := os.MkdirTemp("", "topologies")
	if err != nil {
		return "", err
	}
	if err := os.CopyFS(dir, topologies.FS); err != nil {
		return "", err
	}
	files := filepath.Join(dir, labFiles)
	policies := filepath.Join(files, "manifests", "sriov.yaml")
	text, err := os.ReadFile(policies)
	if err != nil {
		return "", err
	}
	return files, os.WriteFile(policies, []byte(strings.ReplaceAll(string(text), old, to)), 0o644)
}

// refusedUp says that a lab does not come up, for a reason that has the words.
func refusedUp(files, words string) error {
	err := spklab(up(files)...)
	if err == nil {
		return fmt.Errorf("it came up")
	}
	if !strings.Contains(err.Error(), "exit status 5") || !strings.Contains(err.Error(), words) {
		return fmt.Errorf("want exit status 5 and %q: %w", words, err)
	}
	return nil
}

// defaultRoute has the far card carry the default route meanwhile.
func defaultRoute(c *cards) error {
	return errors.Join(
		ip("address", "add", "192.0.2.1/24", "dev", c.peer), ip("route", "add", "default", "via", "192.0.2.2", "dev", c.peer),
		refusedUp(labFiles, "it carries the default route"),
		ip("route", "del", "default"), ip("address", "flush", "dev", c.peer, "scope", "global"))
}

func ip(words ...string) error {
	if out, err := exec.Command("ip", words...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(words, " "), err, out)
	}
	return nil
}

// moment is a state of the cards that an up comes by.
type moment struct {
	name string
	come func() error
}

func moments() []moment {
	return []moment{
		{"before the first VF", func() error { return exists(records("*")) }},
		{"with the VFs of a card made", func() error { return same(peerAddress, "sriov_numvfs", "4") }},
		{"with VFs given to a TMM", func() error { return exists(filepath.Glob("/run/spklab/" + labName + "/vf/*")) }},
		{"with the uplink lent", func() error { return exists(records("0000:03:*")) }},
	}
}

// records are those of cards that a lab has changed.
func records(pattern string) ([]string, error) {
	return filepath.Glob("/run/spklab/.sriov/" + pattern + ".json")
}

func exists(found []string, err error) error {
	if err == nil && len(found) == 0 {
		err = errors.New("not there yet")
	}
	return err
}

// killed kills an up at a moment, then takes the lab down.
func killed(come func() error) error {
	cmd := program(up(labFiles)...)
	if err := cmd.Start(); err != nil {
		return err
	}
	err := until(come)
	_ = cmd.Process.Kill() // it may have ended
	if cmd.Wait() == nil {
		err = errors.Join(err, errors.New("up had ended before it was killed"))
	}
	return errors.Join(err, spklab("down", labName), gone())
}

// gone says that nothing of the lab is left.
func gone() error {
	left, err := filepath.Glob(filepath.Join("/run/netns", topo.NetnsName(labName, "*")))
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("left: %v", left)
	}
	return err
}
