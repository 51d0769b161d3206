"""What a list looks like once its file format is out of the way: tables of records of cells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from core.errors import Code, HimuroError, sentence
from core.paths.unc import tidy

MAX_ROWS = 200_000
"""Rows of all lists of one request together."""
MAX_BYTES = 20 * 1024 * 1024
"""Of one list."""
MAX_LINES = 1_048_576
"""Of one list, blank ones included: as many as Excel has."""
MAX_SECONDS = 60
"""Of one processor, for reading all lists of one request. 200,000 rows of our own export take
20."""
DATED = "Excelが日付に変えています。セルの書式を「文字列」にして書き直してください"
TOO_MANY_ROWS = f"合計{MAX_ROWS:,}行まで"


@dataclass(frozen=True, slots=True)
class Unclear:
    """A cell of which it is not certain what its sender sees in Excel."""

    text: str
    """What the cell probably shows; for display only."""
    why: str
    """Japanese: what Excel makes of it and what to do."""


Cell = str | datetime | Unclear
"""Tidy text (``core.paths.unc.tidy``), empty when there is none; from Excel also a date without
zone."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which cell holds what, counted from 0; None: there is no such column."""

    directory: int
    name: int | None = None
    date: int | None = None
    key: int | None = None
    """Of the S3 key; told from the others only where they leave a choice."""
    marker: bool = False
    """Whether the names are those of markers."""

    @property
    def used(self) -> frozenset[int]:
        return frozenset(c for c in (self.directory, self.name, self.date) if c is not None)

    @property
    def read(self) -> frozenset[int]:
        """Also those that need not be clear."""
        return self.used if self.key is None else self.used | {self.key}


class Record(NamedTuple):
    """One line or sheet row that holds something."""

    line: int
    """1-based; the first line when a quoted cell spans several."""
    cells: tuple[Cell, ...]
    fault: str = ""
    """Japanese: why the line cannot be told apart into cells. Empty when it can."""
    raw: tuple[Cell, ...] = ()
    """The cells as they stand in the file; empty when all of them are tidy."""
    hidden: bool = False
    """True for a sheet row that Excel does not show."""

    @property
    def filled(self) -> list[Cell]:
        return [cell for cell in self.cells if cell]


PickColumns = Callable[[Record], Columns | None]
"""Answers what the columns of a line of headings are; None: it is none. Raises
``ListUnreadable`` for headings that would be misread."""


class Merge(NamedTuple):
    """Cells that Excel shows as one, numbered from 1 (rows) and 0 (columns), both ends in it."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(slots=True)
class Table:
    """One list, or one sheet of it, without its blank lines."""

    encoding: str
    """What the operator is shown: ``UTF-8``, ``UTF-8 (BOM)``, ``CP932``, ``UTF-16``, ``Excel``."""
    columns: Columns | None
    """None: the list has no line of headings, each line is one path."""
    records: Iterator[Record]
    """Without the headings; to be read once. Raises ``ListUnreadable``."""
    title: str = ""
    """Name of the sheet, when more than one is read; empty otherwise."""
    notes: list[str] = field(default_factory=list)
    """Japanese, complete when all records were read: how the list was read, where that is
    not plain."""
    merges: list[Merge] = field(default_factory=list)
    """Complete when all records were read: those of cells that are used."""


@dataclass(frozen=True, slots=True)
class Reading:
    """All tables of one uploaded file, in their order."""

    tables: Iterable[Table]
    """To be read once, each table to its end before the next one."""
    unread: tuple[str, ...] = ()
    """Visible sheets that hold something and have no headings."""
    hidden: tuple[str, ...] = ()
    """Sheets that hold something and that Excel does not show."""


class ListUnreadable(HimuroError):
    """A whole list cannot be read; the other lists go on."""

    def __init__(self, code: Code, detail: str = "", line: int | None = None) -> None:
        self.code = code
        self.detail = detail
        self.line = line
        super().__init__(sentence(code, detail))


class Effort:
    """Processor time that reading the lists of one request has taken.

    How busy the machine is makes no difference: it is the time of this thread, in which all of
    them are read.
    """

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._end = clock() + MAX_SECONDS

    def check(self, line: int | None = None) -> None:
        """Raise ``ListUnreadable`` when it was too much; ``line``: how far the list was read."""
        if self._clock() > self._end:
            raise ListUnreadable(
                Code.LIST_TOO_LARGE,
                f"読み取りに時間がかかりすぎます（処理時間で{MAX_SECONDS}秒まで）。"
                "使わない行・列・シート・書式を削除するか、一覧をいくつかに分けてください",
                line,
            )


def tidied(line: int, written: Iterable[Cell], *, hidden: bool = False) -> Record:
    """Return the record of cells as they stand in the file."""
    raw = tuple(written)
    # A list is made faster than a generator gone through: this is done for every line.
    cells = tuple([tidy(cell) if isinstance(cell, str) else cell for cell in raw])
    return Record(line, cells, "", () if cells == raw else raw, hidden)
