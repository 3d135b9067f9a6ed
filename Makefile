# spklab: `make help` lists what can be made.
SHELL      := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS  += --no-print-directory
.DEFAULT_GOAL := build

# What the lab calls (ovn-nbctl, iperf3, ip, ping, traceroute), what its tests compare with (ovsdb-server), and
# what the backend real runs by itself (their packages' own services stay off, see .ci/debs).
DEBS      := iproute2 ovn-common openvswitch-common iperf3 iputils-ping traceroute
# What the interoperation tests talk through the proxy with.
DEBS_TEST := frr bird2 ovn-central nginx-light curl wrk ethtool iputils-tracepath cpio containernetworking-plugins
# What the benchmarks compare the proxy with.
DEBS_BENCH := nftables haproxy
# What the tests of the pages run in.
DEBS_PAGE := chromium nodejs
# What the virtual machines' kernels are unpacked with.
DEBS_VM   := xz-utils zstd
# What regenerating the eBPF objects asks for besides.
DEBS_BPF  := clang-19 llvm-19 libbpf-dev linux-libc-dev

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS   := -s -w -X main.version=$(VERSION)
ARTIFACTS ?= artifacts
FUZZ_RUNS ?= 1000

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "%-12s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

build: ## bin/spklab and bin/spkproxy
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/spklab ./cmd/spkproxy

deps: ## install the Debian packages that are missing
	@.ci/debs $(DEBS)

deps-ovn25: build ## download OVN 25.03 (Debian 13) into the cache, for --ovn-release 25.03
	@bin/spklab fetch 25.03

demo: deps build ## bring up the spk topology, run its scenarios, write the report, take it down
	@.ci/unchanged .ci/demo $(ARTIFACTS)/demo

e2e: deps build deps-ovn25 browser ## the suites of whole labs, four at a time, then SR-IOV in a virtual machine; leaves nothing behind
	@.ci/debs $(DEBS_TEST) $(DEBS_VM)
	@rm -rf $(ARTIFACTS)/e2e && mkdir -p $(ARTIFACTS)/e2e
	@ARTIFACTS=$(abspath $(ARTIFACTS))/e2e .ci/unchanged go test -count=1 -parallel 4 -timeout 60m ./e2e ./e2e/browser
	@$(MAKE) e2e-sriov

check: deps build browser ## the tests of all packages, privileged ones too; leaves nothing behind
	@.ci/debs $(DEBS_TEST) $(DEBS_BENCH) $(DEBS_VM)
	@.ci/unchanged go test -count=1 -timeout 60m $$(go list ./... | grep -v '/e2e$$\|/e2e/')

e2e-ovn25: deps build deps-ovn25 ## what runs on real OVN, on OVN 25.03: the whole list of scenarios, conformance, kills
	@.ci/debs $(DEBS_TEST)
	@OVN_RELEASE=25.03 .ci/unchanged go test -count=1 -v -timeout 60m -run '^(TestRealOVN.*|TestConformance|TestKillRealUp|TestScenarios)$$/^(real|real-on-sim|reallist|notices)$$' ./e2e

.PHONY: e2e-kernels
e2e-kernels: ## the eBPF programs load and the packet tables pass on Debian's kernels, in virtual machines; SPKLAB_KERNELS=update writes what was seen
	@.ci/debs $(DEBS_VM)
	@SPKLAB_KERNELS=$${SPKLAB_KERNELS:-check} go test -count=1 -v -timeout 120m -run '^TestKernels$$' ./e2e

.PHONY: e2e-sriov
e2e-sriov: ## SR-IOV on real virtual functions, in a virtual machine with two emulated cards; needs no card and no root
	@.ci/debs $(DEBS) $(DEBS_VM)
	@mkdir -p $(ARTIFACTS)/sriov
	@SPKLAB_SRIOV=machine ARTIFACTS=$(abspath $(ARTIFACTS))/sriov go test -count=1 -v -timeout 30m -run '^TestGuest$$' ./e2e/sriov

browser: ## install what the tests of the pages need: Chromium, node, two npm packages
	@.ci/debs $(DEBS_PAGE)
	@command -v npm >/dev/null || .ci/debs npm
	@cd e2e/browser && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --ignore-scripts --no-audit --no-fund --loglevel=error; }

test: ## the tests that need no root (the others skip by name)
	go test ./...

fuzz: ## run every fuzzer of the tree from its kept corpus, FUZZ_RUNS (1000) new inputs each
	@.ci/fuzz $(FUZZ_RUNS)

bench: deps build ## benchmarks: the proxy beside yardsticks, nftables and HAProxy; the lab beside bare `ip -batch`
	@.ci/debs $(DEBS_BENCH)
	go test -run '^$$' -bench . -benchtime 1x -timeout 20m ./e2e ./dataplane ./dataplane/bgp ./ovnsim/ovsdb ./ovnsim/exgw
	@mkdir -p $(ARTIFACTS)
	@.ci/unchanged bin/spklab bench --save $(ARTIFACTS)/bench.json

lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt -w on these'; exit 1; }
	go vet ./...
	go tool staticcheck ./...

.PHONY: regression
regression: deps build ## compare 21 pairs of runs of this tree, and 15 with a lab whose proxies are made slower; 6 minutes
	SPKLAB_REGRESSION=1 go test -count=1 -v -timeout 15m -run '^TestRegression$$' ./e2e

generate: ## regenerate the committed eBPF objects and OVSDB models
	@.ci/debs $(DEBS_BPF)
	go generate ./...

check-generate: generate ## fail where a committed generated file differs from its source
	@git diff --exit-code --stat -- '*_bpfel.o' '*_bpfel.go' ovnsim/nbdb || { echo 'generated files differ from their sources: commit what make generate wrote'; exit 1; }

clean: ## remove what was built
	rm -rf bin $(ARTIFACTS)

.PHONY: help build deps deps-ovn25 demo browser e2e check e2e-ovn25 test fuzz bench lint generate check-generate clean
