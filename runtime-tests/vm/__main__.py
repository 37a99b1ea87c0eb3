"""Boots guests with cgroup v2 and systemd, and runs the tests in them: `python3 runtime-tests/vm --help`.

Needs what `scripts/setup.sh vm` installs; root, to build the images. This file owns the order of things.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.dont_write_bytecode = True

import archive  # noqa: E402
import guest  # noqa: E402
import kernel  # noqa: E402
import recipe  # noqa: E402
import root  # noqa: E402
import suite  # noqa: E402

# Seconds that one test program may take. Where the processor is emulated everything is ten times slower.
PROGRAM_LIMIT = {"uml": 600, "hybrid": 600, "selinux": 600, "qemu": 1800}
# Without words these run only what the first cannot.
LISTS = {"hybrid": recipe.HYBRID_TESTS, "selinux": recipe.SELINUX_TESTS, "qemu": recipe.QEMU_TESTS}


def ready(path: Path, fingerprint: str, build: Callable[[], None]) -> Path:
    """Builds what is missing or stale."""
    stamp = path.with_name(path.name + ".recipe")
    if path.exists() and stamp.exists() and stamp.read_text() == fingerprint:
        return path
    print(f"vm: building {path}", flush=True)
    start = time.monotonic()
    stamp.unlink(missing_ok=True)
    build()
    stamp.write_text(fingerprint)
    print(f"vm: built {path} in {time.monotonic() - start:.0f} s", flush=True)
    return path


def images(kind: str, cache: Path) -> guest.Images:
    """The images of this kind of guest. Only one process at a time looks after them."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        which = "qemu" if kind == "qemu" else "uml"
        image, linux = cache / "root.ext4", cache / which
        ready(image, root.fingerprint(), lambda: root.build(image))
        ready(linux, kernel.fingerprint(which), lambda: kernel.build(which, linux, cache))
    return guest.Images(image, linux)


def prepare(run: guest.Run, work: str) -> None:
    """Writes what the guest reads first."""
    shutil.copy(recipe.HERE / "guest/session", run.directory / "session")
    (run.directory / "token").write_text(run.token + "\n")
    (run.directory / "modules").write_text(recipe.GUEST_MODULES + "\n")
    (run.directory / "work").write_text(work)
    run.share(suite.REPOSITORY, str(suite.REPOSITORY))


def run_command(kind: str, cache: Path, command: str) -> int:
    """Runs a shell command in a guest."""
    with guest.Run(kind, images(kind, cache)) as run:
        prepare(run, f"cd {shlex.quote(str(suite.REPOSITORY))}\n{command}\n")
        return run.follow(lambda text: print(text, flush=True))


def run_tests(kind: str, cache: Path, tests: suite.Suite) -> tuple[int, int]:
    """Runs the test programs in a guest; returns how many tests passed and failed.

    A guest whose kernel dies is started once more: with emulated processors, a kernel that patches its own code
    while another processor runs it may crash, mostly while it boots on a busy machine."""
    code, report = run_once(kind, cache, tests)
    if code == guest.DIED:
        print(f"vm: {kind}: the guest's kernel died; once more", flush=True)
        code, report = run_once(kind, cache, tests)
    return report.summary()


def run_once(kind: str, cache: Path, tests: suite.Suite) -> tuple[int, suite.Report]:
    """Runs the test programs in a guest; returns the guest's exit code and what it reported."""
    start = time.monotonic()
    with guest.Run(kind, images(kind, cache)) as run:
        # What cargo built is not there in the guest, but some tests write where it was.
        work = f"mount -t tmpfs target {suite.REPOSITORY}/target && mkdir -p {suite.REPOSITORY}/target/tmp || exit\n"
        work += f"export VM_PROGRAM_LIMIT={PROGRAM_LIMIT[kind]}\n"
        prepare(run, work + (recipe.HERE / "guest/tests").read_text())
        tests.stage(run.directory / "stage")
        (run.directory / "plan").write_text(tests.plan())
        print(f"vm: {kind}: starting", flush=True)
        report = suite.Report(tests.programs, run.token)
        code = run.follow(report.line)
        print(f"vm: {kind}: ended with {code} after {time.monotonic() - start:.0f} s", flush=True)
        return code, report


def selected(tests: suite.Suite, kind: str, arguments: argparse.Namespace) -> suite.Suite:
    """What of the tests this kind of guest runs."""
    return tests.only(None if arguments.tests else LISTS.get(kind))


def main() -> int:
    parser = argparse.ArgumentParser(prog="vm", description="Runs the tests in a guest with cgroup v2 and systemd.")
    parser.add_argument("--guest", choices=["uml", "hybrid", "selinux", "qemu", "all"], default=os.environ.get("VM") or "all",
                        help="user-mode Linux (fast), the same with cgroup v1, the same with SELinux, an emulated machine\n"
                        "(every controller), or all; without names all but the first run only what the first cannot")
    parser.add_argument("--profile", choices=["debug", "release"], default=os.environ.get("VM_PROFILE") or "release",
                        help="of the runtime under test")
    parser.add_argument("--cache", type=Path, default=Path(os.environ.get("VM_CACHE") or suite.REPOSITORY / "target/vm"),
                        help="where the images are kept (1 GB)")
    parser.add_argument("--command", metavar="SHELL", help="run this instead of the tests, and exit as it does")
    parser.add_argument("tests", nargs="*", metavar="TEST[:FILTER]", help="test programs, by cargo's names; default: all")
    arguments = parser.parse_args()
    kinds = ["uml", "hybrid", "selinux", "qemu"] if arguments.guest == "all" else [arguments.guest]
    cache = arguments.cache.resolve()
    try:
        if arguments.command:
            return max(run_command(kind, cache, arguments.command) for kind in kinds)
        tests = suite.Suite(arguments.tests, arguments.profile)
        scores = [run_tests(kind, cache, selected(tests, kind, arguments)) for kind in kinds]
    except (archive.ArchiveError, suite.SuiteError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1
    passed, failed = (sum(numbers) for numbers in zip(*scores))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
