"""What stands in every row that is taken away, and the CSV of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import BinaryIO, Literal
from zoneinfo import ZoneInfo

from core.files.csv_file import safe_cell
from core.model import Entry

COLUMNS = (
    "アーカイブ日時",
    "ディレクトリパス",
    "アーカイブファイル名",
    "S3バケット名",
    "S3キー",
    "依頼ID",
    "依頼者",
    "コメント",
    "ファイルサイズ",
    "SHA256",
    "更新日時",
)
"""Headings of an exported list: the columns of the archive list, the time first
(``docs/contract.md``, "Searching")."""

_MAX_DAYS = 20_000
_TWO = [f"{number:02}" for number in range(60)]


class LocalTime:
    """A time zone that is asked for millions of moments: twice as fast as ``astimezone``.

    Nearly all days have one offset from UTC, which is remembered.
    """

    def __init__(self, timezone: ZoneInfo) -> None:
        self._timezone = timezone
        self._offsets: dict[date, timedelta | None] = {}
        """By the day in UTC; None: it changes on that day."""
        self._days: dict[date, str] = {}

    def shifted(self, when: datetime) -> datetime:
        """Return the moment whose numbers in UTC are those that clocks show at ``when``, which
        is in UTC. One at the edge of Python's calendar is returned as it is."""
        day = when.date()
        try:
            offset = self._offsets[day]
        except KeyError:
            offset = self._offset(when)
        try:
            return when + (self._at(when) if offset is None else offset)
        except OverflowError:
            return when

    def _offset(self, when: datetime) -> timedelta | None:
        if len(self._offsets) >= _MAX_DAYS:
            self._offsets.clear()
        first = when.replace(hour=0, minute=0, second=0, microsecond=0)
        last = when.replace(hour=23, minute=59, second=59, microsecond=0)
        offset = self._at(first)
        same = offset == self._at(last)
        self._offsets[when.date()] = offset if same else None
        return self._offsets[when.date()]

    def _at(self, when: datetime) -> timedelta:
        try:
            return when.astimezone(self._timezone).utcoffset() or timedelta()
        except OverflowError:
            return timedelta()

    def text(self, when: datetime) -> str:
        """Return a moment as it stands in a file: ``2026-10-05 10:15:00``."""
        # A fifth of what strftime takes, twice a row.
        at = self.shifted(when)
        day = at.date()
        try:
            text = self._days[day]
        except KeyError:
            if len(self._days) >= _MAX_DAYS:
                self._days.clear()
            text = self._days[day] = f"{day} "
        return f"{text}{_TWO[at.hour]}:{_TWO[at.minute]}:{_TWO[at.second]}"


def cells(entry: Entry, timezone: ZoneInfo) -> tuple[str | int, ...]:
    """Return an entry in the order of ``COLUMNS``."""
    clock = LocalTime(timezone)
    return (
        clock.text(entry.archived_at),
        entry.directory,
        entry.archived_name,
        entry.bucket,
        entry.key,
        entry.request_id,
        entry.requester,
        entry.comment,
        entry.size,
        entry.sha256,
        clock.text(entry.modified_at),
    )


class CsvWriter:
    """UTF-8 with BOM and CRLF, and no cell that runs as a formula (``core/files/csv_file.py``)."""

    def __init__(self, file: BinaryIO, timezone: ZoneInfo) -> None:
        self._file = file
        self._text = LocalTime(timezone).text
        file.write(csv_lines([COLUMNS], mark="\ufeff"))

    def add(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        self._file.write("".join(map(self._line, entries)).encode("utf-8", "backslashreplace"))
        return entries

    def _line(self, e: Entry) -> str:
        row = (
            self._text(e.archived_at),
            safe_cell(e.directory),
            safe_cell(e.archived_name),
            safe_cell(e.bucket),
            safe_cell(e.key),
            safe_cell(e.request_id),
            safe_cell(e.requester),
            safe_cell(e.comment),
            str(e.size),
            e.sha256,
            self._text(e.modified_at),
        )
        # Hardly any row needs quotes, and csv looks at every letter to find that out.
        if e.archived_name[:1] == " ":
            # Readers of CSV pass over spaces before a cell that has no quotes.
            return csv_text([row], csv.QUOTE_ALL)
        text = "".join(row)
        if "," in text or '"' in text or "\n" in text or "\r" in text:
            return csv_text([row])
        return ",".join(row) + "\r\n"

    def finish(self) -> str:
        return ""

    def abandon(self) -> None:
        return


def csv_lines(rows: Iterable[Sequence[object]], mark: str = "") -> bytes:
    """Return rows whose cells are safe as lines of a CSV."""
    return (mark + csv_text(rows)).encode("utf-8", "backslashreplace")


def csv_text(rows: Iterable[Sequence[object]], quoting: Literal[0, 1] = csv.QUOTE_MINIMAL) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n", quoting=quoting).writerows(rows)
    return text.getvalue()
