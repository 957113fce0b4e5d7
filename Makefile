# testudo. `make up` runs it in front of the demo shop, `make test` runs every test.

GO      ?= go
GOFLAGS ?= -trimpath
LDFLAGS := -s -w -X main.version=$(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# Many tests wait for something: more packages than processors run at a time. And no program waits a second at its end.
PACKAGES ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
RACE := CGO_ENABLED=1 GORACE=atexit_sleep_ms=10 $(GO) test -race
CORPORA ?= $(abspath ../shared/corpora)

export CGO_ENABLED = 0

.PHONY: build up test test-long waf-diff lint bench generate generate-bpf console install-parts clean

build: bin/testudo bin/shop ## static binaries in bin/

.PHONY: bin/testudo bin/shop
bin/testudo: console
	$(GO) build $(GOFLAGS) -ldflags '$(LDFLAGS)' -o $@ ./cmd/testudo

bin/shop:
	$(GO) build $(GOFLAGS) -ldflags '$(LDFLAGS)' -o $@ ./examples/shop

# The console's scripts come from npm by a lock file and are bundled by esbuild. Without
# them the binary still works: its console says how to build them.
console: console/ui/dist/app.js

console/ui/dist/app.js: console/ui/package-lock.json $(wildcard console/ui/src/*)
	cd console/ui && npm ci --silent --no-audit --no-fund --ignore-scripts
	cd console/ui && $(GO) generate -run esbuild .

up: build ## the demo shop with testudo in front of it
	@examples/demo.sh bin

test: console install-parts ## every test; as root on Debian first installs what is missing
	$(RACE) -p $(PACKAGES) -timeout 40m ./...
# What the race detector makes too slow, or allocates for itself: all cases of loops that go in strides under it.
	$(GO) test -p $(PACKAGES) ./policy/... ./trust/ledger ./internal/literal ./replay ./store/lake ./edge/waf/... ./cmd/testudo ./intel/... ./edge/waf/engine ./edge/api/schema ./scan/sbom ./scan/image ./scan/vuln \
		-run 'Allocat|Large|ManyEntries|Heavy|Corpora|ZipBomb|AgreesWithTheSlowWay|AgreesWithTheLibrary|OnWords|EveryByte|OpenHidesNoEdit|Truncation|CreationCutShort|TornEverywhere|RoundTrip|ColumnsAgree|CoreRuleSet|Hostile|FalseAlarms|Compare|Directives|TestExact|TestFind|WholePath|OrderPyPI|OrderNPM|WhoAsks|RefusedShell|Differential|SameResult'
	cd bench && $(GO) vet ./... && $(GO) test ./...

test-long: console install-parts ## the long forms: more kills, more random cases, longer fuzzing
	TESTUDO_LONG=1 $(RACE) -timeout 60m ./...

waf-diff: ## the firewall's engine against Coraza: two million random requests, for an hour or more
	TESTUDO_LONG=1 nice -n 19 $(GO) test ./edge/waf/engine -run 'TestDifferential$$' -v -timeout 6h

install-parts:
	@./.ci/install-parts

lint: ## gofmt, go vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "not formatted, run gofmt -w:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# With go run the exit status would be lost, and the measured processes be children of the go command.
bench: build ## each bar, one line each; BAR=spine picks a part, BAR=NAME one bar, BENCHFLAGS='-short -runs 3'
	cd bench && $(GO) build $(GOFLAGS) -o ../bin/bench . && ../bin/bench -bar '$(BAR)' -testudo ../bin/testudo -corpora '$(CORPORA)' $(BENCHFLAGS)

generate: ## code and reference pages made from other files
	$(GO) generate ./signal
	$(GO) test ./detect -run 'TestCompact' -update
	$(GO) test ./cmd/testudo -run 'TestReference' -update
	$(GO) test ./policy/native -run 'TestRuleCatalogue' -update
	$(GO) test ./policy/falco -run 'TestDoc' -update
	$(GO) test ./internal/logfields -run 'TestPage' -update

generate-bpf: install-parts ## the eBPF programs: needs clang, which the build does not
	$(GO) generate ./kernel/...

clean:
	rm -rf bin console/ui/dist/* console/ui/node_modules
