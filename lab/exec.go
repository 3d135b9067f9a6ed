package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/ovn/debs"
	"github.com/spklab/spklab/topo"
)

// Exec prepares a command inside a node of the lab; the caller sets its streams and runs it with
// Start and Wait of the returned Command. OVN's tools find the northbound database.
func (l *Lab) Exec(ctx context.Context, node string, argv []string) (*Command, error) {
	nodes, err := l.Nodes()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(nodes, func(n Node) bool { return n.Name == node })
	if i < 0 {
		var names []string
		for _, n := range nodes {
			names = append(names, n.Name)
		}
		return nil, &api.InputError{File: "exec", Text: node, Message: "no such node; this lab has " + strings.Join(names, ", ")}
	}
	cmd := exec.CommandContext(ctx, l.find(argv[0]), argv[1:]...)
	if cmd.Err != nil {
		return nil, fmt.Errorf("find command: %w", cmd.Err)
	}
	cmd.Env = append(os.Environ(),
		topo.ProcessEnv+"="+l.rt.Dir()+"/exec",
		"SPKLAB_LAB="+l.Name(), "SPKLAB_NODE="+node, "OVN_NB_DB=unix:"+l.NBSocket())
	if l.Spec.Fabric.Real() { // ovs-vsctl, ovs-ofctl and ovs-appctl look for the node's switch there
		cmd.Env = append(cmd.Env, "OVN_SB_DB=unix:"+filepath.Join(l.rt.Dir(), "ovn", "sb.sock"), "OVS_RUNDIR="+filepath.Join(l.rt.Dir(), "ovn", node))
	}
	if l.root != "" { // its programs come first, whoever calls them
		cmd.Env = append(cmd.Env, "PATH="+debs.Bin(l.root)+":"+os.Getenv("PATH"))
	}
	return &Command{Cmd: cmd, netns: nodes[i].Netns}, nil
}

// Command is an exec.Cmd that runs inside a network namespace.
type Command struct {
	*exec.Cmd
	netns string
}

// Start starts the command in its namespace.
func (c *Command) Start() error { return topo.Start(c.netns, c.Cmd) }

// Run starts the command and waits for it; the exit code of a command that ran is not an error.
func (c *Command) Run() (exitCode int, err error) {
	if err := c.Start(); err != nil {
		return 0, err
	}
	err = c.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}
