# Everything a reader needs: `make help` lists it. `make` and `make install` need a C compiler, pkg-config, libseccomp and
# Rust, and no root. What is missing is installed with apt where that is possible (as root), and named where it is not.

# rustup puts cargo here without telling the shell that is open.
export PATH := $(PATH):$(HOME)/.cargo/bin
export VM VM_PROFILE VM_CACHE VM_PACKAGES

PREFIX ?= /usr/local
DESTDIR ?=
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
# The target is explicit (.cargo/config.toml), so the triple is part of the path. ($(shell) does not see what is exported.)
# TARGET=aarch64-unknown-linux-gnu builds for another machine (docs/building.md).
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER ?= $(if $(TARGET),aarch64-linux-gnu-gcc,cc)
TRIPLE = $(or $(TARGET),$(shell PATH="$(PATH)" rustc -vV | sed -n 's/^host: //p'))
BINARY = $(TARGET_DIR)/$(TRIPLE)/release/rvol-runc
# What is installed, as it lies below a prefix: `make` fills it, `make install` copies it and needs no Rust.
STAGE = $(TARGET_DIR)/stage$(addprefix -,$(TARGET))
# Man pages have the date of the commit, so that one commit always gives the same files.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)
# Paths of this machine do not get into the binaries that are given to others.
REMAP = --remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=cargo
BUNDLES = $(patsubst %/config.json,%,$(wildcard bundles/*/config.json))
FUZZ_SECONDS ?= 60

.DEFAULT_GOAL := build
.PHONY: build bundles demo test check uninstall release test-root test-vm test-engines lint bench fuzz install deb clean help setup setup-demo setup-check setup-test setup-vm setup-fuzz setup-engines

build: setup ## the release binary, man pages and completions (the default)
	cargo build --release --locked $(addprefix --target ,$(TARGET))
	@rm -rf "$(STAGE)"
	@install -D -m 0755 "$(BINARY)" "$(STAGE)/bin/rvol-runc"
	cargo run --quiet --locked --package rvol-manual -- "$(STAGE)" "$(TRIPLE)"

bundles: setup-demo ## root filesystems for the examples in bundles/
	@scripts/rootfs.sh $(BUNDLES)

demo: build bundles ## show the main things on real containers (as root)
	@scripts/demo.sh "$(BINARY)"

test: lint check ## format, lints, unit tests and tests with real containers

check: setup-check build ## the same without format and lints, for packagers
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

install: ## install what `make` built below $(DESTDIR)$(PREFIX): the binary, man pages, completions
	@[ -x "$(STAGE)/bin/rvol-runc" ] || { echo "install: nothing is built yet: run make first" >&2; exit 1; }
	@cd "$(STAGE)" && find bin share -type f | while IFS= read -r file; do \
		case $$file in bin/*) mode=0755 ;; *) mode=0644 ;; esac; \
		install -D -m "$$mode" "$$file" "$(abspath $(DESTDIR)/$(PREFIX))/$$file" || exit 1; \
	done

# By name, so that it works after `make clean` and for what another version installed.
uninstall: ## remove what `make install` installed, from the same $(DESTDIR)$(PREFIX)
	cd "$(DESTDIR)$(PREFIX)" && rm -f bin/rvol-runc share/man/man8/rvol-runc.8 share/man/man8/rvol-runc-*.8 \
		share/bash-completion/completions/rvol-runc share/zsh/site-functions/_rvol-runc \
		share/fish/vendor_completions.d/rvol-runc.fish share/doc/rvol-runc/LICENSE share/doc/rvol-runc/NOTICES

deb: build ## a Debian package of the same, in target/
	@scripts/deb.sh "$(STAGE)" "$(TARGET_DIR)"

release: export RUSTFLAGS = -C target-feature=+crt-static $(REMAP)
release: build ## the files of a release in target/release-files: tarball, SBOM, SHA256SUMS (docs/releasing.md)
	@scripts/release.sh "$(STAGE)" "$(TRIPLE)" "$(TARGET_DIR)/release-files"

# A root filesystem with Debian's base, what the README names and nothing else, made by debootstrap below /var/tmp (as root).
test-root: ## make demo and make test in a minimal Debian (SUITE=bookworm|trixie)
	@scripts/test-root.sh "$(or $(SUITE),bookworm)"

clean: ## remove what was built
	cargo clean
	rm -rf $(addsuffix /rootfs,$(BUNDLES))

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

setup:
	@scripts/setup.sh build

setup-demo:
	@scripts/setup.sh demo

setup-check:
	@scripts/setup.sh check

setup-test:
	@scripts/setup.sh test

setup-vm:
	@scripts/setup.sh vm

setup-fuzz:
	@scripts/setup.sh fuzz

setup-engines:
	@scripts/setup.sh engines
