"""What a check keeps of each file, measured by Python's own count of allocated bytes."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.archive.check import ArchiveCheck
from core.config.settings import ShareSetting
from core.lists.parser import parse
from core.model import ArchiveStatus, Entry, ListKind, ListSource, Plan, ShareDirectory
from core.paths.normalization import identity, search_key
from core.share.resolver import Listing
from core.share.shares import FileSystem, Kind, Shares
from tests.support.arrange import UNC
from tests.support.entries import entry
from tests.support.fakes import MemoryCatalogue

SOME, MANY = 2_000, 4_000
MAX_BYTES = 900
"""A file: 120 MB for the 200,000 that one run takes."""
FOLDER = "営業部の見積書と請求書の控え"


class _OneDirectory(FileSystem):
    """A share with one directory, in which every file is the same one."""

    def __init__(self, files: int, content: Path) -> None:
        self._names = [_name(number) for number in range(files)]
        self._content = content

    def list(self, directory: str) -> list[tuple[str, Kind]]:
        if not directory.endswith(FOLDER):
            return [(FOLDER, Kind.DIRECTORY)]
        return [(name.encode().decode(), Kind.FILE) for name in self._names]

    def open(self, path: str) -> int:
        return os.open(self._content, os.O_RDONLY)


class _AllArchived(MemoryCatalogue):
    def find(self, search_keys: Iterable[str]) -> Mapping[str, Sequence[Entry]]:
        directory = f"{UNC}\\{FOLDER}"
        wanted = set(search_keys)
        rows = {search_key(directory, name): name for name in map(_name, range(MANY))}
        return {key: [entry(rows[key], directory)] for key in wanted & rows.keys()}


def _name(number: int) -> str:
    return f"見積書_{number:06}_最終版の控え.xlsx"


def _checked(tmp_path: Path, form: str, files: int) -> tuple[Plan, int]:
    """Return a plan, and the most bytes that were allocated on the way to it."""
    (tmp_path / "content").touch()
    share = ShareSetting(UNC, tmp_path)
    fs = _OneDirectory(files, tmp_path / "content")
    folder = f"{UNC}\\{FOLDER}"
    names = [_name(n) for n in range(files)]
    if form == "missing":
        names = [name.replace("控え", "写し") for name in names]
    lines = [folder] if form == "folder" else [f"{folder}\\{name}" for name in names]
    source = ListSource("一覧.txt", "\r\n".join(lines).encode("utf-8-sig"))
    del lines, names
    catalogue = _AllArchived() if form == "archived" else MemoryCatalogue()
    check = ArchiveCheck(Shares([share], fs), catalogue, "hr/")
    tracemalloc.start()
    try:
        plan = check.run(parse([source], ListKind.ARCHIVE, ZoneInfo("Asia/Tokyo")))
        return plan, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["rows", "folder", "archived", "missing"])
def test_a_check_keeps_little_of_each_file(tmp_path: Path, form: str) -> None:
    _, some = _checked(tmp_path, form, SOME)
    plan, many = _checked(tmp_path, form, MANY)
    if form == "missing":
        assert len(plan.problems) == MANY
    else:
        assert len(plan.items) == MANY
        assert plan.count(ArchiveStatus.NEW) == (0 if form == "archived" else MANY)
    assert (many - some) / (MANY - SOME) < MAX_BYTES


NAMES = st.lists(
    st.text("aAbB\u00e9e\u0301ガが カ\u3099", min_size=1, max_size=4), unique=True, max_size=12
)


@given(NAMES, st.text("aAbBé \u3099ガカ", min_size=1, max_size=4))
def test_a_name_is_found_among_those_that_windows_takes_for_it(names: list[str], name: str) -> None:
    listing = Listing(ShareDirectory(UNC, "/share"), [(each, Kind.FILE) for each in names])
    alike = [each for each in names if identity(each) == identity(name)]
    assert listing.has(name) == (name in names)
    assert listing.has_file(name) == bool(alike)
    if name in names or len(alike) == 1:
        assert listing.match(name) == (name if name in names else alike[0])
    elif not alike:
        assert listing.match(name) is None
