package sriov

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/control"
)

// tmm is the TMM that loses VFs: external while it works, and internal before it is mended.
const tmm = "f5-tmm-1"

func internal() function { return given()[0] }
func external() function { return given()[1] }

// unplugged: a VF goes from under a TMM at work, and comes back.
func unplugged() group {
	var pid, address string
	var macs []string
	return group{name: "a VF unplugged under a TMM", chained: true, checks: []check{
		{name: "an event names TMM, interface and VF", do: func(*cards) (err error) {
			if pid, err = proxy(); err != nil {
				return err
			}
			if macs, err = tmmMACs(); err != nil {
				return err
			}
			address = external().address()
			since := ctl.Now()
			if err := external().unbind(); err != nil {
				return err
			}
			return until(func() error { return told(since, "InterfaceMissing", "interface 1.2", address) })
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
		{name: "up gives it back, and takes up one that has no driver", do: func(*cards) error {
			if err := errors.Join(external().bind(), internal().unbind()); err != nil {
				return err
			}
			return errors.Join(spklab(up(labFiles)...), tmmsHaveVFs())
		}},
		{name: "both have the MACs that they had", do: func(*cards) error {
			now, err := tmmMACs()
			if err == nil && !slices.Equal(now, macs) {
				err = fmt.Errorf("%v, were %v", now, macs)
			}
			return err
		}},
		{name: "it is led to again, by the same process", do: func(*cards) error {
			now, err := proxy()
			if err == nil && now != pid {
				err = fmt.Errorf("process %s was %s", now, pid)
			}
			return errors.Join(err, until(led))
		}},
	}}
}

// tmmMACs are those of the TMM's interfaces.
func tmmMACs() ([]string, error) {
	one, err1 := internal().mac()
	two, err2 := external().mac()
	return []string{one, two}, errors.Join(err1, err2)
}

// proxy is the process of the TMM.
func proxy() (string, error) { return proxyIn(external().tmm) }

// proxyIn is the process of the TMM in a namespace.
func proxyIn(ns string) (string, error) {
	out, err := exec.Command("ip", "netns", "pids", ns).Output()
	if err != nil {
		return "", err
	}
	for pid := range strings.FieldsSeq(string(out)) {
		if name, err := os.ReadFile(filepath.Join("/proc", pid, "comm")); err == nil && strings.TrimSpace(string(name)) == "spkproxy" {
			return pid, nil
		}
	}
	return "", fmt.Errorf("no spkproxy in %s", ns)
}

// told says that an event of the TMM, of a condition that came after a moment of ctl.Now, has all of the words.
func told(since int64, words ...string) error {
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
		if e.At > since && e.Kind == control.EventCondition && hasAll(e.Detail, words) {
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
