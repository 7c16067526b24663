# What is built and checked here; "make check" is what every change must pass.
# Needs Go, make, and gcc for the race detector. Targets run one after another.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME ?= 30s
ROUNDS ?= 100
DURATION ?= 10m
SEED ?= 0
PLATFORMS ?= linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

# Packages in which nothing happens at once: the race detector finds nothing there,
# and takes ten times as long.
PURE := ring wire balance overlay directory core sim

.NOTPARALLEL:
.PHONY: check fmt vet staticcheck cross allocs comparison test race waiting twenty fuzz soak bench build measure compare chaos

# The tests come last, so that their lines end the output.
check: fmt vet staticcheck allocs race waiting

fmt:
	@unformatted=$$(gofmt -l .) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi

vet:
	go vet ./...
	cd compare && go vet ./...

staticcheck:
	go tool staticcheck ./...
	go -C compare tool -modfile ../go.mod staticcheck ./...

# Everything compiles on the other platforms, tests too.
cross:
	go run ./internal/compiles $(PLATFORMS)

# The nested module of the comparison; its tests run every measurement for a
# moment.
comparison:
	cd compare && go test ./...

test:
	go test ./...

# What must not allocate, and what an idle link costs; the race detector would spoil
# the count.
allocs:
	go test -run 'Alloc|IdleLinkIsSmall' . ./internal/queue ./internal/messaging ./internal/tunnel ./internal/relaywire ./internal/wire ./internal/ring ./internal/balance ./internal/link

# Tests that push much through sockets in real time. The same code runs under the race
# detector too: over another transport, in invented time, or with less to do.
SOCKETS := TestExpectationsOverTCP|Test(Older)?(Expectations|Requirements)OverSockets|TestSuiteAgainstOneOfThree
SOCKETS := $(SOCKETS)|TestMatrixLarge|TestNetworkDeliversLargeMessages|TestNetworkCarriesLargeRequests|TestNetworkManyTopicsAtOnce

# Those that measure how a node behaves under load run alone, at the end of race. Hosts,
# chaos and sockets wait for most of their time: they do so side by side, and beside what
# only takes processor time.
WAIT := hosts chaos
race:
	go test $(addprefix ./internal/,$(PURE))
	go test -race -p 2 -skip '$(SOCKETS)' . $$(go list ./cmd/... ./internal/... | grep -v $(foreach p,$(PURE) $(WAIT),-e /internal/$p$$))
	go test -race -skip '$(SOCKETS)' ./node

waiting:
	nice $(MAKE) --no-print-directory cross comparison & others=$$!; \
	go test -race -parallel 4 $(addprefix ./internal/,$(WAIT)) & hosts=$$!; \
	go test -p 1 -parallel 8 -run '$(SOCKETS)' . ./node; sockets=$$?; \
	wait $$hosts && wait $$others && exit $$sockets

# What client libraries expect, in invented time, 20 times.
twenty:
	go test -race ./node -run '^Test(Older)?Expectations$$' -count=20 -timeout 60m

# Every fuzz test there is, FUZZTIME each.
fuzz:
	@targets=$$(go test -list '^Fuzz' ./...) || { echo "$$targets"; exit 1; }; \
	echo "$$targets" | \
	awk '/^Fuzz/ { found[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, found[i]; n = 0 }' | \
	while read -r package target; do \
		echo "go test -run '^$$' -fuzz '^$$target\$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$package"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$package" </dev/null || exit 1; \
	done

# The cases that depend on real time, ROUNDS times over real sockets.
soak:
	IRIS_SOAK=$(ROUNDS) go test ./node -run '^TestSoak$$' -v -count=1

bench:
	go test -run '^$$' -bench . -benchmem ./...

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/iris ./cmd/iris

measure:
	go run ./internal/measure

# Iris beside NATS on this machine, on one host and on two: the tables of docs/performance.md.
compare:
	@cd compare && go run .

# A network of real nodes under load and faults, for DURATION by the plan of SEED (0:
# one is drawn): docs/chaos.md. Needs root.
chaos:
	go build -o bin/chaos ./internal/chaos
	bin/chaos --duration $(DURATION) --seed $(SEED)
