package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"

	"github.com/spklab/spklab/scenarios/report"
)

// traced is what the tests read of the document of `spklab trace`.
type traced struct {
	Probe string
	Paths []report.Path
}

// trace sends a probe from the client and returns what `spklab trace` says of it.
func trace(t *testing.T, lab, proto, to string, flags ...string) (int, traced) {
	t.Helper()
	code, out := spklab(t, append([]string{"trace", "--lab", lab, "--from", "client", "--to", to, "--proto", proto, "-o", "json"}, flags...)...)
	var doc traced
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatalf("%v in:\n%s", err, out)
	}
	return code, doc
}

// traces follows flows through a lab of the spk topology that is as it should be.
func traces(t *testing.T, lab string) {
	for proto, to := range map[string]string{"tcp": "192.0.2.10:80", "udp": "192.0.2.12:5300"} {
		t.Run("trace "+proto, func(t *testing.T) {
			code, doc := trace(t, lab, proto, to, "--duration", "20s")
			requests := slices.IndexFunc(doc.Paths, func(p report.Path) bool { return !p.Reply })
			answers := slices.IndexFunc(doc.Paths, func(p report.Path) bool { return p.Reply })
			if code != 0 || !strings.HasPrefix(doc.Probe, "answered by spk-apps/app-") || requests < 0 || answers < 0 {
				t.Fatalf("exit code %d, probe %q, paths %+v", code, doc.Probe, doc.Paths)
			}
			request, answer := doc.Paths[requests], doc.Paths[answers]
			if request.Reply || !answer.Reply || request.TMM == "" || request.TMM != answer.TMM {
				t.Errorf("request by %q, answer by %q: want one TMM for both", request.TMM, answer.TMM)
			}
			passes(t, request, "client/eth0", "upstream/eth1", "upstream/eth0", request.TMM+"/net2", request.TMM+"/net1", "app-")
			passes(t, answer, "app-", request.TMM+"/net1", request.TMM+"/net2", "upstream/eth0", "upstream/eth1", "client/eth0")
		})
	}
	t.Run("trace what no virtual server is for", func(t *testing.T) {
		code, doc := trace(t, lab, "tcp", "192.0.2.10:81", "--duration", "1s")
		dropped(t, code, doc, "f5-tmm-", "drop_no_virtual_server")
	})
	t.Run("trace what the router has no route for", func(t *testing.T) {
		code, doc := trace(t, lab, "udp", "198.18.0.1:9", "--duration", "1s")
		dropped(t, code, doc, "upstream/", "(kernel)")
	})
}

// passes asks for places in this order, others between them; "app-" stands for any pod of the application.
func passes(t *testing.T, p report.Path, want ...string) {
	t.Helper()
	if p.Diverges >= 0 {
		t.Errorf("%s: differs from the expected way at hop %d", p.Title, p.Diverges+1)
	}
	left := want
	for _, h := range p.Hops {
		if len(left) > 0 && strings.HasPrefix(h.Point, left[0]) {
			left = left[1:]
		}
	}
	if len(left) > 0 {
		t.Errorf("%s: not at %v of %v: %+v", p.Title, left, want, p.Hops)
	}
}

// dropped asks that a path ends with a drop at a place, for a reason.
func dropped(t *testing.T, code int, doc traced, at, why string) {
	t.Helper()
	if code != 1 || len(doc.Paths) == 0 {
		t.Fatalf("exit code %d, %+v", code, doc)
	}
	hops := doc.Paths[0].Hops
	last := hops[len(hops)-1]
	if last.Sight != report.Dropped || !strings.HasPrefix(last.Point, at) || !strings.Contains(last.Detail, why) {
		t.Errorf("ends %s at %s: %s; want a drop at %s, %s", last.Sight, last.Point, last.Detail, at, why)
	}
}

// captures captures on both sides of the router and on the client while BGP speaks and a client asks, in
// both forms.
func captures(t *testing.T, lab string) {
	file := filepath.Join(t.TempDir(), "c.pcapng")
	cmd := command(t.Context(), "capture", "--lab", lab, "client:eth0", "upstream:", "--count", "24", "--duration", "60s", "-w", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for running := true; running; {
		trace(t, lab, "udp", "192.0.2.12:5300", "--duration", "20s") // until there are as many as were asked for
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
	}
	links, packets := readCapture(t, file)
	slices.Sort(links)
	if want := []string{"client/eth0", "upstream/eth0", "upstream/eth1"}; !slices.Equal(links, want) || packets != 24 {
		t.Errorf("%d packets of %v, want 24 of %v", packets, links, want)
	}
	text := string(mustSpklab(t, "capture", "--lab", lab, "upstream:eth0", "--count", "2", "--duration", "60s")) // BGP's own
	if lines := strings.Count(text, "\n"); lines != 2 || strings.Count(text, " upstream/eth0 ") != 2 {
		t.Errorf("want two lines about upstream/eth0:\n%s", text)
	}
	if code, _ := spklab(t, "capture", "--lab", lab, "upstream:eth9"); code != 5 {
		t.Errorf("capture on an interface that is not there: exit code %d, want 5", code)
	}
}

// readCapture returns the names of a capture file's interfaces, and how many packets it has.
func readCapture(t *testing.T, file string) (links []string, packets int) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		packets++
	}
	for i := range r.NInterfaces() {
		link, err := r.Interface(i)
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, link.Name)
	}
	return links, packets
}
