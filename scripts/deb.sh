#!/bin/sh
# Makes a Debian package: deb.sh STAGE OUT, with what `make` has staged (bin, share) and the directory that the package goes
# into. Prints the package's path.
set -eu

[ $# -eq 2 ] || { echo "usage: deb.sh STAGE OUT" >&2; exit 2; }
stage=$1 out=$2
command -v dpkg-deb >/dev/null || { echo "deb: dpkg-deb is missing (Debian package dpkg)" >&2; exit 1; }
[ -x "$stage/bin/rvol-runc" ] || { echo "deb: $stage/bin/rvol-runc is missing: run make first" >&2; exit 1; }
top=$(cd "$(dirname "$0")/.." && pwd)
packaging=$top/packaging

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$top/Cargo.toml" | head -n 1)
architecture=${DEB_HOST_ARCH:-$(dpkg --print-architecture)}
maintainer="${DEBFULLNAME:-rvol-runc maintainers} <${DEBEMAIL:-rvol-runc@example.org}>"
epoch=${SOURCE_DATE_EPOCH:-$(stat -c %Y "$top/CHANGELOG.md")}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 0755 "$tree"
umask 022

# Debian's sources of the static libraries, as `glibc (= 2.36-9+deb12u14)`: whoever passes the binary on has to be able to
# offer them (LGPL). Empty where dpkg did not install the libraries.
sources() {
    for library in libc.a libseccomp.a; do
        path=$("${CC:-cc}" "-print-file-name=$library")
        path=$(readlink -f "$path" 2>/dev/null || true)
        package=$(dpkg-query --search "$path" 2>/dev/null | head -n 1 | cut -d : -f 1)
        [ -z "$package" ] || dpkg-query --show --showformat '${source:Package} (= ${source:Version})\n' "$package"
    done | sort -u | paste -s -d , | sed 's/,/, /g'
}

lay_out() {
    doc=$tree/usr/share/doc/rvol-runc
    install -D -m 0755 "$stage/bin/rvol-runc" "$tree/usr/bin/rvol-runc"
    cp -R "$stage/share" "$tree/usr/"
    rm -rf "$doc"
    gzip -9 -n "$tree"/usr/share/man/man8/*.8
    # zsh has its own place for what packages bring.
    mv "$tree/usr/share/zsh/site-functions" "$tree/usr/share/zsh/vendor-completions"
    install -D -m 0644 "$top/README.md" "$doc/README.md"
    install -m 0644 "$top"/docs/*.md "$doc/"
    install -D -m 0644 "$packaging/apparmor/rvol-runc" "$tree/etc/apparmor.d/rvol-runc"
    for unit in "$packaging"/systemd/*.service "$packaging"/systemd/*.timer; do
        install -D -m 0644 "$unit" "$tree/lib/systemd/system/$(basename "$unit")"
    done
    install -D -m 0755 "$packaging/systemd/backup-volumes" "$tree/usr/lib/rvol-runc/backup-volumes"
    install -D -m 0644 "$packaging/debian/rvol-runc.lintian-overrides" "$tree/usr/share/lintian/overrides/rvol-runc"
}

# The licences of everything that is linked in; the crates' own files follow as they are.
write_copyright() {
    cat <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: rvol-runc
Comment: The binary is static. It contains the GNU C library, libseccomp, the
 Rust standard library and the Rust crates below. With this package's source it
 can be linked again with other versions of the libraries (LGPL-2.1, section 6).

Files: *
Copyright: the rvol-runc authors
License: Apache-2.0

Files: glibc
Copyright: Free Software Foundation, Inc. and others
License: LGPL-2.1+

Files: libseccomp
Copyright: 2012-2022, Red Hat, Inc., Cisco Systems, Inc. and others
License: LGPL-2.1

Files: rust-std
Copyright: The Rust Project Developers
License: MIT or Apache-2.0

License: Apache-2.0
 On Debian systems, the text is in /usr/share/common-licenses/Apache-2.0.

License: LGPL-2.1+
 On Debian systems, the text is in /usr/share/common-licenses/LGPL-2.1.

License: LGPL-2.1
 On Debian systems, the text is in /usr/share/common-licenses/LGPL-2.1.

License: MIT or Apache-2.0
 The text of the MIT licence is in the notices of the crates, in NOTICES.gz
 beside this file; that of Apache-2.0 in /usr/share/common-licenses/Apache-2.0.
END
}

# CHANGELOG.md in Debian's form.
write_changelog() {
    printf 'rvol-runc (%s) unstable; urgency=medium\n\n' "$version"
    printf '  * See CHANGELOG.md of the source for what changed.\n\n'
    printf ' -- %s  %s\n' "$maintainer" "$(LC_ALL=C date -u -R -d "@$epoch")"
}

write_control() {
    using=$(sources)
    cat <<END
Package: rvol-runc
Version: $version
Architecture: $architecture
Section: admin
Priority: optional
Maintainer: $maintainer
Installed-Size: $(du -sk --apparent-size "$tree" | cut -f 1)
Suggests: containerd | docker.io | podman, uidmap, criu
END
    [ -z "$using" ] || printf 'Built-Using: %s\nStatic-Built-Using: %s\n' "$using" "$using"
    cat <<END
Description: OCI container runtime with native volumes
 A low-level runtime after the OCI runtime-spec, for containerd, Docker, Podman
 and for people with a bundle. Its commands are those of runc. Volumes with the
 words and the behaviour of Docker's belong to it, without a daemon.
END
}

lay_out
write_copyright >"$doc/copyright"
[ ! -e "$stage/share/doc/rvol-runc/NOTICES" ] || gzip -9 -n -c "$stage/share/doc/rvol-runc/NOTICES" >"$doc/NOTICES.gz"
write_changelog | gzip -9 -n >"$doc/changelog.gz"
mkdir "$tree/DEBIAN"
write_control >"$tree/DEBIAN/control"
echo /etc/apparmor.d/rvol-runc >"$tree/DEBIAN/conffiles"
install -m 0755 "$packaging/debian/postinst" "$packaging/debian/postrm" "$tree/DEBIAN/"
(cd "$tree" && find etc lib usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
# dpkg-deb takes SOURCE_DATE_EPOCH as the latest time of a file.
find "$tree" -exec touch -h -d "@$epoch" {} +
package=$out/rvol-runc_${version}_$architecture.deb
mkdir -p "$out"
SOURCE_DATE_EPOCH=$epoch dpkg-deb --root-owner-group --build "$tree" "$package" >/dev/null
echo "$package"
