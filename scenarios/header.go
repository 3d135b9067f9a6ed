package scenarios

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/topo"
)

// header is a run before its first scenario.
func header(ctx context.Context, env Env, opt Options) report.Run {
	now := time.Now().UTC()
	run := report.Run{
		Version: report.Version, ID: now.Format("20060102T150405") + "-" + env.Lab.Name(),
		Lab: env.Lab.Name(), Topology: strings.TrimSuffix(filepath.Base(env.Lab.Source), ".spklab.yml"), Digest: env.Lab.Digest,
		Spklab: opt.Version, Platform: platform(), Started: now, Clock: ctl.Now(), Seed: opt.Seed,
		Capabilities: names(env.Has), Scenarios: []report.Scenario{},
	}
	if f := env.Lab.Spec.Fabric; f.Driver == "ovn" {
		run.Backend = cmp.Or(f.Backend, topo.BackendSim)
		if !f.Real() {
			run.Profile = cmp.Or(f.Profile, forward.ProfileSPK)
		}
	}
	versions, err := packages()
	if err != nil {
		run.Gaps = append(run.Gaps, report.Gap{Collector: "package versions", Why: err.Error()})
	}
	run.Platform.Packages = versions
	if run.Unenforced, err = env.Lab.Unenforced(); err != nil {
		run.Gaps = append(run.Gaps, report.Gap{Collector: "SR-IOV cards", Why: err.Error()})
	}
	ctx, cancel := context.WithTimeout(ctx, patienceOfPicture)
	defer cancel()
	drawn, err := env.Lab.Picture(ctx)
	if err != nil {
		run.Gaps = append(run.Gaps, report.Gap{Collector: "picture", Why: err.Error()})
	} else {
		run.Picture = &drawn
	}
	return run
}

// patienceOfPicture is how long a lab may take to say what it looks like.
const patienceOfPicture = 10 * time.Second

// platform is the machine; what cannot be read stays empty.
func platform() report.Platform {
	p := report.Platform{CPUs: runtime.NumCPU(), Arch: runtime.GOARCH}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		p.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return p
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			p.CPU = strings.TrimSpace(value)
			break
		}
	}
	return p
}

// packages are the versions of the Debian packages whose programs a lab and its scenarios call, as
// far as they are installed.
func packages() (map[string]string, error) {
	out, err := exec.Command("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n",
		"iperf3", "iproute2", "iputils-ping", "openvswitch-common", "openvswitch-switch", "ovn-central", "ovn-common", "ovn-host", "traceroute").Output()
	if err != nil && len(out) == 0 {
		return nil, err
	}
	versions := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "installed" {
			versions[f[0]] = f[1]
		}
	}
	return versions, nil
}

// reproduce is the command that runs one scenario again, for a shell.
func reproduce(lab string, seed int64, s report.Scenario) string {
	focus := regexp.QuoteMeta(s.Group+" "+s.Name) + "$"
	return "spklab test " + lab + " --focus '" + strings.ReplaceAll(focus, "'", `'\''`) + "' --seed " + strconv.FormatInt(seed, 10)
}
