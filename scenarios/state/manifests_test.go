package state

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestManifests(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"service.a.b.yaml": "kind: Service\n",
		"pod.a.ready.yaml": "metadata: {name: ready}\nspec: {nodeName: w}\nstatus:\n  phase: Running\n  podIPs: [{ip: 10.0.0.1}]\n" +
			"  conditions: [{type: Ready, status: \"True\"}]\n",
		"pod.a.goes.yaml":       "metadata: {deletionTimestamp: \"2026-01-01T00:00:00Z\"}\nspec: {nodeName: w}\n",
		"pod.a.torn.yaml":       "}{",
		".tmp-service.a.b.yaml": "kind: Serv",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := manifests(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range got {
		got[name] = text[:len(text)-24] // of the digest 12 octets are told
	}
	want := Objects{
		"service.a.b": "sha256 ", "pod.a.ready": "Running, on w, 10.0.0.1, sha256 ",
		"pod.a.goes": "Terminating, not ready, on w, sha256 ", "pod.a.torn": "sha256 ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
}
