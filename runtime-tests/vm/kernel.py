"""The two kernels: Linux as an ordinary process (user-mode Linux), and Debian's own for the emulated machine.

Each is a directory of the cache: `linux` (what is started), `modules/VERSION`, and what else it needs.
"""

from __future__ import annotations

import gzip
import lzma
import os
import platform
import shutil
import subprocess
import zlib
from pathlib import Path

import archive
import initramfs
import recipe
import root

LOADER = b"/lib64/ld-linux-x86-64.so.2\0"


def fingerprint(kind: str) -> str:
    """What the kernel's directory depends on."""
    lists = (recipe.UML_SUITES, recipe.QEMU_SUITES, recipe.INITRAMFS_MODULES, recipe.MODULE_EXCLUDES)
    return recipe.fingerprint(kind, lists, files=("kernel.py", "initramfs.py"))


def build(kind: str, target: Path, cache: Path) -> None:
    """Makes the directory; `kind` is uml or qemu."""
    suites = recipe.UML_SUITES if kind == "uml" else recipe.QEMU_SUITES
    part = target.with_suffix(".part")
    for number, suite in enumerate(suites, 1):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            (build_uml if kind == "uml" else build_qemu)(archive.Suite(suite, cache), part)
            break
        except archive.ArchiveError as error:
            if number == len(suites):
                raise
            print(f"vm: {error}; trying the next suite", flush=True)
    for name in suites:
        shutil.rmtree(cache / f"apt-{name}", ignore_errors=True)
    shutil.rmtree(part / "unpacked")
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)


def build_uml(suite: archive.Suite, target: Path) -> None:
    """User-mode Linux with the C library of its own suite, which may be newer than the machine's."""
    unpacked = target / "unpacked"
    suite.unpack(["user-mode-linux", "libc6"], unpacked)
    kernel = target / "linux"
    shutil.copy(unpacked / "usr/bin/linux.uml", kernel)
    libraries = target / "lib"
    libraries.mkdir()
    for name in ("libc.so.6", "libutil.so.1", "libpthread.so.0", "librt.so.1", "libdl.so.2", "libm.so.6"):
        found = next(unpacked.rglob(name), None)
        if found:
            shutil.copy(found, libraries / name)
    shutil.copy(next(p for p in unpacked.rglob("ld-linux-x86-64.so.2") if p.is_file()), libraries / "ld-linux-x86-64.so.2")
    # It starts itself again by /proc/self/exe, so the loader must be named in it: relative to the directory it runs in.
    content = kernel.read_bytes()
    if LOADER in content:
        name = b"lib/ld-linux-x86-64.so.2"
        kernel.write_bytes(content.replace(LOADER, name.ljust(len(LOADER), b"\0"), 1))
    keep_modules(next(unpacked.glob("usr/lib/uml/modules/*")), target)


def build_qemu(suite: archive.Suite, target: Path) -> None:
    """Debian's kernel, as the ELF file in it, which starts seconds faster than what unpacks itself; and its initramfs."""
    unpacked = target / "unpacked"
    names = suite.dependencies(recipe.QEMU_KERNEL_PACKAGE, "linux-")
    suite.unpack([name for name in names if name != recipe.QEMU_KERNEL_PACKAGE], unpacked)
    image = next(iter(sorted(unpacked.glob("boot/vmlinuz-*")) + sorted(unpacked.rglob("vmlinuz*"))))
    (target / "linux").write_bytes(vmlinux(image.read_bytes()))
    modules = next(p.parent for p in unpacked.rglob("kernel") if p.parent.parent.name == "modules")
    keep_modules(modules, target)
    (target / "initramfs").write_bytes(initramfs.build(target / "modules", root.INIT))


def keep_modules(source: Path, target: Path) -> None:
    """Copies a kernel's modules, less what no test wants, and indexes them."""
    kept = target / "modules" / source.name
    shutil.copytree(source, kept, symlinks=True, ignore_dangling_symlinks=True)
    for name in ("build", "source"):
        (kept / name).unlink(missing_ok=True)
    for name in recipe.MODULE_EXCLUDES:
        shutil.rmtree(kept / "kernel" / name, ignore_errors=True)
    # depmod wants lib/modules below its base directory.
    base = target / "unpacked/depmod/lib"
    base.mkdir(parents=True)
    (base / "modules").symlink_to(kept.parent.resolve())
    depmod = shutil.which("depmod") or "/sbin/depmod"
    subprocess.run([depmod, "-b", base.parent, source.name], check=True, stderr=subprocess.DEVNULL)


def vmlinux(image: bytes) -> bytes:
    """The ELF file that a bzImage unpacks at start."""
    def zstd(data: bytes) -> bytes:
        # It complains about what follows the frame, and has written it by then.
        return subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout

    def xz(data: bytes) -> bytes:
        return lzma.LZMADecompressor().decompress(data)

    def lz4(data: bytes) -> bytes:
        return subprocess.run(["lz4", "-dcq"], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout

    formats = [(b"\x28\xb5\x2f\xfd", zstd), (b"\xfd7zXZ\0", xz), (b"\x02\x21\x4c\x18", lz4), (b"\x1f\x8b\x08", gunzip)]
    for magic, unpack in formats:
        start = image.find(magic)
        while start >= 0:
            try:
                found = unpack(image[start:])
            except (lzma.LZMAError, OSError, EOFError):
                found = b""
            if found.startswith(b"\x7fELF"):
                return found
            start = image.find(magic, start + 1)
    raise archive.ArchiveError("no ELF file in the kernel's image")


def gunzip(data: bytes) -> bytes:
    """The first gzip member, whatever follows it."""
    try:
        return zlib.decompressobj(31).decompress(data)
    except zlib.error as error:
        raise OSError(error) from error


def accelerated() -> bool:
    """True where KVM runs stock kernels: the processor says so, and /dev/kvm may be used. A /dev/kvm without vmx or svm
    is for guests that know of its ways."""
    if platform.machine() != "x86_64" or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    return bool({"vmx", "svm"} & set(flags.split()))
