package router

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
)

// TestListenToOneThatIsBusy: a BIRD that has more to write than its log's pipe takes answers who asks it for a peer's
// address once it has written all. What the log tells of the peer is heard.
func TestListenToOneThatIsBusy(t *testing.T) {
	dir, err := os.MkdirTemp("", "bird") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket, err := net.Listen("unix", filepath.Join(dir, birdSocket))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer out.Close()
		fmt.Fprintln(out, "2026-11-21 14:00:21.440 <TRACE> range0_1: State changed to up")
		for i := range 4000 {
			fmt.Fprintf(out, "2026-11-21 14:00:22.516 <TRACE> range0_1.ipv4 > added [best] 10.0.%d.%d/32 0L 6G unicast\n", i/256, i%256)
		}
	}()
	go func() {
		<-written
		answerAsBIRD(socket)
	}()
	log := ctl.NewLog("upstream")
	heard := newRumour(log, birdLines())
	heard.names = &names{dir: dir}
	listen(in, heard)
	var kinds []string
	for _, e := range log.Events() {
		kinds = append(kinds, e.Kind)
	}
	want := slices.Concat([]string{bgp.EventSessionUp}, slices.Repeat([]string{bgp.EventRouteLearned}, 4000))
	if !slices.Equal(kinds, want) {
		t.Errorf("%d events, want %d (-want +got):\n%s", len(kinds), len(want), cmp.Diff(want[:3], kinds[:min(3, len(kinds))]))
	}
}

// answerAsBIRD tells of one peer whoever asks.
func answerAsBIRD(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "0001 BIRD 2.0.12 ready.\n")
		if question, err := bufio.NewReader(conn).ReadString('\n'); err == nil && strings.HasPrefix(question, "show protocols all") {
			_, _ = io.WriteString(conn, "1002-range0_1   BGP        ---        up     2026-11-21 14:00:21.440  Established\n"+
				"1006-  BGP state:          Established\n     Neighbor address: 198.51.100.16\n0000 \n")
		}
		_ = conn.Close()
	}
}
