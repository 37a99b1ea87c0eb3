# Everything a reader needs: `make help` lists it. The setup step installs missing packages where it can (apt, as root)
# and says what is missing where it cannot.

# rustup puts cargo here without telling the shell that is open.
export PATH := $(PATH):$(HOME)/.cargo/bin
export VM VM_PROFILE VM_CACHE VM_PACKAGES

PREFIX ?= /usr/local
DESTDIR ?=
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
# The target is explicit (.cargo/config.toml), so the triple is part of the path. ($(shell) does not see what is exported.)
TRIPLE = $(shell PATH="$(PATH)" rustc -vV | sed -n 's/^host: //p')
BINARY = $(TARGET_DIR)/$(TRIPLE)/release/rvol-runc
BUNDLES = $(patsubst %/config.json,%,$(wildcard bundles/*/config.json))
FUZZ_SECONDS ?= 60

.DEFAULT_GOAL := build
.PHONY: build bundles demo test test-vm test-engines lint bench fuzz install deb clean help setup setup-test setup-vm setup-fuzz setup-engines

build: setup ## the release binary (the default)
	cargo build --release --locked

bundles: setup ## root filesystems for the examples in bundles/
	@scripts/rootfs.sh $(BUNDLES)

demo: build bundles ## show the main things on real containers (as root)
	@scripts/demo.sh "$(BINARY)"

test: lint build ## format, lints, unit tests and tests with real containers
	RVOL_RUNC_BIN="$(abspath $(BINARY))" cargo test --workspace --locked --no-fail-fast --tests

# VM=uml|hybrid|qemu|all, VM_PROFILE=debug|release, VM_TESTS="systemd devices:ptmx", VM_CACHE=DIR; VM_RUN=COMMAND instead of tests.
test-vm: setup-vm ## the tests in virtual machines with systemd (VM=uml VM_TESTS="systemd …")
	@python3 runtime-tests/vm $(if $(VM_RUN),--command '$(VM_RUN)',$(VM_TESTS))

# ENGINES="docker podman" chooses engines, ENGINE_TESTS="volume exec" tests by parts of their names.
test-engines: setup-engines build ## Docker, containerd, Podman and buildah drive the runtime (ENGINES="…" ENGINE_TESTS="…")
	RVOL_ENGINES=1 RVOL_RUNC_BIN="$(abspath $(BINARY))" cargo test --locked --no-fail-fast --package engine-tests \
		$(or $(addprefix --test ,$(ENGINES)),--tests) -- $(ENGINE_TESTS)

lint: setup-test ## format and lints only
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

bench: build ## measure against runc and crun, where they are installed (BENCH="--runs 50 --list …")
	cargo build --release --locked --package rvol-bench --bins
	"$(dir $(BINARY))rvol-bench" $(BENCH)

# FUZZ_SECONDS=600 is the time of each target, FUZZ_TARGETS="archive plugin" chooses, FUZZ_SANITIZER=address looks for more.
fuzz: setup-fuzz ## random input for what is read from others (FUZZ_SECONDS=60 for each target, FUZZ_TARGETS="…")
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	@scripts/fuzz.sh $(FUZZ_SECONDS) $(FUZZ_TARGETS)

install: build ## install below $(DESTDIR)$(PREFIX): the binary, man pages, completions for bash, zsh and fish
	install -D -m 0755 "$(BINARY)" "$(DESTDIR)$(PREFIX)/bin/rvol-runc"
	cargo run --quiet --locked --package rvol-manual -- "$(DESTDIR)$(PREFIX)"

deb: build ## a Debian package of the same, in target/
	cargo build --quiet --locked --package rvol-manual
	@scripts/deb.sh "$(BINARY)" "$(TARGET_DIR)/$(TRIPLE)/debug/rvol-manual" "$(TARGET_DIR)"

clean: ## remove what was built
	cargo clean
	rm -rf $(addsuffix /rootfs,$(BUNDLES))

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

setup:
	@scripts/setup.sh

setup-test:
	@scripts/setup.sh test

setup-vm:
	@scripts/setup.sh vm

setup-fuzz:
	@scripts/setup.sh fuzz

setup-engines:
	@scripts/setup.sh engines
