package sriov

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const sshVariable = "SSH_CONNECTION"

// sshConnections are the values of SSH_CONNECTION in the environment of a process and of those that it descends
// from, the nearest first: sudo does not hand the variable on (sudoers(5), env_reset), and sshd may listen on any
// port. Proc is where the kernel shows processes. What may not be read is passed over.
func sshConnections(proc string, pid int) []string {
	var out []string
	for seen := map[int]bool{}; pid > 0 && !seen[pid]; pid = parentOf(proc, pid) {
		seen[pid] = true
		environ, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "environ"))
		if err != nil {
			continue
		}
		for variable := range strings.SplitSeq(string(environ), "\x00") {
			value, ok := strings.CutPrefix(variable, sshVariable+"=")
			if ok && !slices.Contains(out, value) {
				out = append(out, value)
			}
		}
	}
	return out
}

// parentOf is a process's parent (proc_pid_status(5)), 0 where that is not known.
func parentOf(proc string, pid int) int {
	status, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "PPid:"); ok {
			parent, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				return 0
			}
			return parent
		}
	}
	return 0
}
