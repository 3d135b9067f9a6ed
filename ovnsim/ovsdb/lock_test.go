package ovsdb

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lockStory has ovsdb-clients lock, wait for, steal and leave one lock, and returns what each of
// them printed.
func lockStory(t *testing.T, sock string) []string {
	t.Helper()
	type client struct {
		cmd *exec.Cmd
		out *lockedText
	}
	var clients []client
	start := func(method string) client {
		c := client{exec.Command("ovsdb-client", "--timeout=60", "-vconsole:off", method, "unix:"+sock, "lock1"), &lockedText{}}
		c.cmd.Stdout = c.out
		if err := c.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
		})
		clients = append(clients, c)
		return c
	}
	says := func(c client, lines int) {
		waitFor(t, func() error {
			if strings.Count(c.out.String(), "\n") < lines {
				return errors.New("ovsdb-client has printed " + c.out.String())
			}
			return nil
		})
	}
	owner := start("lock")
	says(owner, 1)
	second := start("lock")
	says(second, 1)
	thief := start("steal")
	says(thief, 1)
	says(owner, 3) // stolen: a word and the lock
	other := start("steal")
	says(other, 1)
	says(thief, 3)
	_ = other.cmd.Process.Kill()
	says(owner, 5) // it has waited since it was robbed
	_ = owner.cmd.Process.Kill()
	says(second, 3)
	var out []string
	for _, c := range clients {
		out = append(out, c.out.String())
	}
	return out
}

// TestLocksSideBySide: the same clients see the same of a lock on both servers.
func TestLocksSideBySide(t *testing.T) {
	needPrograms(t, "ovsdb-client", "ovsdb-server", "ovsdb-tool")
	want, got := lockStory(t, startReference(t)), lockStory(t, startServer(t))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-ovsdb-server +ours:\n%s", diff)
	}
	t.Logf("%q", got)
}
