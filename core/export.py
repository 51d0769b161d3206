"""Hits of a search → a file to take away: CSV, Excel, or a list for a restore."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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

    def add(self, entries: Sequence[Entry]) -> None:
        """Write a row for each; raises ``ListError`` when the form holds no more."""

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
            writer.add(batch)
            rows += len(batch)
            listed += sum(entry.size for entry in batch)
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


def local(when: datetime, timezone: ZoneInfo) -> datetime:
    """Return a moment in a time zone; one at the edge of Python's calendar stays in UTC."""
    try:
        return when.astimezone(timezone)
    except OverflowError:
        return when.astimezone(UTC)


def moment(when: datetime, timezone: ZoneInfo) -> str:
    """Return a moment as it stands in a file: ``2026-10-05 10:15:00``."""
    # A third of what strftime takes, twice a row.
    return local(when, timezone).isoformat(" ", "seconds")[:19]


def cells(entry: Entry, timezone: ZoneInfo) -> tuple[str | int, ...]:
    """Return an entry in the order of ``COLUMNS``."""
    return (
        moment(entry.archived_at, timezone),
        entry.directory,
        entry.archived_name,
        entry.bucket,
        entry.key,
        entry.request_id,
        entry.requester,
        entry.comment,
        entry.size,
        entry.sha256,
        moment(entry.modified_at, timezone),
    )


class CsvWriter:
    """UTF-8 with BOM and CRLF, and no cell that runs as a formula (``core/csvfile.py``)."""

    def __init__(self, file: BinaryIO, timezone: ZoneInfo) -> None:
        self._file = file
        self._timezone = timezone
        file.write(csv_lines([COLUMNS], mark="\ufeff"))

    def add(self, entries: Sequence[Entry]) -> None:
        zone = self._timezone
        self._file.write(
            csv_lines(
                (
                    moment(e.archived_at, zone),
                    safe_cell(e.directory),
                    safe_cell(e.archived_name),
                    safe_cell(e.bucket),
                    safe_cell(e.key),
                    safe_cell(e.request_id),
                    safe_cell(e.requester),
                    safe_cell(e.comment),
                    e.size,
                    e.sha256,
                    moment(e.modified_at, zone),
                )
                for e in entries
            )
        )

    def finish(self) -> str:
        return ""

    def abandon(self) -> None:
        return


def csv_lines(rows: Iterable[Sequence[object]], mark: str = "") -> bytes:
    """Return rows whose cells are safe as lines of a CSV."""
    text = io.StringIO(mark, newline="")
    text.seek(len(mark))
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")
