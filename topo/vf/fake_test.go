package vf

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

const noMAC = "00:00:00:00:00:00"

// card is a VF of igb's kind as it stands in the kernel, which survives those who work on it: the PF
// refuses a VF's own MAC once it has set one, unless it trusts the VF; the VF hears of it when it comes up.
type card struct {
	state State
	place string // "": the caller's namespace, "temp", "target"
	plain bool   // a driver that does as it is told
	rates error  // what setting a rate ends with

	kill   int      // how many changes from now somebody is killed; 0: nobody
	orders []string // what was asked for
}

// killed is what a kill -9 looks like to those who call.
type killed struct{}

func (c *card) count(what string) {
	if c.kill--; c.kill == 0 {
		panic(killed{})
	}
	c.orders = append(c.orders, what)
}

func (c *card) State() (State, error) { return c.state, nil }
func (c *card) close()                {}

func (c *card) order(_ context.Context, f field, want Admin) error {
	c.count(fmt.Sprintf("%s %s", f, f.text(want)))
	a := &c.state.Admin
	switch f {
	case fieldVLAN:
		a.VLAN, a.QoS, a.Proto = want.VLAN, want.QoS, want.Proto
	case fieldMAC:
		a.MAC = want.MAC
	case fieldRate:
		if c.rates != nil {
			return c.rates
		}
		a.MinTxRate, a.MaxTxRate = want.MinTxRate, want.MaxTxRate
	case fieldSpoofChk:
		a.SpoofChk = want.SpoofChk
	case fieldTrust:
		a.Trust = want.Trust
	case fieldLinkState:
		a.LinkState = want.LinkState
	}
	return nil
}

func (c *card) change(ch change, want Link) error {
	c.count(ch.String())
	l, a := &c.state.Link, &c.state.Admin
	refuses := !c.plain && a.MAC != noMAC && !a.Trust
	switch ch {
	case changeTake:
		c.place, l.Up = "temp", false
	case changeGive:
		c.place, l.Up = "target", false
	case changeReturn:
		c.place, l.Up = "", false
	case changeName:
		if l.Up {
			return unix.EBUSY
		}
		l.Name = want.Name
	case changeMAC:
		if refuses {
			return unix.EADDRNOTAVAIL
		}
		if l.MAC = want.MAC; !c.plain {
			a.MAC = want.MAC
		}
	case changeMTU:
		l.MTU = want.MTU
	case changeFlags:
		l.Promisc, l.AllMulti = want.Promisc, want.AllMulti
	case changeUp:
		if l.Up = want.Up; !want.Up || c.plain {
			break
		}
		if refuses {
			l.MAC = a.MAC
		} else {
			a.MAC = l.MAC
		}
	}
	return nil
}

// survive is what the kernel does once somebody was killed: a namespace without a name goes, and the VF
// in it returns with the name it had there.
func (c *card) survive() {
	if c.kill = 0; c.place == "temp" {
		c.place = ""
	}
}
