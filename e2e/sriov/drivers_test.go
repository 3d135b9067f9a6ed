package sriov

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/topo"
)

// drivers: who has a VF, and that it comes back.
func drivers() group {
	return group{name: "drivers and namespaces", checks: []check{
		{name: "vfio-pci takes a VF", do: bindVFIO},
		{name: "the PF speaks of a VF that vfio-pci has", do: func(c *cards) error {
			return c.set(2, func(pf netlink.Link) error { return netlink.LinkSetVfVlanQos(pf, 2, 30, 0) }, func(vf netlink.VfInfo) bool { return vf.Vlan == 30 })
		}},
		{name: "igbvf takes it back", do: unbindVFIO},
		{name: "a VF returns when its namespace is deleted", do: returned},
		{name: "the PF's words of it outlive the namespace", do: func(c *cards) error {
			vf, err := c.admin(0)
			if err == nil && vf.Mac.String() != adminMAC().String() {
				err = fmt.Errorf("its MAC is %s", vf.Mac)
			}
			return err
		}},
		{name: "without VFs there is none in any namespace", do: allGone},
		{name: "the far card returns, too", do: func(c *cards) error {
			if out, err := exec.Command("ip", "-all", "netns", "del").CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			_, err := interfaceOf(peerAddress)
			return err
		}},
		{name: "new VFs have nothing of the old ones' VLANs", do: func(c *cards) error {
			if err := makeVFs(cardAddress, vfs); err != nil {
				return err
			}
			vf, err := c.admin(2)
			if err == nil && vf.Vlan != 0 {
				err = fmt.Errorf("VF 2 is in VLAN %d", vf.Vlan)
			}
			return err
		}},
	}}
}

// rebind has a driver take a device that has none; "" is the kernel's choice.
func rebind(address, driver string) error {
	if driver == "" {
		driver = "\n"
	}
	return errors.Join(write(address, "driver_override", driver), os.WriteFile("/sys/bus/pci/drivers_probe", []byte(address), 0))
}

func bindVFIO(*cards) error {
	vf := vfAddress(2)
	if err := errors.Join(write(vf, "driver/unbind", vf), rebind(vf, "vfio-pci")); err != nil {
		return err
	}
	if driver := target(vf, "driver"); driver != "vfio-pci" {
		return fmt.Errorf("it has driver %q", driver)
	}
	_, err := os.Stat(filepath.Join("/dev/vfio", target(vf, "iommu_group")))
	return err
}

func unbindVFIO(*cards) error {
	vf := vfAddress(2)
	if err := errors.Join(write(vf, "driver/unbind", vf), rebind(vf, "")); err != nil {
		return err
	}
	_, err := interfaceOf(vf)
	return err
}

func returned(*cards) error {
	if out, err := exec.Command("ip", "netns", "del", podOne).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	_, err := interfaceOf(vfAddress(0))
	return err
}

func allGone(*cards) error {
	if err := write(cardAddress, "sriov_numvfs", "0"); err != nil {
		return err
	}
	return topo.Do(podTwo, func() error {
		if _, err := netlink.LinkByName(inPod); err == nil {
			return fmt.Errorf("%s is in %s", inPod, podTwo)
		}
		return nil
	})
}
