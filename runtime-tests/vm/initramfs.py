"""The initramfs of the emulated machine: a busybox that loads the modules the root file system needs, and mounts it.

Written here in the "newc" format of cpio, so that no cpio program is needed.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
from pathlib import Path

import recipe

SCRIPT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t sysfs sysfs /sys
for module in {modules}; do /bin/busybox insmod /modules/$module; done
while [ ! -b /dev/vda ]; do /bin/busybox usleep 20000; done
/bin/busybox mount -t ext4 -o noatime /dev/vda /new || exec /bin/busybox poweroff -f
for name in proc dev sys; do /bin/busybox mount --move /$name /new/$name; done
exec /bin/busybox switch_root /new {init}
"""


def module_bytes(path: Path) -> bytes:
    """The module, uncompressed: busybox loads no other."""
    match path.suffix:
        case ".xz":
            return lzma.decompress(path.read_bytes())
        case ".zst":
            return subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True).stdout
        case ".gz":
            return gzip.decompress(path.read_bytes())
        case _:
            return path.read_bytes()


def entry(name: str, mode: int, data: bytes, number: int) -> bytes:
    """One file of a cpio archive."""
    fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def busybox() -> bytes:
    """The host's busybox, which must be static."""
    found = shutil.which("busybox") or "/bin/busybox"
    return Path(found).read_bytes()


def build(modules: Path, init: str) -> bytes:
    """The archive. `modules` is the directory of a kernel's modules, `init` what runs in the root file system."""
    available = {path.name.split(".ko")[0].replace("-", "_"): path for path in modules.rglob("*.ko*")}
    wanted = [name for name in recipe.INITRAMFS_MODULES if name in available]
    files = [(name, 0o040755, b"") for name in ("bin", "proc", "dev", "sys", "new", "modules")]
    files.append(("bin/busybox", 0o100755, busybox()))
    files += [(f"modules/{name}", 0o100644, module_bytes(available[name])) for name in wanted]
    files.append(("init", 0o100755, SCRIPT.format(modules=" ".join(wanted), init=init).encode()))
    files.append(("TRAILER!!!", 0, b""))
    cpio = b"".join(entry(*file, number) for number, file in enumerate(files, 1))
    return gzip.compress(cpio, 1)
