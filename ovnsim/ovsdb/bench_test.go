package ovsdb

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The load of a large SPK installation: an egress route for each pod and TMM.
const (
	benchPods = 1250
	benchTMMs = 8
)

// subject is a server in a process of its own that keeps a file.
type subject struct {
	b    testing.TB
	pid  int
	nc   net.Conn
	dec  *json.Decoder
	stop func()
}

func startSubject(b testing.TB, ours bool) *subject {
	b.Helper()
	s := &subject{b: b}
	db := filepath.Join(b.TempDir(), "nb.db")
	sock := db + ".sock"
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SPKLAB_TEST_OVN_NB="+db)
	if !ours {
		createDatabase(b, db)
		cmd = exec.Command("ovsdb-server", "--remote=punix:"+sock, "--unixctl="+db+".ctl", "--no-chdir", "-vconsole:off", db)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	s.pid, s.stop = cmd.Process.Pid, func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	waitFor(b, func() (err error) {
		s.nc, err = net.Dial("unix", sock)
		return err
	})
	s.dec = json.NewDecoder(bufio.NewReaderSize(s.nc, 1<<20))
	s.watch(sock)
	s.transact(`{"op":"insert","table":"Logical_Router","row":{"name":"GR"}}`)
	return s
}

// watch has a second client follow everything, as ovn-northd does.
func (s *subject) watch(sock string) {
	nc, err := net.Dial("unix", sock)
	if err != nil {
		s.b.Fatal(err)
	}
	s.b.Cleanup(func() { _ = nc.Close() })
	if _, err := io.WriteString(nc, `{"method":"monitor_cond","id":1,"params":["OVN_Northbound",1,{"Logical_Router":[{}],"Logical_Router_Static_Route":[{}]}]}`); err != nil {
		s.b.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, nc) }()
}

// transact runs operations and returns their results.
func (s *subject) transact(ops string) json.RawMessage {
	s.b.Helper()
	if _, err := io.WriteString(s.nc, transact("1", ops)); err != nil {
		s.b.Fatal(err)
	}
	var answer struct{ Result json.RawMessage }
	if err := s.dec.Decode(&answer); err != nil {
		s.b.Fatal(err)
	}
	if head := answer.Result[:min(len(answer.Result), 4000)]; strings.Contains(string(head), `"error"`) {
		s.b.Fatalf("transaction: %s", head)
	}
	return answer.Result
}

func tmm(i int) string { return fmt.Sprintf("10.144.100.%d", 16+i) }

// addPod inserts the routes of one pod in one transaction, as the controller writes them.
func (s *subject) addPod(pod int) {
	var ops, names []string
	for i := range benchTMMs {
		ops = append(ops, fmt.Sprintf(`{"op":"insert","table":"Logical_Router_Static_Route","uuid-name":"r%d","row":{"ip_prefix":"10.131.%d.%d/32",
			"nexthop":%q,"policy":"src-ip","output_port":"rtoe-GR","options":["map",[["ecmp_symmetric_reply","true"]]]}}`, i, pod/250, pod%250, tmm(i)))
		names = append(names, fmt.Sprintf(`["named-uuid","r%d"]`, i))
	}
	s.transact(strings.Join(ops, ",") + `,{"op":"mutate","table":"Logical_Router","where":[["name","==","GR"]],"mutations":[["static_routes","insert",["set",[` +
		strings.Join(names, ",") + `]]]]}`)
}

// removeTMM takes the routes of one TMM out in one transaction.
func (s *subject) removeTMM(i int) int {
	var answer []struct {
		Rows []struct {
			UUID [2]string `json:"_uuid"`
		}
	}
	if err := json.Unmarshal(s.transact(`{"op":"select","table":"Logical_Router_Static_Route","where":[["nexthop","==","`+tmm(i)+`"]],"columns":["_uuid"]}`), &answer); err != nil {
		s.b.Fatal(err)
	}
	refs := make([]string, len(answer[0].Rows))
	for j, r := range answer[0].Rows {
		refs[j] = `["uuid","` + r.UUID[1] + `"]`
	}
	s.transact(`{"op":"mutate","table":"Logical_Router","where":[["name","==","GR"]],"mutations":[["static_routes","delete",["set",[` + strings.Join(refs, ",") + `]]]]}`)
	return len(refs)
}

// status reads a number of kB from /proc/PID/status.
func (s *subject) status(field string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		s.b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), field+":")
	n, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		s.b.Fatal(err)
	}
	return n
}

// cpu is the processor time that the server has used, in clock ticks.
func (s *subject) cpu() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	if err != nil {
		s.b.Fatal(err)
	}
	f := strings.Fields(string(text)[strings.LastIndex(string(text), ")"):])
	user, err1 := strconv.ParseFloat(f[12], 64)
	system, err2 := strconv.ParseFloat(f[13], 64)
	if err1 != nil || err2 != nil {
		s.b.Fatal(err1, err2)
	}
	return user + system
}

// figures are what one server took.
type figures struct {
	insert, all, leave time.Duration
	cpu, rss, anon     float64
}

func measure(b *testing.B, ours bool) figures {
	s := startSubject(b, ours)
	defer s.stop()
	var f figures
	f.insert = timed(func() {
		for pod := range benchPods {
			s.addPod(pod)
		}
	})
	f.all = timed(func() {
		if n := strings.Count(string(s.transact(`{"op":"select","table":"Logical_Router_Static_Route","where":[]}`)), "ip_prefix"); n != benchPods*benchTMMs {
			b.Errorf("%d rows", n)
		}
	})
	f.rss, f.anon = s.status("VmRSS"), s.status("RssAnon")
	f.leave = timed(func() {
		if n := s.removeTMM(3); n != benchPods {
			b.Errorf("%d routes of the TMM", n)
		}
	})
	f.cpu = s.cpu()
	return f
}

func timed(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}

// BenchmarkRoutes has this server and ovsdb-server, in turn, take 10,000 static routes in one
// transaction a pod, give all back in one select, and lose one TMM's in one transaction. The
// metrics are the times of this server, and ratios of this server to ovsdb-server.
func BenchmarkRoutes(b *testing.B) {
	needPrograms(b, "ovsdb-server", "ovsdb-tool")
	var ours, theirs figures
	for b.Loop() {
		theirs = measure(b, false)
		ours = measure(b, true)
	}
	b.ReportMetric(ours.insert.Seconds(), "insert-s")
	b.ReportMetric(ours.insert.Seconds()/theirs.insert.Seconds(), "insert/ovsdb-server")
	b.ReportMetric(ours.all.Seconds()*1000, "select-ms")
	b.ReportMetric(ours.all.Seconds()/theirs.all.Seconds(), "select/ovsdb-server")
	b.ReportMetric(ours.leave.Seconds()*1000, "leave-ms")
	b.ReportMetric(ours.leave.Seconds()/theirs.leave.Seconds(), "leave/ovsdb-server")
	b.ReportMetric(ours.cpu/theirs.cpu, "cpu/ovsdb-server")
	b.ReportMetric(ours.rss/theirs.rss, "rss/ovsdb-server")
	b.ReportMetric(ours.anon/theirs.anon, "anon/ovsdb-server")
	b.ReportMetric(ours.rss/1024, "rss-MB")
}
