"""Unpacks criu of Debian 13 with its libraries into a directory, and writes DIRECTORY/bin/criu, which calls it. Nothing is
installed. For machines whose own criu cannot dump: python3 runtime-tests/criu.py target/criu
"""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "vm"))
from archive import ArchiveError, Suite  # noqa: E402

WRAPPER = """#!/bin/sh
root={root}
exec "$root"/usr/lib64/ld-linux-*.so.? --library-path "$(echo "$root"/usr/lib/*-linux-gnu)" "$root/usr/sbin/criu" "$@"
"""


def main(directory: Path) -> None:
    root = directory / "root"
    shutil.rmtree(root, ignore_errors=True)
    suite = Suite("trixie", directory / "cache")
    suite.unpack(suite.dependencies("criu", "lib"), root)
    wrapper = directory / "bin/criu"
    wrapper.parent.mkdir(exist_ok=True)
    wrapper.write_text(WRAPPER.format(root=root))
    wrapper.chmod(0o755)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]).absolute())
    except ArchiveError as error:
        sys.exit(f"criu.py: {error}")
