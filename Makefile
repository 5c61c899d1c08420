# What one does with Quorumail's sources. A bare "make" lists it.

FUZZTIME  ?= 5s
BENCHTIME ?= 1s
VERSION   := $(or $(shell git describe --always --dirty 2>/dev/null),devel)

# Packages that have goroutines; cmd/quorumail is left out, since its tests run whole processes, which the race detector does not see into.
RACE := $(addsuffix /...,$(addprefix ./,$(wildcard cluster store protocol queue ops jepsen)))

.PHONY: help build run test race fuzz check rfc bench jepsen jepsen-long jepsen-ci jepsen-bites jepsen-regress jepsen-build soak proto clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

build: ## build bin/quorumail, without cgo
	@.ci/tools go
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/quorumail ./cmd/quorumail

run: build ## run three nodes on this machine, with accounts and mail to try; Ctrl-C stops them, their data stays
	@exec ./bin/quorumail dev --nodes 3 --dir .quorumail-dev

test: ## run every test; on Debian, as root, installs what the tests need
	@.ci/tools go packages
	go test -timeout 15m ./...

race: ## run the tests of what has goroutines under the race detector
	@.ci/tools go cc
	CGO_ENABLED=1 go test -race -timeout 45m $(RACE)

fuzz: ## run each fuzz target for FUZZTIME (5s)
	@.ci/tools go
	@.ci/fuzz $(FUZZTIME)

check: ## format, vet, staticcheck, known vulnerabilities, conventions, generated code
	@.ci/tools go
	@.ci/check

rfc: ## which sections of which RFCs the code and the tests cite
	@.ci/rfc

bench: ## run the benchmarks of the packages, each for BENCHTIME (1s); as root also those against Postfix and Dovecot
	@.ci/tools go
	@[ "$$(id -u)" != 0 ] || .ci/tools bench || echo "Without them, the benchmarks against them are skipped."
	go test -timeout 1h -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

jepsen: jepsen-build ## break a cluster in every way for 5 minutes, and see whether it keeps its promises
	bin/jepsen run --nemesis all --time 5m --processes 3

jepsen-long: jepsen-build ## the same for an hour: every fault, then every pair of faults
	bin/jepsen run --nemesis all --pairs --time 1h --processes 3 --hold 3s

jepsen-ci: jepsen-build ## kill, partition, power loss, drain, failing name servers and sites for 3 minutes, half of it with a seed that never changes
	bin/jepsen run --nemesis kill,partition,power,drain,dns,sites --time 80s --processes 3 --hold 3s --seed 1
	bin/jepsen run --nemesis kill,partition,power,drain,dns,sites --time 80s --processes 3 --hold 3s

jepsen-bites: ## show that builds which lack a safety measure are caught; 5 to 10 minutes
	@.ci/tools go packages
	go test -short -tags broken ./cluster/... ./store/...
	QUORUMAIL_BITES=1 go test -count=1 -timeout 30m -v -run TestBrokenBuildsAreCaught ./jepsen/cmd/jepsen

jepsen-regress: jepsen-build ## runs that once showed a bug
	bin/jepsen regress

jepsen-build: build
	@.ci/tools go packages
	go build -trimpath -o bin/jepsen ./jepsen/cmd/jepsen

soak: ## run the long tests in full; hours
	@.ci/tools go packages
	QUORUMAIL_SOAK=1 go test -count=1 -timeout 12h -v ./...

proto: ## generate the Go code of store/storepb/store.proto
	@.ci/tools go
	@.ci/proto store/storepb

clean: ## remove what was built, and the data of "make run"
	rm -rf bin .quorumail-dev
