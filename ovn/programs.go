package ovn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spklab/spklab/ovn/debs"
)

// Programs are OVN's and Open vSwitch's programs of one release. The zero value is the installed ones.
type Programs struct {
	Root string // private root that they stand in, see package debs; empty: they are installed
}

// program is one of the programs that the real backends call, with the Debian package that has it.
type program struct{ name, deb string }

// programs are all of them.
func programs() []program {
	return []program{
		{"ovsdb-server", "openvswitch-common"}, {"ovsdb-tool", "openvswitch-common"}, {"ovs-ofctl", "openvswitch-common"},
		{"ovs-vsctl", "openvswitch-switch"}, {"ovs-vswitchd", "openvswitch-switch"},
		{"ovn-northd", "ovn-central"}, {"ovn-controller", "ovn-host"}, {"ovn-nbctl", "ovn-common"},
	}
}

// ErrMissing says that programs are not installed.
var ErrMissing = errors.New("not installed")

// Missing are the Debian packages of the programs that this machine lacks, sorted.
func Missing() []string {
	var names []string
	for _, p := range programs() {
		if _, err := Find(p.name); err != nil {
			names = append(names, p.deb)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Check is an error of kind ErrMissing where the machine cannot run OVN.
func Check() error {
	missing := Missing()
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("the programs of OVN and Open vSwitch are %w: apt-get install --no-install-recommends %s", ErrMissing, strings.Join(missing, " "))
}

// Find is the path of a program, also of one that only root's PATH has.
func Find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	path = filepath.Join("/usr/sbin", name)
	if _, serr := os.Stat(path); serr == nil {
		return path, nil
	}
	return "", err
}

// Find is the path of a program.
func (p Programs) Find(name string) (string, error) {
	if p.Root == "" {
		return Find(name)
	}
	path := filepath.Join(debs.Bin(p.Root), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find program: %w", err)
	}
	return path, nil
}

// Release is the release of OVN that the programs are of, such as 23.03.
func (p Programs) Release(ctx context.Context) (string, error) {
	text, err := p.output(ctx, os.TempDir(), "ovn-northd", "--version")
	if err != nil {
		return "", err
	}
	version := versionOf(text)
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return "", fmt.Errorf("ovn-northd calls its version %q, want something like 23.03.1", version)
	}
	return parts[0] + "." + parts[1], nil
}

// Schema is the path of a database's schema: ovn-nb, ovn-sb or vswitch.
func (p Programs) Schema(name string) string {
	if p.Root != "" {
		return debs.Schema(p.Root, name)
	}
	dir := "ovn"
	if name == "vswitch" {
		dir = "openvswitch"
	}
	return filepath.Join("/usr/share", dir, name+".ovsschema")
}

// command prepares a program whose run directory is dir. It keeps the caller's environment, with
// the mark of the lab's processes in it.
func (p Programs) command(ctx context.Context, dir, name string, argv ...string) (*exec.Cmd, error) {
	path, err := p.Find(name)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	cmd := exec.CommandContext(ctx, path, argv...)
	cmd.Env = os.Environ()
	for _, prefix := range []string{"OVS_", "OVN_"} {
		for _, what := range []string{"RUNDIR", "LOGDIR", "DBDIR", "SYSCONFDIR"} {
			cmd.Env = append(cmd.Env, prefix+what+"="+dir)
		}
	}
	return cmd, nil
}

// output runs a program to its end and returns what it printed.
func (p Programs) output(ctx context.Context, dir, name string, argv ...string) (string, error) {
	cmd, err := p.command(ctx, dir, name, argv...)
	if err != nil {
		return "", err
	}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return string(out), nil
}
