"""Hits of a search → the CSV that step 1 of a restore accepts, and takes to mean just them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import BinaryIO
from zoneinfo import ZoneInfo

from core.errors import ItemError, ListError
from core.export.csv_writer import csv_lines
from core.lists.table import MAX_BYTES, MAX_ROWS
from core.model import Entry
from core.paths.unc import EDGE, exactly, join, tidy
from core.units import local

HEADER = ("ディレクトリパス", "復元対象ファイル名", "アーカイブ日時")
TOO_LONG = (
    f"復元の一覧に書けるのは{MAX_ROWS:,}件、{MAX_BYTES // 1024**2} MBまでです。"
    "フォルダーや期間などの条件で絞り込み、何回かに分けて作ってください。"
)

_PLAIN = re.compile(r"(?!\d+\.[ed]\d+$)[\w（【「].*\.[A-Za-z][A-Za-z0-9]{1,4}", re.IGNORECASE)
"""Names that neither Excel nor the reader of lists takes for anything else: no formula, no
number (``1.e5``) or date, no space that is trimmed, nothing that looks like a path."""


class RestoreListWriter:
    """One row a file, with the moment of its generation to the microsecond.

    A name that Excel would run or change is written as its whole path, which begins with a
    backslash: the list stays the same when Excel has saved it, and nothing has to be undone.
    """

    def __init__(self, file: BinaryIO, total: int, timezone: ZoneInfo) -> None:
        if total > MAX_ROWS:
            raise ListError(TOO_LONG)
        self._file = file
        self._timezone = timezone
        self._left_out = 0
        file.write(csv_lines([HEADER], mark="\ufeff"))

    def add(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        rows = ((entry, self._row(entry)) for entry in entries)
        good = [(entry, row) for entry, row in rows if _means(row, entry)]
        self._left_out += len(entries) - len(good)
        self._file.write(csv_lines(row for _entry, row in good))
        if self._file.tell() > MAX_BYTES:
            raise ListError(TOO_LONG)
        return [entry for entry, _row in good]

    def finish(self) -> str:
        if not self._left_out:
            return ""
        return (
            f"{self._left_out:,}件は、名前に一覧では指定できない文字があるため入っていません。"
            "管理者に連絡してください。"
        )

    def abandon(self) -> None:
        return

    def _row(self, entry: Entry) -> tuple[str, str, str]:
        directory, name = entry.directory, entry.name
        if not _PLAIN.fullmatch(name):
            # A directory whose last space is trimmed would not contain the path beside it.
            name = entry.path
            directory = "" if directory[-1:] in EDGE else directory
        when = local(entry.archived_at, self._timezone)
        return directory, name, when.isoformat(" ", "microseconds")


def _means(row: tuple[str, str, str], entry: Entry) -> bool:
    """Return whether the reader of lists takes a row to mean an entry."""
    directory, name, _ = row
    try:
        path = join(tidy(directory), tidy(name), strict=False)
    except ItemError:
        return False
    is_tidy = (directory, name) == (tidy(directory), tidy(name))
    return entry.path == (path if is_tidy else exactly(directory, name))
