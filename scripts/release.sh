#!/bin/sh
# Makes the files of a release from what `make` staged: release.sh STAGE TRIPLE OUT
#   rvol-runc-VERSION-TRIPLE.tar.gz   bin/, share/ (man pages, completions, licences), packaging/, README, CHANGELOG, docs
#   rvol-runc-VERSION.spdx.json       what is linked in (SPDX), by cargo-sbom
#   SHA256SUMS
# The same commit gives the same files: names, times, owners and order in the tarball are fixed.
set -eu

[ $# -eq 3 ] || { echo "usage: release.sh STAGE TRIPLE OUT" >&2; exit 2; }
stage=$1 triple=$2 out=$3
[ -x "$stage/bin/rvol-runc" ] || { echo "release: $stage/bin/rvol-runc is missing: run make first" >&2; exit 1; }
top=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$top/Cargo.toml" | head -n 1)
epoch=${SOURCE_DATE_EPOCH:?"SOURCE_DATE_EPOCH is not set: run it by make release"}
grep -q "^## \[$version\]" "$top/CHANGELOG.md" ||
    { echo "release: CHANGELOG.md has no section [$version] (docs/releasing.md)" >&2; exit 1; }

name=rvol-runc-$version-$triple
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
mkdir -p "$out" "$work/$name"
cp -R "$stage/bin" "$stage/share" "$top/packaging" "$top/docs" "$top/README.md" "$top/CHANGELOG.md" "$top/LICENSE" "$work/$name/"
tar -C "$work" --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w \
    --format=ustar -cf - "$name" | gzip -9 -n >"$out/$name.tar.gz"

files=$name.tar.gz
if command -v cargo-sbom >/dev/null; then
    # Its name and time are made up at each run; the commit's stand for them.
    (cd "$top" && cargo sbom --cargo-package rvol-runc --output-format spdx_json_2_3) |
        sed -e "s|\"created\": *\"[^\"]*\"|\"created\": \"$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)\"|" \
            -e "s|\(\"documentNamespace\": *\"\)[^\"]*\"|\1https://spdx.org/spdxdocs/rvol-runc-$version\"|" \
            >"$out/rvol-runc-$version.spdx.json"
    files="$files rvol-runc-$version.spdx.json"
else
    echo "release: cargo-sbom is missing, and so is the SBOM; run: cargo install --locked cargo-sbom" >&2
    exit 1
fi
# shellcheck disable=SC2086 # a list of names without spaces
(cd "$out" && sha256sum $files >SHA256SUMS)
for file in $files SHA256SUMS; do echo "$out/$file"; done
