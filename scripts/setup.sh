#!/bin/sh
# Makes sure that what a purpose needs is installed:
#   setup.sh build|demo|check|test|engines|vm|fuzz
# "build" is a C compiler, pkg-config, libseccomp and Rust; "demo" adds a busybox for example bundles; "check" adds what the
# tests call; "test" adds rustfmt and clippy. Packages are installed with apt where that is possible (as root), and only
# when something is missing. Otherwise one line says what to do.
set -eu
purpose=${1:-build}
# Programs for the administrator are not in every user's PATH.
PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "setup: $*" >&2; }

# The first Rust that knows what .cargo/config.toml asks for.
rust_minor=91

# What to look for, and the Debian package that brings it.
check() { # PACKAGE COMMAND...
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
find_missing() {
    missing=
    check gcc command -v cc
    check libc6-dev test -e /usr/include/stdio.h
    check pkg-config command -v pkg-config
    check libseccomp-dev pkg-config --exists libseccomp
    [ "$purpose" != build ] || return 0
    if [ "$purpose" = fuzz ]; then
        check g++ command -v c++
        return 0
    fi
    check busybox-static scripts/rootfs.sh --find-busybox
    [ "$purpose" != demo ] || return 0
    check strace command -v strace
    check util-linux command -v unshare
    check uidmap command -v newuidmap
    check iproute2 command -v ip
    check attr command -v setfattr
    check acl command -v setfacl
    check xfsprogs command -v mkfs.xfs
    check btrfs-progs command -v mkfs.btrfs
    if [ "$purpose" = engines ]; then
        for program in docker.io:dockerd containerd:ctr podman:podman conmon:conmon buildah:buildah runc:runc umoci:umoci \
            iptables:iptables slirp4netns:slirp4netns catatonit:catatonit python3:python3; do
            check "${program%:*}" command -v "${program#*:}"
        done
        check netavark test -x /usr/lib/podman/netavark
        check aardvark-dns test -x /usr/lib/podman/aardvark-dns
        check containernetworking-plugins test -x /usr/lib/cni/bridge
        check python3-grpcio /usr/bin/python3 -c 'import grpc'
    fi
    [ "$purpose" = vm ] || return 0
    check python3 command -v python3
    check mmdebstrap command -v mmdebstrap
    check debian-archive-keyring test -e /usr/share/keyrings/debian-archive-keyring.gpg
    check e2fsprogs command -v mke2fs
    check kmod command -v depmod
    check zstd command -v zstd
    check lz4 command -v lz4
    case ${VM:-all} in uml | hybrid | selinux) ;; *) check qemu-system-x86 command -v qemu-system-x86_64 ;; esac
}

find_missing
if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        say "please install (names as in Debian):$missing"
        exit 1
    elif [ "$(id -u)" -ne 0 ]; then
        say "please run as root: apt-get update && apt-get install$missing"
        exit 1
    fi
    say "installing$missing"
    if [ "$purpose" = engines ] && [ ! -e /usr/sbin/policy-rc.d ]; then
        # The packages would start their daemons, which the tests do themselves.
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    apt-get -qq update >&2
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y -o Dpkg::Use-Pty=0 --no-install-recommends $missing \
        >/dev/null
    find_missing
    if [ -n "$missing" ]; then
        say "installed, but still not found:$missing"
        exit 1
    fi
fi

if ! command -v cargo >/dev/null 2>&1; then
    say "cargo is missing; get Rust with rustup, see https://rustup.rs, and run make again"
    exit 1
fi
minor=$(rustc --version | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')
if [ "${minor:-0}" -lt "$rust_minor" ]; then
    say "Rust 1.$rust_minor or newer is needed, this is $(rustc --version); run: rustup update stable"
    exit 1
fi
# The tests of checkpoints are skipped without a criu that can dump; Debian 12's cannot on newer kernels.
case $purpose in check | test | engines) dumps=yes ;; *) dumps=no ;; esac
if [ $dumps = yes ] && [ ! -e target/criu/bin/criu ] && command -v python3 >/dev/null 2>&1 &&
    command -v apt-get >/dev/null 2>&1 && ! scripts/criu-can-dump.sh; then
    say "fetching a criu for the tests of checkpoints"
    python3 runtime-tests/criu.py target/criu >&2 || say "there is none; these tests are skipped"
fi
if [ "$purpose" = test ] && ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
    say "rustfmt or clippy is missing; run: rustup component add rustfmt clippy"
    exit 1
fi
