"""A guest that runs: its command line, its output, its end.

The directory of the run is shared with the guest as /run/vm, read-only; what it finds there, `session`, is what it does.
Its output is one stream, which ends with a line of the run's token and an exit code. The guest is then killed: nothing
of it is worth a shutdown.
"""

from __future__ import annotations

import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kernel
import root

MEMORY = "2048M"
# As timeout(1) has it, and a code that no program of the guest gives.
TIMED_OUT, DIED = 124, 125
# After this many seconds without an end the guest hangs.
LIMIT = int(os.environ.get("VM_LIMIT", "3600"))
COMMON_WORDS = "panic=-1 quiet loglevel=4 audit=0 systemd.show_status=0"
# Which cgroups there are: version 2 alone, or the controllers in version 1 as far as the kernel still has them there, with
# a version 2 beside it. systemd up to 257 does that if it is forced to.
UNIFIED = "cgroup_no_v1=all"
HYBRID = "systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"


@dataclass
class Images:
    """What a guest is made of, all of it in the cache and none of it written to."""

    root: Path
    kernel: Path


class Run:
    """One guest, from its directory on."""

    def __init__(self, kind: str, images: Images):
        self.kind = kind
        self.words = f"{COMMON_WORDS} {HYBRID if kind == 'hybrid' else UNIFIED}"
        self.images = images
        self.token = f"vm-{secrets.token_hex(8)}"
        self.directory = Path(tempfile.mkdtemp(prefix="vm.", dir=images.root.parent)).resolve()
        # The guest's other users read it, too.
        self.directory.chmod(0o755)
        self.shares: list[tuple[Path, str]] = []
        self.console = self.directory / "console.log"
        version = next((images.kernel / "modules").iterdir())
        self.share(version, f"/usr/lib/modules/{version.name}")

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def share(self, source: Path, target: str) -> None:
        """Lets the guest read a directory of the host, at `target`."""
        self.shares.append((source, target))

    def follow(self, line: Callable[[str], None]) -> int:
        """Runs the guest to its end and gives each line of its output to `line`. Returns the exit code it tells."""
        listing = "".join(f"share{n} {source} {target}\n" for n, (source, target) in enumerate(self.shares))
        (self.directory / "shares").write_text(listing)
        ours, its = socket.socketpair()
        with ours, open(self.console, "wb") as console:
            with its:
                command, options = self._qemu(its) if self.kind == "qemu" else self._uml(its, console)
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                                           start_new_session=True, **options)
            try:
                return self._stream(ours, process, line)
            finally:
                # The whole group: user-mode Linux has a process for each address space.
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()

    def _stream(self, output: socket.socket, process: subprocess.Popen, line: Callable[[str], None]) -> int:
        end, rest = time.monotonic() + LIMIT, b""
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while (left := end - time.monotonic()) > 0:
                if not selector.select(min(left, 1)):
                    if process.poll() is None:
                        continue
                    return self._died()
                data = output.recv(1 << 16)
                if not data:
                    return self._died()
                *lines, rest = (rest + data).split(b"\n")
                for text in (raw.decode(errors="replace").rstrip("\r") for raw in lines):
                    if text.startswith(f"{self.token} exit "):
                        return int(text.split()[-1])
                    line(text)
        line(f"vm: no end after {LIMIT} s")
        return TIMED_OUT

    def _died(self) -> int:
        tail = self.console.read_bytes().decode(errors="replace").splitlines()[-40:]
        print("vm: the guest ended without an exit code; the end of its console:", *tail, sep="\n", flush=True)
        return DIED

    def _scratch(self) -> Path:
        """An empty disk, for what wants one: io.max, swap, mkfs."""
        disk = self.directory / "scratch.img"
        with open(disk, "wb") as file:
            file.truncate(256 << 20)
        return disk

    def _uml(self, output: socket.socket, console) -> tuple[list, dict]:
        # Started in the kernel's directory, where its loader is, and with a short name for the run's.
        words = ["./linux", "seccomp=auto", f"mem={MEMORY}"]
        words += [f"ubd0={self.directory}/cow,{self.images.root.resolve()}", f"ubd1={self._scratch()}"]
        module = "selinux" if self.kind == "selinux" else "apparmor"
        words += ["root=/dev/ubda", "rootfstype=ext4", "rw", f"init={root.INIT}", f"lsm=landlock,yama,{module},bpf"]
        words += ["con=null", f"con0=null,fd:{console.fileno()}", f"con1=null,fd:{output.fileno()}"]
        words += [f"umid={self.token}", f"uml_dir={self.directory}/", "vm.type=hostfs", f"vm.control={self.directory}"]
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(self.directory)
        environment = dict(os.environ, TMPDIR=memory, LD_LIBRARY_PATH=str(self.images.kernel.resolve() / "lib"))
        files = (console.fileno(), output.fileno())
        return words + self.words.split(), {"cwd": self.images.kernel, "env": environment, "pass_fds": files}

    def _qemu(self, output: socket.socket) -> tuple[list, dict]:
        disk = "format=raw,if=virtio,cache=unsafe"
        speed = ["-accel", "kvm", "-cpu", "host"] if kernel.accelerated() else \
            ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"]
        words = ["qemu-system-x86_64", *speed, "-smp", "2", "-m", MEMORY, "-M", "pc,usb=off,hpet=off,vmport=off,smm=off"]
        words += ["-display", "none", "-nodefaults", "-no-user-config", "-no-reboot", "-monitor", "none", "-nic", "none"]
        words += ["-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"]
        words += ["-kernel", self.images.kernel / "linux", "-initrd", self.images.kernel / "initramfs"]
        words += ["-drive", f"file={self.images.root},{disk},snapshot=on", "-drive", f"file={self._scratch()},{disk}"]
        for tag, source in [("control", self.directory)] + [(f"share{n}", s) for n, (s, _) in enumerate(self.shares)]:
            words += ["-virtfs", f"local,path={source},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"]
        words += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci,max_ports=2"]
        words += ["-chardev", f"socket,id=output,fd={output.fileno()}"]
        words += ["-device", "virtserialport,chardev=output,name=output"]
        append = "console=ttyS0 mitigations=off nokaslr tsc=reliable no_timer_check random.trust_cpu=on hugepages=8 "
        words += ["-append", f"{append}{self.words} vm.type=9p vm.control=control"]
        return words, {"env": dict(os.environ, TMPDIR=str(self.directory)), "pass_fds": (output.fileno(),)}
