package debs

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// ErrUnsupported says that this machine cannot have private roots.
var ErrUnsupported = errors.New("no private root here")

// origin is where a release of OVN comes from: a suite of Debian and packages of it.
type origin struct {
	suite string
	debs  []string
}

// origins are the releases that there are private roots of. The packages are those of the programs
// and of the libraries that they load; complete says when one is missing.
func origins() map[string]origin {
	return map[string]origin{
		"25.03": {suite: "trixie", debs: []string{
			"ovn-central", "ovn-common", "ovn-host", "openvswitch-common", "openvswitch-switch",
			"libbpf1", "libc6", "libcap-ng0", "libcap2", "libelf1t64", "libevent-2.1-7t64", "libexpat1", "libgcc-s1", "libnuma1",
			"libssl3t64", "libudev1", "libunbound8", "libxdp1", "libzstd1", "zlib1g",
		}},
	}
}

// Releases are the releases of OVN that there are private roots of, sorted.
func Releases() []string { return slices.Sorted(maps.Keys(origins())) }

// platform is an architecture as Debian's libc6 has it.
type platform struct {
	libraries string // directory
	loader    string // path
}

// platforms are those that private roots have been tried on, by Go's names.
func platforms() map[string]platform {
	return map[string]platform{
		"amd64": {libraries: "usr/lib/x86_64-linux-gnu", loader: "usr/lib64/ld-linux-x86-64.so.2"},
	}
}

// keyring has the keys that Debian signs its suites with.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// supported is an error of kind ErrUnsupported that says what is missing to make a root, and what
// to do. codename is that of the machine's own Debian release.
func supported(release string) (codename string, err error) {
	if _, ok := origins()[release]; !ok {
		return "", fmt.Errorf("OVN %s: %w: there are packages of %s", release, ErrUnsupported, strings.Join(Releases(), ", "))
	}
	if _, ok := platforms()[runtime.GOARCH]; !ok {
		return "", fmt.Errorf("OVN %s on %s: %w: use amd64, or the release that is installed", release, runtime.GOARCH, ErrUnsupported)
	}
	return debian("OVN "+release, "use Debian, or install that release and leave --ovn-release out")
}

// debian is the codename of the machine's own Debian release. The error, of kind ErrUnsupported, says why
// what is wanted cannot be had here, and on another system what to do instead.
func debian(what, instead string) (codename string, err error) {
	id, codename := system()
	if id != "debian" {
		return "", fmt.Errorf("%s on %q: %w: the packages come by Debian's APT; %s", what, id, ErrUnsupported, instead)
	}
	for _, name := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(name); err != nil {
			return "", fmt.Errorf("%s: %w: it needs %s: %w", what, ErrUnsupported, name, err)
		}
	}
	if _, err := os.Stat(keyring); err != nil {
		return "", fmt.Errorf("%s: %w: Debian's keys are missing (%w): apt-get install debian-archive-keyring", what, ErrUnsupported, err)
	}
	return codename, nil
}

// system is what os-release(5) calls the machine's distribution and its release.
func system() (id, codename string) {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "an unknown system", ""
	}
	for line := range strings.Lines(string(text)) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), "="); key {
		case "ID":
			id = strings.Trim(value, `"'`)
		case "VERSION_CODENAME":
			codename = strings.Trim(value, `"'`)
		}
	}
	return id, codename
}
