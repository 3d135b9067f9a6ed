package ovsdb

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// startServer runs the server under test and returns its socket.
func startServer(t testing.TB) string {
	t.Helper()
	sock, _ := startWith(t, Config{})
	return sock
}

func waitFor(t testing.TB, f func() error) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// needPrograms skips where Debian's OVN packages are missing, and fails there under CI.
func needPrograms(t testing.TB, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%v: install ovn-common and openvswitch-switch", err)
			}
			t.Skipf("%v: install ovn-common and openvswitch-switch", err)
		}
	}
}

// startReference runs the real ovsdb-server with the same schema.
func startReference(t *testing.T) string {
	t.Helper()
	sock, _ := startReferenceOn(t, createDatabase(t, filepath.Join(t.TempDir(), "nb.db")))
	return sock
}

// outcome is what a user of a command line sees.
type outcome struct {
	Code   int
	Stdout string
	Stderr string
}

func command(t *testing.T, sock, name string, args ...string) outcome {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "OVN_NB_DB=unix:"+sock)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{Code: cmd.ProcessState.ExitCode(), Stdout: normalise(out.String()), Stderr: normalise(errs.String())}
}

var (
	uuidText = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	logStamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z\|\d+\|`)
	sockName = regexp.MustCompile(`/\S+/nb\.sock`)
	digits   = regexp.MustCompile(`_cfg_timestamp *: \d+`)
	waited   = regexp.MustCompile(`after \d+ ms`)
	// Of two rows that collide, both servers name the one with the greater UUID first.
	collision = regexp.MustCompile(`(First row, with UUID UUID, )(.*?)(\.  Second row, with UUID UUID, )(.*?)(\.)`)
)

// normalise masks what differs from run to run, and sorts records, which both servers give in
// the order of their random UUIDs.
func normalise(s string) string {
	s = uuidText.ReplaceAllString(s, "UUID")
	s = logStamp.ReplaceAllString(s, "")
	s = sockName.ReplaceAllString(s, "SOCKET")
	s = digits.ReplaceAllString(s, "TIMESTAMP")
	s = waited.ReplaceAllString(s, "after N ms")
	s = collision.ReplaceAllStringFunc(s, func(m string) string {
		p := collision.FindStringSubmatch(m)
		return p[1] + min(p[2], p[4]) + p[3] + max(p[2], p[4]) + p[5]
	})
	s = sortResults(s)
	sep := "\n"
	if strings.Contains(s, "\n\n") {
		sep = "\n\n"
	}
	records := strings.Split(strings.TrimSuffix(s, "\n"), sep)
	slices.Sort(records)
	return strings.Join(records, sep)
}

// sortResults sorts the rows in the results of a transaction; what is no such thing it leaves alone.
func sortResults(s string) string {
	var results []map[string]json.RawMessage
	if json.Unmarshal([]byte(s), &results) != nil {
		return s
	}
	for _, r := range results {
		var rows []json.RawMessage
		if json.Unmarshal(r["rows"], &rows) != nil {
			continue
		}
		slices.SortFunc(rows, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
		sorted, err := json.Marshal(rows)
		if err != nil {
			return s
		}
		r["rows"] = sorted
	}
	out, err := json.Marshal(results)
	if err != nil {
		return s
	}
	return string(out)
}

// TestNbctlSideBySide runs Debian's ovn-nbctl, command after command, against this server and
// against ovsdb-server, and wants the same output and the same exit code each time.
func TestNbctlSideBySide(t *testing.T) {
	needPrograms(t, "ovn-nbctl", "ovsdb-server", "ovsdb-tool")
	for _, name := range []string{"nbctl-gateways.txt", "nbctl-commands.txt"} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := startServer(t), startReference(t)
			compareLines(t, name, func(line string) (want, got outcome) {
				args := append([]string{"--timeout=10", "--no-leader-only"}, words(line)...)
				return command(t, theirs, "ovn-nbctl", args...), command(t, ours, "ovn-nbctl", args...)
			})
		})
	}
}

// compareLines runs each line of a script on both servers and counts the equal ones.
func compareLines(t *testing.T, name string, run func(line string) (want, got outcome)) {
	t.Helper()
	lines, equal := script(t, name), 0
	for _, line := range lines {
		t.Run(line, func(t *testing.T) {
			want, got := run(line)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-ovsdb-server +ours:\n%s", diff)
				return
			}
			equal++
		})
	}
	t.Logf("%s: %d equal of %d", name, equal, len(lines))
}

// words splits a line at blanks; what stands between single quotes is kept together.
func words(line string) []string {
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

// TestTransactSideBySide sends operations as they are, good and bad ones, by ovsdb-client.
func TestTransactSideBySide(t *testing.T) {
	needPrograms(t, "ovsdb-client", "ovsdb-server", "ovsdb-tool")
	ours, theirs := startServer(t), startReference(t)
	const same = `["OVN_Northbound",{"op":"insert","table":"NB_Global","row":{}}]`
	command(t, theirs, "ovsdb-client", "transact", "unix:"+theirs, same) // ours is born with one
	compareLines(t, "transact.txt", func(line string) (want, got outcome) {
		run := func(sock string) outcome {
			return command(t, sock, "ovsdb-client", "--timeout=10", "transact", "unix:"+sock, line)
		}
		return run(theirs), run(ours)
	})
}

// script reads the lines of a test script.
func script(t *testing.T, name string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// TestWait is what only this server does: without northd and controllers, --wait returns.
func TestWait(t *testing.T) {
	needPrograms(t, "ovn-nbctl")
	sock := startServer(t)
	for _, args := range []string{"--wait=sb sync", "--wait=hv lr-add waited", "--wait=hv set NB_Global . name=x"} {
		if o := command(t, sock, "ovn-nbctl", append([]string{"--timeout=10"}, strings.Fields(args)...)...); o.Code != 0 {
			t.Errorf("%s: %+v", args, o)
		}
	}
	got := command(t, sock, "ovn-nbctl", "get", "NB_Global", ".", "nb_cfg", "sb_cfg", "hv_cfg")
	if diff := cmp.Diff(outcome{Stdout: "3\n3\n3"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestSeedCommand is the command of the SPK documentation, word for word.
func TestSeedCommand(t *testing.T) {
	needPrograms(t, "ovn-nbctl")
	sock := startServer(t)
	for _, args := range [][]string{
		{"lr-add", "GR_worker-1"},
		{"--policy=src-ip", "--ecmp-symmetric-reply", "lr-route-add", "GR_worker-1", "10.131.1.100", "10.144.100.16"},
		{"--policy=src-ip", "--ecmp-symmetric-reply", "lr-route-add", "GR_worker-1", "10.131.1.102", "10.144.100.16"},
		{"--policy=src-ip", "--ecmp-symmetric-reply", "lr-route-add", "GR_worker-1", "10.131.1.103", "10.144.100.17"},
	} {
		if o := command(t, sock, "ovn-nbctl", args...); o.Code != 0 {
			t.Fatalf("%v: %+v", args, o)
		}
	}
	got := command(t, sock, "ovn-nbctl", "--no-leader-only", "find", "Logical_Router_Static_Route", "nexthop=10.144.100.16")
	record := func(ip string) string {
		return `_uuid               : UUID
bfd                 : []
external_ids        : {}
ip_prefix           : "` + ip + `"
nexthop             : "10.144.100.16"
options             : {ecmp_symmetric_reply="true"}
output_port         : []
policy              : src-ip
route_table         : ""`
	}
	want := outcome{Stdout: record("10.131.1.100") + "\n\n" + record("10.131.1.102")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
