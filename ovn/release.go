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
)

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
	var debs []string
	for _, p := range programs() {
		if _, err := Find(p.name); err != nil {
			debs = append(debs, p.deb)
		}
	}
	slices.Sort(debs)
	return slices.Compact(debs)
}

// Check is an error of kind ErrMissing where the machine cannot run OVN.
func Check() error {
	debs := Missing()
	if len(debs) == 0 {
		return nil
	}
	return fmt.Errorf("the programs of OVN and Open vSwitch are %w: apt-get install --no-install-recommends %s", ErrMissing, strings.Join(debs, " "))
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

// schema is the path of a database's schema as the packages install it.
func schema(name string) string {
	dir := "ovn"
	if name == "vswitch" {
		dir = "openvswitch"
	}
	return filepath.Join("/usr/share", dir, name+".ovsschema")
}

// command prepares a program whose run directory is dir. It keeps the caller's environment, with
// the mark of the lab's processes in it.
func command(ctx context.Context, dir, name string, argv ...string) (*exec.Cmd, error) {
	path, err := Find(name)
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
func output(ctx context.Context, dir, name string, argv ...string) (string, error) {
	cmd, err := command(ctx, dir, name, argv...)
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
