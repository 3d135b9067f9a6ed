package sriov

// ConfiguredOnly is what a report says of a setting that the card keeps and gives back without acting on it.
const ConfiguredOnly = "configured, not enforced"

// Setting is something that a PF can be told about a VF, by the word of a CNI configuration.
type Setting string

// The settings of a VF.
const (
	SettingVLAN      Setting = "vlan"
	SettingSpoofChk  Setting = "spoofchk"
	SettingTrust     Setting = "trust"
	SettingMinTxRate Setting = "min_tx_rate"
	SettingMaxTxRate Setting = "max_tx_rate"
)

// Settings are all of them.
func Settings() []Setting {
	return []Setting{SettingVLAN, SettingSpoofChk, SettingTrust, SettingMinTxRate, SettingMaxTxRate}
}

// Emulated says whether the PF is QEMU's igb: that driver on a machine that says QEMU made it.
func (i *Inventory) Emulated(p *PF) bool { return i.Platform == "QEMU" && p.Driver == "igb" }

// Enforces says whether the PF acts on a setting. QEMU's igb isolates VLANs and knows trust; of the
// anti-spoof filter and the rates it keeps what was set. This is the one place that knows.
func (i *Inventory) Enforces(p *PF, s Setting) bool {
	if !i.Emulated(p) {
		return true
	}
	switch s {
	case SettingSpoofChk, SettingMinTxRate, SettingMaxTxRate:
		return false
	}
	return true
}

// Label is ConfiguredOnly where the PF does not act on a setting, else empty.
func (i *Inventory) Label(p *PF, s Setting) string {
	if i.Enforces(p, s) {
		return ""
	}
	return ConfiguredOnly
}
