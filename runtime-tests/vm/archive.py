"""Packages of the Debian archive, from the mirror that this machine's apt already uses.

Each suite has an apt state of its own in the cache, so neither the machine's package lists nor its packages change.
apt checks the signatures, with the keys of debian-archive-keyring.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class ArchiveError(Exception):
    """The archive cannot be reached, or has not what is asked for."""


def mirror() -> str:
    """The address of the Debian archive: VM_MIRROR, or what the machine's apt has for its own suite."""
    if given := os.environ.get("VM_MIRROR"):
        return given
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)", "Identifier: Packages"],
        check=True, capture_output=True, text=True,
    ).stdout
    for line in listing.splitlines():
        origin, address, release, component = line.split("|")
        # Updates and security fixes have archives or suites of their own, with a dash in the name.
        if origin in ("Debian", "$(ORIGIN)") and component == "main" and "-" not in release:
            return address
    raise ArchiveError("apt's sources have no Debian archive; name one with VM_MIRROR")


def source_line(suite: str) -> str:
    """A line for sources.list."""
    return f"deb [signed-by={KEYRING}] {mirror()} {suite} main"


class Suite:
    """One suite of the archive. Its package lists are fetched when it is made."""

    def __init__(self, name: str, cache: Path):
        self.name = name
        self.directory = cache / f"apt-{name}"
        for part in ("state/lists/partial", "cache/archives/partial", "etc/none"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        (self.directory / "state/status").touch()
        (self.directory / "etc/sources.list").write_text(source_line(name) + "\n")
        (self.directory / "apt.conf").write_text(
            f'Dir "{self.directory}/";\n'
            'Dir::State "state"; Dir::State::status "state/status"; Dir::Cache "cache"; Dir::Etc "etc";\n'
            'Dir::Etc::sourcelist "sources.list"; Dir::Etc::sourceparts "none"; Dir::Etc::parts "none";\n'
            'Dir::Etc::preferences "none"; Dir::Etc::preferencesparts "none";\n'
            'APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::Retries "3";\n'
            # A mirror may lag behind; what it has is signed all the same.
            'Acquire::Check-Valid-Until "false";\n'
        )
        self._apt("apt-get", "-q", "update", "--error-on=any")

    def _apt(self, *command: str, cwd: Path | None = None) -> str:
        environment = dict(os.environ, APT_CONFIG=str(self.directory / "apt.conf"), LC_ALL="C")
        done = subprocess.run(command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise ArchiveError(f"{' '.join(command)} ({self.name}): {done.stdout.strip()}")
        return done.stdout

    def dependencies(self, package: str, prefix: str) -> list[str]:
        """The package and those that it depends on, directly or not, whose names start with the prefix."""
        found, waiting = [], [package]
        while waiting:
            name = waiting.pop(0)
            if name in found:
                continue
            found.append(name)
            for line in self._apt("apt-cache", "depends", "--important", name).splitlines():
                kind, _, other = line.strip().partition(": ")
                if kind in ("Depends", "PreDepends") and other.startswith(prefix):
                    waiting.append(other)
        return found

    def unpack(self, packages: list[str], target: Path) -> None:
        """Downloads the packages and unpacks their files, without installing anything."""
        archives = self.directory / "cache/archives"
        for package in packages:
            for old in archives.glob(f"{package}_*.deb"):
                old.unlink()
            self._apt("apt-get", "-q", "download", package, cwd=archives)
            (archive,) = archives.glob(f"{package}_*.deb")
            subprocess.run(["dpkg-deb", "--extract", archive, target], check=True)
            archive.unlink()
