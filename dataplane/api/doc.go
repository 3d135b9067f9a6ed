// Package api holds the resources that configure the proxy: F5's custom resources as users
// already write them, the Kubernetes objects they refer to, and the Helm values of the SPK
// controller and TMM. It decodes YAML strictly, with positions, checks objects against each
// other, and watches a directory of manifests. It knows nothing of the lab.
package api
