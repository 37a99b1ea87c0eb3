#!/bin/sh
# Makes the root filesystem of each bundle named: a static busybox with a link for each of its programs.
#   scripts/rootfs.sh BUNDLE...
#   scripts/rootfs.sh --find-busybox     prints where a static busybox is, or fails
set -eu

find_busybox() {
    for candidate in /bin/busybox /usr/bin/busybox "$(command -v busybox || true)"; do
        # A static program has no interpreter; strings of the loader's name would be in the first page.
        if [ -x "$candidate" ] && ! head -c 4096 "$candidate" | grep -aq 'ld-\(linux\|musl\)'; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    echo "rootfs: there is no static busybox (Debian: apt-get install busybox-static)" >&2
    return 1
}

if [ "${1:-}" = --find-busybox ]; then
    find_busybox
    exit
fi

busybox=$(find_busybox)
# Containers read it as other users, too.
umask 022
for bundle; do
    root=$bundle/rootfs
    if [ "$root/bin/busybox" -nt "$busybox" ] && [ "$root/bin/busybox" -nt "$0" ]; then
        continue
    fi
    rm -rf "$root"
    mkdir -p "$root/bin" "$root/etc" "$root/root"
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\n' >"$root/etc/group"
    cp "$busybox" "$root/bin/busybox"
    for name in $("$busybox" --list); do
        [ "$name" = busybox ] || ln -s busybox "$root/bin/$name"
    done
    touch "$root/bin/busybox"
done
