"""The tests: which programs there are, how they get into the guest, and what came of them.

Built on the host by cargo, as `make test` builds them; a guest only runs them.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# What libtest says at the end, and what the tests that are no libtest say.
RESULTS = [re.compile(r"test result: .*?(\d+) passed; (\d+) failed"), re.compile(r"^(\d+) passed, (\d+) failed")]
SKIPPED = re.compile(r"(^|: )skipped: ")


class SuiteError(Exception):
    """The tests cannot be built, or there is none of the name."""


@dataclass
class Program:
    """A test program: `name` is its package and target, `words` what it is called with."""

    name: str
    path: Path
    directory: Path
    words: list[str] = field(default_factory=list)
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    code: int | None = None

    @property
    def good(self) -> bool:
        """It ran to its end, and nothing failed."""
        return self.code == 0 and self.failed == 0


class Suite:
    """The programs, in the order in which they run, and the binary that they test."""

    def __init__(self, wanted: list[str], profile: str):
        # NAME or NAME:FILTER, where the filter is for the program, as with cargo test.
        filters = {name: words.split(":") if words else [] for name, _, words in (w.partition(":") for w in wanted)}
        release = ["--release"] if profile == "release" else []
        built = cargo(["build", "--bin", "rvol-runc", *release])
        self.runtime = next(Path(m["executable"]) for m in built if m.get("executable"))
        targets = ["--tests"] if not filters else \
            [word for name in filters for word in (["--lib"] if name == "lib" else ["--test", name])]
        messages = cargo(["test", "--workspace", "--no-run", *targets])
        self.programs: list[Program] = []
        self.helpers: list[Path] = []
        for message in (m for m in messages if m.get("executable")):
            path, target = Path(message["executable"]), message["target"]
            directory = Path(message["manifest_path"]).parent
            if directory.name == "bench":
                continue
            if message["profile"]["test"]:
                name = "lib" if target["kind"] == ["lib"] else target["name"]
                package = "rvol-runc" if directory == REPOSITORY else directory.name
                self.programs.append(Program(f"{package}/{name}", path, directory, filters.get(name, [])))
            else:
                self.helpers.append(path)
        self.programs.sort(key=lambda p: (p.directory != REPOSITORY, p.name))

    def only(self, names: list[str] | None) -> Suite:
        """A fresh suite of the runtime's tests of these names, as far as there are such; without names, of all."""
        chosen = copy.copy(self)
        programs = [p for p in self.programs if names is None or p.name.removeprefix("runtime-tests/") in names]
        chosen.programs = [dataclasses.replace(p, passed=0, failed=0, skipped=0, code=None) for p in programs]
        return chosen

    def stage(self, target: Path) -> None:
        """Puts stripped copies where a guest can read them: its way to the host's files is slow."""
        (target / "tests").mkdir(parents=True)
        (target / "runtime").mkdir()
        strip(self.runtime, target / "runtime/rvol-runc")
        for helper in self.helpers:
            strip(helper, target / helper.name)
        # Some tests know where cargo put them.
        (target / "helpers").write_text("".join(f"{helper}\n" for helper in self.helpers))
        for program in self.programs:
            strip(program.path, target / "tests" / program.path.name)

    def plan(self) -> str:
        """Lines for the guest: name, program, directory, words."""
        lines = [[p.name, f"/run/vm/stage/tests/{p.path.name}", str(p.directory), *p.words] for p in self.programs]
        return "".join(" ".join(line) + "\n" for line in lines)


def cargo(words: list[str]) -> list[dict]:
    """Runs cargo and returns its messages."""
    command = [os.environ.get("CARGO", "cargo"), *words, "--locked", "--message-format=json-render-diagnostics"]
    done = subprocess.run(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SuiteError(f"cargo {' '.join(words)} failed")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def strip(source: Path, target: Path) -> None:
    """A copy without debug information, most of a program's size; with it where there is no strip."""
    tool = shutil.which("strip")
    if not tool or subprocess.run([tool, "-o", target, source], stderr=subprocess.DEVNULL).returncode != 0:
        shutil.copy(source, target)
    target.chmod(0o755)


class Report:
    """Prints a guest's output as it comes, and keeps the score."""

    def __init__(self, programs: list[Program], token: str):
        self.programs = {p.name: p for p in programs}
        self.token = token
        self.current: Program | None = None

    def line(self, text: str) -> None:
        """Takes a line of the guest's output."""
        if text.startswith(self.token):
            _, event, name, *more = text.split()
            self.current = self.programs[name] if event == "start" else None
            if event == "start":
                print(f"     Running {name}", flush=True)
            else:
                self.programs[name].code = int(more[0])
            return
        print(text, flush=True)
        if not self.current:
            return
        if SKIPPED.search(text):
            self.current.skipped += 1
        for pattern in RESULTS:
            if found := pattern.search(text):
                self.current.passed += int(found[1])
                self.current.failed += int(found[2])

    def summary(self) -> tuple[int, int]:
        """Prints a line for each program; returns how many tests passed and failed. A program that did not come to its
        end, or that ended badly without a failed test, counts as one."""
        passed = failed = 0
        for program in self.programs.values():
            passed += program.passed
            failed += program.failed or (not program.good)
            note = {None: ", was not run or did not end", 0: "", 124: ", took too long"}.get(program.code, f", exit code {program.code}")
            mark = "ok    " if program.good else "FAILED"
            skipped = f", {program.skipped} skipped" if program.skipped else ""
            print(f"{mark} {program.name}: {program.passed} passed, {program.failed} failed{skipped}{note if not program.good else ''}")
        return passed, failed
