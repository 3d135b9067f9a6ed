package scenarios

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/lab"
)

// parse reads a scenario's own manifest.
func parse(manifest string) []api.Object {
	ginkgo.GinkgoHelper()
	return must(api.Split("scenario.yaml", []byte(manifest)))
}

// apply applies a manifest and deletes its objects, the last one first, when the scenario has
// ended.
func (s *scene) apply(manifest string) []api.Finding {
	ginkgo.GinkgoHelper()
	objs := parse(manifest)
	for _, o := range objs {
		s.cleanup("delete "+o.String(), func(ctx context.Context) error {
			err := s.lab.Delete(ctx, o.Kind, o.Namespace, o.Name, -1)
			if errors.Is(err, lab.ErrNotFound) {
				return nil
			}
			return err
		})
	}
	defer s.env.rec.step("apply " + named(objs))()
	return must(s.lab.Apply(s.ctx, objs))
}

// named are objects by their names.
func named(objs []api.Object) string {
	names := make([]string, len(objs))
	for i, o := range objs {
		names[i] = o.String()
	}
	return strings.Join(names, ", ")
}

// edit changes one object of the lab and puts it back as it was when the scenario has ended.
func (s *scene) edit(kind, namespace, name string, change func(doc map[string]any)) []api.Finding {
	ginkgo.GinkgoHelper()
	found := must(s.lab.Get(kind, namespace, name))
	gomega.Expect(found).To(gomega.HaveLen(1), "%s %s/%s", kind, namespace, name)
	var doc map[string]any
	check(yaml.Unmarshal(found[0].Raw, &doc), "read "+found[0].String())
	change(doc)
	changed := must(yaml.Marshal(doc))
	gomega.Expect(bytes.Equal(changed, found[0].Raw)).To(gomega.BeFalse(), "the change changes something")
	s.cleanup("put back "+found[0].String(), func(ctx context.Context) error {
		if _, err := s.lab.Apply(ctx, found); err != nil {
			return err
		}
		return s.ready(ctx)
	})
	defer s.env.rec.step("change " + found[0].String())()
	return must(s.lab.Apply(s.ctx, parse(string(changed))))
}

// at walks into nested maps; what is no map there fails the scenario.
func at(doc map[string]any, keys ...string) map[string]any {
	ginkgo.GinkgoHelper()
	for _, k := range keys {
		next, ok := doc[k].(map[string]any)
		gomega.Expect(ok).To(gomega.BeTrue(), "key %s", strings.Join(keys, "."))
		doc = next
	}
	return doc
}

// gateVIPs are addresses of virtual servers that scenarios make for themselves; the networks
// are set aside for documentation (RFC 5737, RFC 3849).
const (
	gateVIP4 = "192.0.2.200"
	gateVIP6 = "2001:db8:2::200"
)

// gateService is a Service with a virtual server of its own, with no pods yet. An empty IPv6
// address leaves that family out.
func gateService(namespace, name, vip4, vip6 string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  selector: {app: %[2]s}
  ipFamilyPolicy: PreferDualStack
  ipFamilies: [IPv4, IPv6]
  ports:
    - {name: http, protocol: TCP, port: 80, targetPort: 8080}
---
apiVersion: ingresstcp.k8s.f5net.com/v1
kind: F5SPKIngressTCP
metadata: {name: %[2]s, namespace: %[1]s}
service: {name: %[2]s, port: 80}
spec:
  destinationAddress: %[3]s
  ipv6destinationAddress: %[4]q
  destinationPort: 80
  snat: SRC_TRANS_AUTOMAP
`, namespace, name, vip4, vip6)
}

// gatePod is an endpoint of a gateService.
func gatePod(namespace, service, name string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %[3]s, namespace: %[1]s, labels: {app: %[2]s}}
spec:
  containers:
    - name: app
      image: spklab/app
      ports:
        - {name: http, containerPort: 8080, protocol: TCP}
`, namespace, service, name)
}

// endingPod is a gatePod that goes on serving for some seconds once it is asked to end.
func endingPod(namespace, service, name string, seconds int) string {
	return gatePod(namespace, service, name) + fmt.Sprintf("      lifecycle: {preStop: {sleep: {seconds: %d}}}\n", seconds)
}
