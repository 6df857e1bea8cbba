# conntrack-guardian: `make demo` shows it, `make test` tests it, `make lint` checks the form.

GO      ?= go
VERSION ?= $(shell git describe --always --dirty 2>/dev/null)
LDFLAGS  = -s -w -X github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program.version=$(VERSION)
BUILD    = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOFUMPT     = mvdan.cc/gofumpt@v0.9.2

# Never cached: the kernel is part of what is tested. The race detector needs a C compiler; without one the tests run without it.
RACE = $(shell command -v $${CC:-gcc} >/dev/null 2>&1 && echo -race)

.PHONY: all build demo root have-go test lint bench fuzz clean

all: build

build: have-go
	@mkdir -p bin
	$(BUILD) -o bin/ ./cmd/...

# Needs root: it makes network namespaces and lowers nf_conntrack_max for the run.
# What sudo builds is given to the user behind it, who goes on building.
demo: root build
	@test -z "$$SUDO_UID" || chown -R "$$SUDO_UID:$$SUDO_GID" bin
	@bin/guardian-lab demo

root:
	@test "$$(id -u)" = 0 || { echo 'make demo needs root (network namespaces, nf_conntrack_max): sudo make demo' >&2; exit 1; }

have-go:
	@command -v $(GO) >/dev/null || { echo 'go is not in the PATH; under sudo: sudo env PATH="$$PATH" make ...' >&2; exit 1; }

# Tests named TestRoot... need root and a kernel with conntrack.
test: have-go
	@if [ "$$(id -u)" = 0 ]; then \
		set -x; $(GO) test $(RACE) -count=1 -timeout 25m ./...; \
	else \
		echo 'Not root: these tests are left out:'; \
		$(GO) test -list '^TestRoot' ./... | grep '^TestRoot' | sed 's/^/  /'; \
		set -x; $(GO) test $(RACE) -count=1 -timeout 25m -skip '^TestRoot' ./...; \
	fi

lint:
	$(GO) vet ./...
	GOARCH=386 $(GO) vet ./...
	$(GO) mod tidy -diff
	$(GO) run $(STATICCHECK) ./...
	@unformatted=$$(git ls-files '*.go' | xargs $(GO) run $(GOFUMPT) -l) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "not formatted with gofumpt:"; echo "$$unformatted"; exit 1; fi

bench:
	$(GO) test -run '^$$' -bench . -count 6 ./policy ./guard/...

# Each fuzz target for FUZZTIME.
FUZZTIME ?= 1m
fuzz:
	@set -e; for dir in $$($(GO) list -f '{{.Dir}}' ./...); do \
		for target in $$(grep -hos '^func Fuzz[A-Za-z0-9]*' "$$dir"/*_test.go | sed 's/func //'); do \
			echo "$$target in $$dir"; (cd "$$dir" && $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) .); \
		done; \
	done

clean:
	rm -rf bin dist
