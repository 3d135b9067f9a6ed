package lab

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/topo"
)

// TestPreStop: an application serves for as long as its pod's preStop hook sleeps.
func TestPreStop(t *testing.T) {
	for _, tt := range []struct {
		name string
		hook *corev1.Lifecycle
		want string
	}{
		{"no hook", nil, ""},
		{"another hook", &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{}}}, ""},
		{"sleep", &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 8}}}, "--linger 8s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: imageApp, Lifecycle: tt.hook}}}}
			p.Namespace, p.Name = "apps", "app-1"
			argv := strings.Join(podProcess(&topo.Lab{Name: "lab"}, p, Env{}, nil)[0].Process.Argv, " ")
			if got := strings.Contains(argv, "--linger"); got != (tt.want != "") || !strings.Contains(argv, tt.want) {
				t.Errorf("%s, want %q in it", argv, tt.want)
			}
		})
	}
}
