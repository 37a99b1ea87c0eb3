#!/bin/sh
# Makes a Debian package: deb.sh BINARY MANUAL OUT, with the runtime, the program that writes its manual, and the
# directory that the package goes into. Prints the package's path.
set -eu

[ $# -eq 3 ] || { echo "usage: deb.sh BINARY MANUAL OUT" >&2; exit 2; }
binary=$1 manual=$2 out=$3
command -v dpkg-deb >/dev/null || { echo "deb: dpkg-deb is missing (Debian package dpkg)" >&2; exit 1; }
top=$(cd "$(dirname "$0")/.." && pwd)

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$top/Cargo.toml" | head -n 1)
architecture=$(dpkg --print-architecture)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 0755 "$tree"

install -D -m 0755 "$binary" "$tree/usr/bin/rvol-runc"
"$manual" "$tree/usr"
gzip -9 -n "$tree"/usr/share/man/man8/*.8
# zsh has its own places for what packages bring.
mv "$tree/usr/share/zsh/site-functions" "$tree/usr/share/zsh/vendor-completions"
doc=$tree/usr/share/doc/rvol-runc
install -D -m 0644 "$top/README.md" "$doc/README.md"
install -m 0644 "$top"/docs/*.md "$doc/"
{
    echo "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
    echo "Upstream-Name: rvol-runc"
    echo
    echo "Files: *"
    echo "Copyright: the rvol-runc authors"
    echo "License: Apache-2.0"
    echo " On Debian systems, the text of this license is in /usr/share/common-licenses/Apache-2.0."
} > "$doc/copyright"

mkdir "$tree/DEBIAN"
cat > "$tree/DEBIAN/control" <<END
Package: rvol-runc
Version: $version
Architecture: $architecture
Section: admin
Priority: optional
Maintainer: the rvol-runc authors <rvol-runc@localhost>
Installed-Size: $(du -sk "$tree/usr" | cut -f 1)
Suggests: containerd | docker.io | podman, uidmap, criu
Description: OCI container runtime with native volumes
 A low-level runtime after the OCI runtime-spec, for containerd, Docker, Podman
 and for people with a bundle. Volumes as Docker's, without a daemon.
END
package=$out/rvol-runc_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$tree" "$package" >/dev/null
echo "$package"
