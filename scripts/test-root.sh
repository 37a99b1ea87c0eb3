#!/bin/sh
# Runs `make demo` and `make test` in a Debian that has its base system, what the README names, and nothing else:
#   test-root.sh bookworm|trixie         (as root; needs debootstrap and the network)
# The root filesystem is below /var/tmp and is removed at the end; Rust is installed in it as the README says.
# TEST_ROOT_MIRROR=URL is another mirror of Debian than that of apt.
# TEST_ROOT_GOALS="demo check" runs other goals of make.
# TEST_ROOT_CARGO=DIR is a cargo home whose registry and toolchains are copied, so that nothing is downloaded twice.
set -eu

suite=${1:?"the suite is missing: bookworm or trixie"}
case $suite in bookworm | trixie) ;; *) echo "test-root: unknown suite $suite" >&2; exit 2 ;; esac
[ "$(id -u)" -eq 0 ] || { echo "test-root: please run it as root; it makes a root filesystem" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "test-root: debootstrap is missing" >&2; exit 1; }
top=$(cd "$(dirname "$0")/.." && pwd)
# The mirror that this machine's apt uses for Debian's main archive.
mirror=${TEST_ROOT_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    grep '/debian/*$' | head -n 1)}
[ -n "$mirror" ] || { echo "test-root: apt names no mirror of Debian; set TEST_ROOT_MIRROR=URL" >&2; exit 1; }

work=$(mktemp -d /var/tmp/rvol-test-root.XXXXXX)
root=$work/root
# In a mount namespace of its own: whatever happens, no mount is left.
if [ "${TEST_ROOT_INSIDE:-}" != yes ]; then
    rmdir "$work"
    TEST_ROOT_INSIDE=yes exec unshare --mount --propagation private "$0" "$suite"
fi
trap 'cd /; umount -R "$root/proc" "$root/sys" "$root/dev" 2>/dev/null; rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The line of README.md that names the packages: it is tested, too.
packages=$(sed -n 's/^ *apt-get install -y \(git make .*\)$/\1/p' "$top/README.md" | head -n 1)
[ -n "$packages" ] || { echo "test-root: README.md names no packages" >&2; exit 1; }

debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$work/debootstrap.log" 2>&1 ||
    { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
for directory in proc sys dev; do mount --rbind "/$directory" "$root/$directory"; done
[ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$root/etc/"
# The machine's own way to the mirror, where it has one.
cp -a /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true

inside() { chroot "$root" /usr/bin/env -i HOME=/root PATH=/root/.cargo/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb "$@"; }
inside apt-get -qq update
# shellcheck disable=SC2086 # a list of words
inside DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $packages >/dev/null
if [ -n "${TEST_ROOT_CARGO:-}" ]; then
    cp -a "$TEST_ROOT_CARGO" "$root/root/.cargo"
    cp -a "${TEST_ROOT_RUSTUP:-$TEST_ROOT_CARGO/../.rustup}" "$root/root/.rustup"
else
    inside sh -c 'curl --proto =https --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile default'
fi
git -c safe.directory="$top" clone -q "$top" "$root/root/rvol-runc"
for goal in ${TEST_ROOT_GOALS:-demo test}; do
    echo "test-root: $suite: make $goal"
    inside make -C /root/rvol-runc "$goal"
done
echo "test-root: $suite: everything held"
