"""What the whole suite needs beside Python's packages, told before it begins.

``make test`` runs this file with the machine's own Python, before anything is installed: it needs
nothing but the standard library. Tests that need none of these programs run without it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping


def program(name: str, path: str) -> str | None:
    """Return where a program is; Debian keeps those of servers out of people's ``PATH``."""
    return shutil.which(name, path=path and f"{path}:/usr/sbin")


def has_japanese_font(path: str) -> bool:
    fonts = program("fc-list", path)
    if fonts is None:
        return False
    listed = subprocess.run([fonts, ":lang=ja"], capture_output=True, check=False)
    return listed.stdout.strip() != b""


NEEDED: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "chromium": ("Chromium", lambda path: program("chromium", path)),
    "fonts-noto-cjk": ("a Japanese font", has_japanese_font),
    "nginx": ("nginx", lambda path: program("nginx", path)),
}
"""By the name of Debian's package: what it is, and whether it is here, given a ``PATH``."""


def missing(path: str) -> list[str]:
    """Return the packages that are not here, in the order of ``NEEDED``."""
    return [package for package, (_, found) in NEEDED.items() if not found(path)]


def sentence(packages: list[str]) -> str:
    """Return what is missing and what to do about it, in one sentence."""
    *others, last = (NEEDED[package][0] for package in packages)
    what = f"{', '.join(others)} and {last}" if others else last
    return (
        f"The whole test suite needs {what}, which this machine does not have: run "
        f"`apt-get install --yes --no-install-recommends {' '.join(packages)}` (Debian's names), "
        "or only the tests that need no browser and no server, "
        "e.g. `.venv/bin/python -m pytest tests/paths tests/lists`."
    )


def main() -> int:
    """Say what is missing on standard error; 1 when anything is."""
    packages = missing(os.environ.get("PATH", ""))
    if packages:
        print(sentence(packages), file=sys.stderr)
    return 1 if packages else 0


if __name__ == "__main__":
    sys.exit(main())
