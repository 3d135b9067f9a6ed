package sriov

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spklab/spklab/ctl"
)

// tmm is the TMM that loses a VF, and external the VF.
const tmm = "f5-tmm-1"

func external() function { return given()[1] }

// unplugged: a VF goes from under a TMM at work, and comes back.
func unplugged() group {
	var pid, address string
	return group{name: "a VF unplugged under a TMM", chained: true, checks: []check{
		{name: "an event names TMM, interface and VF", do: func(*cards) (err error) {
			if pid, err = proxy(); err != nil {
				return err
			}
			address = external().address()
			if err := external().unbind(); err != nil {
				return err
			}
			return until(func() error { return told("InterfaceMissing", tmm, "interface 1.2", address) })
		}},
		{name: "the other TMM serves alone", do: func(*cards) error {
			const ask = `exec 3<>/dev/tcp/192.0.2.10/80; read -t 5 greeting <&3; test -n "$greeting"` // of the pod
			return until(func() error { return spklab("exec", "--lab", labName, "client", "--", "bash", "-c", ask) })
		}},
		{name: "the proxy goes on", do: func(*cards) error {
			now, err := proxy()
			if err == nil && now != pid {
				err = fmt.Errorf("process %s was %s", now, pid)
			}
			return err
		}},
		{name: "plugged in it is led to again", do: func(*cards) error {
			if err := external().bind(); err != nil {
				return err
			}
			return until(led)
		}},
	}}
}

// proxy is the process of the TMM.
func proxy() (string, error) {
	out, err := exec.Command("ip", "netns", "pids", external().tmm).Output()
	if err != nil {
		return "", err
	}
	for pid := range strings.FieldsSeq(string(out)) {
		if name, err := os.ReadFile(filepath.Join("/proc", pid, "comm")); err == nil && strings.TrimSpace(string(name)) == "spkproxy" {
			return pid, nil
		}
	}
	return "", fmt.Errorf("no spkproxy in %s", external().tmm)
}

// told says that an event of the TMM has all of the words.
func told(words ...string) error {
	cmd := exec.Command(filepath.Join(os.Getenv(envBin), "spklab"), "events", "--lab", labName, "--source", tmm, "-o", "json")
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("spklab events: %w", err)
	}
	var events []ctl.Event
	if err := json.Unmarshal(out, &events); err != nil {
		return fmt.Errorf("spklab events: %w", err)
	}
	for _, e := range events {
		if text := e.Source + " " + e.Object + " " + e.Detail; hasAll(text, words) {
			return nil
		}
	}
	return fmt.Errorf("no event has all of %q", words)
}

func hasAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}
