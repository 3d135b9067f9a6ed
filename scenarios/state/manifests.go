package state

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/spklab/spklab/kubesim"
)

// manifests are the lab's objects by the names of their files, KIND.NAMESPACE.NAME: what tells one
// content from another, and before that of a pod how it is.
func manifests(dir string) (Objects, error) {
	files, err := filepath.Glob(filepath.Join(dir, "[^.]*.yaml")) // one with a dot is being written
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	out := Objects{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is deleted meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read manifest: %w", err)
		}
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		out[name] = podText(name, data) + fmt.Sprintf("sha256 %.12x", sha256.Sum256(data))
	}
	return out, nil
}

// podText is how a pod is, in the words of kubectl; nothing for what is none.
func podText(name string, data []byte) string {
	var p corev1.Pod
	if !strings.HasPrefix(name, "pod.") || yaml.Unmarshal(data, &p) != nil {
		return ""
	}
	text := string(p.Status.Phase)
	if p.DeletionTimestamp != nil {
		text = "Terminating"
	}
	if !kubesim.Ready(&p) {
		text += ", not ready"
	}
	text += ", on " + p.Spec.NodeName
	for _, ip := range p.Status.PodIPs {
		text += ", " + ip.IP
	}
	return text + ", "
}
