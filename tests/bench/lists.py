"""What happens before the first upload: reading a long list, and checking it on a slow share."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

from openpyxl import Workbook

from core.archive.check import ArchiveCheck
from core.config.settings import ShareSetting
from core.lists.parser import parse
from core.model import Entry, ListKind, ListSource, ParsedList
from core.ports import Catalogue
from core.share.shares import FileSystem, Kind, Shares
from tests.bench.contenders import write_list
from tests.bench.measure import BenchError
from tests.bench.report import Row, note
from tests.support.share import UNC, small_files

LINES = 20_000
DELAY = 0.002
"""Seconds that each call to the share takes: a file server in the same data centre."""
CHECK_LIMIT, PARSE_LIMIT = 10.0, 1.0


class SlowShare(FileSystem):
    """A share that answers every call after ``DELAY``."""

    def list(self, directory: str) -> list[tuple[str, Kind]]:
        time.sleep(DELAY)
        return super().list(directory)

    def stat(self, path: str) -> os.stat_result:
        time.sleep(DELAY)
        return super().stat(path)

    def open(self, path: str) -> int:
        time.sleep(DELAY)
        return super().open(path)

    def create_empty(self, path: str) -> None:
        time.sleep(DELAY)
        super().create_empty(path)

    def resolve(self, path: str) -> str:
        time.sleep(DELAY)
        return super().resolve(path)


class EmptyCatalogue:
    """An archive list without rows; the check asks nothing else of it."""

    def find(self, search_keys: Iterable[str]) -> Mapping[str, Sequence[Entry]]:
        return dict.fromkeys(search_keys, ())


def check(directory: Path, _rounds: int) -> list[Row]:
    """Seconds for the check of a long list over a slow share, file by file and as a whole."""
    share = small_files(directory / "share", LINES, mean=100)
    setting = ShareSetting(share.unc, share.root)
    rows = []
    for what, entries in (
        (f"{LINES:,} listed files", [share.unc_path(file) for file in share.files]),
        (f"a directory of {LINES:,} files", [share.unc_path(share.root)]),
    ):
        shares = Shares([setting], SlowShare())
        checking = ArchiveCheck(shares, cast(Catalogue, EmptyCatalogue()), "")
        parsed = _parse(_source(directory, entries))
        begin = time.perf_counter()
        plan = checking.run(parsed)
        seconds = time.perf_counter() - begin
        if len(plan.items) != LINES or plan.refused:
            reasons = {problem.reason for problem in plan.problems}
            raise BenchError(f"{len(plan.items):,} of {LINES:,} files passed the check: {reasons}")
        note(f"check, {what}: {seconds:.2f} s")
        call = f"{what}, {DELAY * 1000:.0f} ms a call: below {CHECK_LIMIT:.0f} s"
        rows.append(Row("check", call, f"{seconds:.2f} s", seconds < CHECK_LIMIT))
    return rows


def parse_list(directory: Path, rounds: int) -> list[Row]:
    """Seconds for reading a long list as Japanese Excel saves it."""
    entries = [
        rf"{UNC}\営業部\{2015 + number % 10}年度\見積\見積書～{number:05}（最終）.xlsx"
        for number in range(LINES)
    ]
    return [
        _parsing("CP932", _source(directory, entries), rounds),
        _parsing("xlsx", _workbook(entries), rounds),
    ]


def _parsing(form: str, source: ListSource, rounds: int) -> Row:
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        parsed = _parse(source)
        seconds.append(time.perf_counter() - begin)
        if len(parsed.rows) != LINES or parsed.problems:
            raise BenchError(f"{len(parsed.rows):,} of {LINES:,} lines of {form} were read")
    median = statistics.median(seconds)
    note(f"list, {form}: {median:.2f} s")
    what = f"{LINES:,} lines of {form}: below {PARSE_LIMIT:.0f} s"
    spread = " / ".join(f"{s:.2f}" for s in seconds)
    return Row("list", what, f"{median:.2f} s", median < PARSE_LIMIT, rounds=f"{spread} s")


def _source(directory: Path, entries: list[str]) -> ListSource:
    """Return a list of these paths as it would be uploaded."""
    file = directory / "list.csv"
    write_list(file, entries)
    return ListSource(file.name, file.read_bytes())


def _workbook(entries: list[str]) -> ListSource:
    """Return a workbook with directory and name of these paths in two columns."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append(["ディレクトリパス", "ファイル名"])
    for entry in entries:
        directory, _, name = entry.rpartition("\\")
        sheet.append([directory, name])
    stream = BytesIO()
    book.save(stream)
    return ListSource("list.xlsx", stream.getvalue())


def _parse(source: ListSource) -> ParsedList:
    return parse([source], ListKind.ARCHIVE, ZoneInfo("Asia/Tokyo"))
