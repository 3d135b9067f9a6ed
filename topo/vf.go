package topo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spklab/spklab/topo/vf"
)

// vfs is the machine whose VFs the lab uses; their records are below the state directory.
func (r *Runtime) vfs() vf.Host {
	return vf.Host{Sys: r.host.Sys, Dir: filepath.Join(r.dir, "vf")}
}

// vfSettings are what a configuration of type sriov asks for; a MAC that the pod asks for counts before
// the configuration's.
func vfSettings(a Attachment) vf.Settings {
	s := vf.Settings{MAC: a.MAC}
	c := a.Config.SRIOV
	if c == nil {
		return s
	}
	if s.VLAN = c.VLAN; c.VLAN != nil {
		if c.VLANQoS != nil {
			s.QoS = *c.VLANQoS
		}
		if c.VLANProto != nil {
			s.Proto = *c.VLANProto
		}
	}
	if s.MAC == "" {
		s.MAC = c.MAC
	}
	s.MinTxRate, s.MaxTxRate = c.MinTxRate, c.MaxTxRate
	s.SpoofChk, s.Trust, s.LinkState = c.SpoofChk, c.Trust, c.LinkState
	return s
}

// makeVF gives a VF to its namespace, with its addresses where it has an interface.
func (w *world) makeVF(ctx context.Context, s *VFStep) error {
	_, err := w.r.vfs().Add(ctx, vf.Request{Address: s.Address, Netns: s.Netns, Interface: s.Name, Settings: s.Settings, LastMAC: w.lostMAC(s)})
	if err != nil || s.Assigned == nil {
		return err
	}
	if err := w.configureVF(s); err != nil {
		return errors.Join(err, w.r.vfs().Del(context.WithoutCancel(ctx), s.Address))
	}
	return nil
}

// undoVF takes a VF back. Of one that has vanished it keeps the MAC in mind, for the one that comes to the same
// place again.
func (w *world) undoVF(ctx context.Context, s *VFStep) error {
	mac, err := w.r.vfs().LostMAC(s.Address)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.lost[s.place()] = mac
	w.mu.Unlock()
	return w.r.vfs().Del(ctx, s.Address)
}

func (w *world) lostMAC(s *VFStep) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost[s.place()]
}

// place is which VF is to be where.
func (s *VFStep) place() string { return s.Address + " " + s.Netns + "/" + s.Name }

func (w *world) configureVF(s *VFStep) error {
	h, l, err := w.link(s.Netns, s.Name)
	if err != nil {
		return err
	}
	if err := notifyARP(s.Netns, s.Name); err != nil {
		return err
	}
	return h.configure(s.Netns, l, s.Assigned)
}

// returnVFs restores the VFs that have records, also where the journal knows nothing of them.
func (r *Runtime) returnVFs(ctx context.Context) error {
	records, err := r.vfs().Records()
	if err != nil {
		return err
	}
	for _, rec := range records {
		if err := r.vfs().Del(ctx, rec.Function.Address); err != nil {
			return fmt.Errorf("of lab %s: %w", r.lab, err)
		}
	}
	return nil
}
