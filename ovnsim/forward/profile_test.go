package forward

import (
	"slices"
	"testing"
)

func TestFindProfile(t *testing.T) {
	tests := []struct{ name, want, fails string }{
		{name: "", want: ProfileSPK},
		{name: "spk", want: ProfileSPK},
		{name: "ovn-23.03", want: ProfileOVN2303},
		{name: "ovn-25.03", want: ProfileOVN2503},
		{name: "ovn", fails: `profile "ovn": want spk or ovn-23.03 or ovn-25.03`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := FindProfile(tt.name)
			if (err == nil) != (tt.fails == "") || (err != nil && err.Error() != tt.fails) {
				t.Fatalf("error %v, want %q", err, tt.fails)
			}
			if p.Name != tt.want {
				t.Errorf("profile %q, want %q", p.Name, tt.want)
			}
		})
	}
}

func TestUDPHash(t *testing.T) {
	tests := []struct {
		profile, word string
		want          Choice
		deterministic bool
	}{
		{"spk", "", RoundRobinChoice, false},
		{"spk", "ports", HashPorts, true},
		{"spk", "addresses", HashAddresses, true},
		{"ovn-23.03", "", HashAddresses, true},
		{"ovn-23.03", "ports", HashPorts, true},
		{"ovn-25.03", "", HashAddresses, true},
	}
	for _, tt := range tests {
		t.Run(tt.profile+" "+tt.word, func(t *testing.T) {
			p, err := Config{Profile: tt.profile, UDPHash: tt.word}.profile()
			if err != nil || p.UDP != tt.want || p.Deterministic(protoUDP) != tt.deterministic {
				t.Errorf("UDP by %q, deterministic %v, %v", p.UDP, p.Deterministic(protoUDP), err)
			}
		})
	}
	if _, err := (Config{UDPHash: "port"}).profile(); err == nil {
		t.Error("a hash of an unknown word was taken")
	}
}

// TestProfilesAreComplete checks that every profile says what it does with everything.
func TestProfilesAreComplete(t *testing.T) {
	for _, p := range Profiles() {
		choices, changes := []Choice{p.TCP, p.UDP, p.ICMP}, []Change{p.OnAdd, p.OnRemove, p.InboundOnRemove}
		if p.Name == "" || p.Text == "" || p.SymmetricRoutes == 0 || slices.Contains(choices, "") || slices.Contains(changes, "") {
			t.Errorf("profile with holes: %+v", p)
		}
	}
}
