"""Hits of a search → a file to take away: CSV, Excel, or a list for a restore."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Protocol
from zoneinfo import ZoneInfo

from core.export.csv_writer import CsvWriter
from core.export.restore_list_writer import RestoreListWriter
from core.export.xlsx_writer import XlsxWriter
from core.model import Entry
from core.ports import Hits


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
        return XlsxWriter(file, timezone)
    return RestoreListWriter(file, hits.total, timezone)
