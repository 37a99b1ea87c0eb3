"""The root image: a Debian with systemd, as an ext4 file system in a file. Made without a loop device.

What runs in it is not here: a guest gets that from the share of its run (guest.py).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import archive
import recipe

SIZE = "3G"
# In the image; runs before systemd and goes on with what the share says.
INIT = "/usr/lib/vm-init"

# systemd gives users cpu, memory and pids; the tests want whatever may be delegated.
DELEGATION = "[Service]\nDelegate=cpu cpuset io memory pids\n"


def fingerprint() -> str:
    """What the image depends on."""
    lists = (recipe.ROOT_SUITE, recipe.ROOT_PACKAGES, recipe.ROOT_EXCLUDES, recipe.MASKED_UNITS, recipe.USER)
    return recipe.fingerprint(lists, files=("root.py", "guest/vm-init", "guest/vm.service", "guest/vm.target"))


def build(image: Path) -> None:
    """Makes the image."""
    tree = image.with_suffix(".tree")
    remove(tree)
    # In a mount namespace of its own: whatever way it ends, /proc and /sys of the machine are not left in the tree.
    command = ["unshare", "--mount", "--propagation", "private"]
    command += ["mmdebstrap", "--quiet", "--variant=minbase", "--mode=root"]
    command += ["--include=" + ",".join(recipe.ROOT_PACKAGES)]
    command += ["--aptopt=Apt::Install-Recommends \"false\"", "--aptopt=Acquire::Retries \"3\""]
    command += [f"--dpkgopt=path-exclude={path}" for path in recipe.ROOT_EXCLUDES]
    command += [recipe.ROOT_SUITE, str(tree), archive.source_line(recipe.ROOT_SUITE)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        remove(tree)
        raise archive.ArchiveError(f"mmdebstrap: {done.stdout.strip()}")
    configure(tree)
    part = image.with_suffix(".part")
    part.unlink(missing_ok=True)
    subprocess.run(["truncate", "--size", SIZE, part], check=True)
    make = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-L", "vm", "-d", str(tree), str(part)]
    subprocess.run(make, check=True)
    remove(tree)
    part.rename(image)


def remove(tree: Path) -> None:
    """Removes what mmdebstrap made."""
    if tree.exists():
        shutil.rmtree(tree)


def configure(tree: Path) -> None:
    """Units, the user, and the files that Debian's installer would write."""
    def write(path: str, text: str, mode: int = 0o644) -> None:
        file = tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_text(text)
        file.chmod(mode)

    user, number = recipe.USER, recipe.USER_ID
    chroot = ["chroot", str(tree)]
    subprocess.run([*chroot, "useradd", "--uid", str(number), "--user-group", "--create-home", "--shell", "/bin/bash", user], check=True)
    write("etc/subuid", f"{user}:100000:65536\n")
    write("etc/subgid", f"{user}:100000:65536\n")
    write("etc/fstab", "")
    write("etc/hostname", "vm\n")
    write("etc/hosts", "127.0.0.1 localhost vm\n")
    write("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    # Its session, with its own bus, is there from boot on.
    write(f"var/lib/systemd/linger/{user}", "")
    write("etc/systemd/system/user@.service.d/delegate.conf", DELEGATION)
    write("etc/systemd/journald.conf.d/volatile.conf", "[Journal]\nStorage=volatile\n")

    for unit in recipe.MASKED_UNITS:
        link = tree / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for name in ("vm.service", "vm.target"):
        write(f"etc/systemd/system/{name}", (recipe.HERE / "guest" / name).read_text())
    default = tree / "etc/systemd/system/default.target"
    default.unlink(missing_ok=True)
    default.symlink_to("vm.target")
    write(INIT.lstrip("/"), (recipe.HERE / "guest/vm-init").read_text(), 0o755)
