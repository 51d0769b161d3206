"""Hits of a search → a file to take away: CSV, Excel, or a list for a restore."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import BinaryIO, Protocol
from zoneinfo import ZoneInfo

from core.csvfile import safe_cell
from core.model import Entry
from core.ports import Hits

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
"""As in the contract (table ``archive_list``)."""

_MOST_DAYS = 20_000
_TWO = [f"{number:02}" for number in range(60)]


class Form(StrEnum):
    """What is made of the hits; the words stand in addresses."""

    CSV = "csv"
    XLSX = "xlsx"
    RESTORE = "restore"
    """The CSV that step 1 of a restore accepts."""

    @property
    def suffix(self) -> str:
        return ".xlsx" if self is Form.XLSX else ".csv"


@dataclass(frozen=True, slots=True)
class Written:
    """How far a file has come."""

    rows: int = 0
    """Those in the file so far."""
    total: int = 0
    """Hits; a file that is finished may hold fewer rows (``note``)."""
    size: int = 0
    """Bytes of the file so far."""
    listed_bytes: int = 0
    """Bytes of the archived files that its rows name."""
    note: str = ""
    """Japanese, when it is finished: what has to be known about it; usually empty."""


class Writer(Protocol):
    """One file that is being written."""

    def add(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Write a row for each that the form can name, and return these; raises ``ListError``
        when it holds no more."""

    def finish(self) -> str:
        """Write what is left, and return ``Written.note``. The file stays open."""

    def abandon(self) -> None:
        """Let go of a file that will not be finished."""


def write(
    file: BinaryIO,
    form: Form,
    hits: Hits,
    timezone: ZoneInfo,
    progress: Callable[[Written], None] = lambda _written: None,
) -> Written:
    """Write hits to an empty file that can seek.

    ``progress`` hears of every batch, and may raise what ends the work. Raises ``OSError`` as
    the file does, ``FatalError`` as the batches do, and ``ListError`` when there are more hits
    than the form holds.
    """
    writer = _writer(file, form, hits, timezone)
    rows = listed = 0
    try:
        progress(Written(total=hits.total))
        for batch in hits.batches:
            added = writer.add(batch)
            rows += len(added)
            listed += sum(entry.size for entry in added)
            progress(Written(rows, hits.total, file.tell(), listed))
        note = writer.finish()
    except BaseException:
        writer.abandon()
        raise
    return Written(rows, hits.total, file.tell(), listed, note)


def _writer(file: BinaryIO, form: Form, hits: Hits, timezone: ZoneInfo) -> Writer:
    if form is Form.CSV:
        return CsvWriter(file, timezone)
    if form is Form.XLSX:
        from core.export_xlsx import XlsxWriter  # noqa: PLC0415 - it imports this module

        return XlsxWriter(file, timezone)
    from core.export_list import RestoreListWriter  # noqa: PLC0415

    return RestoreListWriter(file, hits.total, timezone)


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
        if len(self._offsets) >= _MOST_DAYS:
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
            if len(self._days) >= _MOST_DAYS:
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
    """UTF-8 with BOM and CRLF, and no cell that runs as a formula (``core/csvfile.py``)."""

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


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()
