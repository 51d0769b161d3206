"""What a list looks like once its file format is out of the way: records of cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from core.errors import Code, HimuroError, sentence
from core.unc import tidy

Cell = str | datetime
"""Tidy text (``core.unc.tidy``), empty when there is none; from Excel also a date without zone."""

IsHeader = Callable[[tuple[Cell, ...]], bool]
"""Answers whether a record is the line of headings."""


class Record(NamedTuple):
    """One line or sheet row that holds something."""

    line: int
    """1-based; the first line when a quoted cell spans several."""
    cells: tuple[Cell, ...]
    fault: str = ""
    """Japanese: why the line cannot be told apart into cells. Empty when it can."""
    raw: tuple[Cell, ...] = ()
    """The cells as they stand in the file; empty when all of them are tidy."""

    @property
    def filled(self) -> list[Cell]:
        return [cell for cell in self.cells if cell]


@dataclass(frozen=True, slots=True)
class Table:
    """One list, without its blank lines."""

    encoding: str
    """As in ``DetectedList``."""
    header: Record | None
    """None: the list has no line of headings."""
    records: list[Record]
    """Without the header."""
    ignored_sheets: tuple[str, ...] = ()
    """Excel: further visible sheets that have the headings too; ``sheet`` is the one read."""
    sheet: str = ""


class ListUnreadable(HimuroError):
    """A whole list cannot be read; the other lists go on."""

    def __init__(self, code: Code, detail: str = "", line: int | None = None) -> None:
        self.code = code
        self.detail = detail
        self.line = line
        super().__init__(sentence(code, detail))


def tidied(line: int, written: Iterable[Cell]) -> Record:
    """Return the record of cells as they stand in the file."""
    raw = tuple(written)
    cells = tuple(tidy(cell) if isinstance(cell, str) else cell for cell in raw)
    return Record(line, cells, raw=() if cells == raw else raw)


def filled(records: Iterable[Record], limit: int) -> list[Record]:
    """Return the records that hold something.

    Raises ``ListUnreadable(LIST_TOO_LARGE)`` at the first one beyond ``limit``, so that no
    more than that is ever in memory. One more is let pass: it may be the header.
    """
    kept: list[Record] = []
    for record in records:
        if record.fault or any(record.cells):
            if len(kept) > limit:
                raise ListUnreadable(Code.LIST_TOO_LARGE, TOO_MANY_ROWS)
            kept.append(record)
    return kept


MAX_ROWS = 200_000
"""Rows of all lists of one request together."""
MAX_BYTES = 20 * 1024 * 1024
"""Of one list."""
TOO_MANY_ROWS = f"合計{MAX_ROWS:,}行まで"
