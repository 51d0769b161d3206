"""The cells of one sheet: their XML → text as Excel shows it, and dates (ECMA-376, 18.3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import lru_cache
from math import isfinite
from typing import IO

from core.errors import Code
from core.list_table import Cell, ListUnreadable
from core.list_xml import XmlReader

MAX_COLUMNS = 64
"""Columns from A that are read; what stands further right is ignored."""
_MAX_SHEET_ROWS = 1_048_576
"""Excel's own limit; what a forged row number puts below it is ignored."""
_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")
_NO_DATE = "#VALUE!"
"""What stands for a number that its date format cannot show; Excel fills the cell with #."""


class Style(Enum):
    """A number format that makes a number something else."""

    DATE = auto()
    """A date, a time of day, or both."""
    ELAPSED = auto()
    """Hours, minutes or seconds that do not stop at a day."""


@dataclass(frozen=True, slots=True)
class Book:
    """What the cells of all sheets refer to."""

    strings: Sequence[str]
    """The shared strings."""
    styles: Mapping[str, Style]
    """By index of the cell format, as written in the cell; others show plain numbers."""
    epoch: datetime
    """Day 0, without zone: 1899-12-30, or 1904-01-01 in books from old Macs."""


class SheetReader(XmlReader):
    """The rows of one sheet, in order."""

    def __init__(self, book: Book) -> None:
        super().__init__()
        self._book = book
        self._rows: list[tuple[int, list[Cell], bool]] = []
        self._line = 0
        self._cells: list[Cell] = []
        self._column = -1
        self._kind = ""
        self._style = ""
        self._formula = False
        self._calculated = True

    def rows(self, part: IO[bytes]) -> Iterator[tuple[int, list[Cell]]]:
        """Yield the 1-based number and the cells of every row with a value.

        The cells end with the last value; "" stands for a cell without one. Raises
        ``ListUnreadable`` instead of a row with a formula that nothing has calculated, and
        like ``XmlReader.chunks``.
        """
        for _ in self.chunks(part):
            rows, self._rows = self._rows, []
            for line, cells, calculated in rows:
                if not calculated:
                    # Read as empty, a name's formula would turn one file into its whole folder.
                    raise ListUnreadable(
                        Code.LIST_FORMAT,
                        "計算されていない数式があります。Excelで開いて保存し直してください",
                        line,
                    )
                yield line, cells

    def started(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "c":
            ref = attributes.get("r")
            self._column = _column(ref.rstrip("0123456789")) if ref else self._column + 1
            self._kind = attributes.get("t", "n")
            self._style = attributes.get("s", "")
            self._formula = False
        elif tag == "v":
            if self._kind != "inlineStr":
                self.listen()
        elif tag == "t":
            if self._kind == "inlineStr" and "rPh" not in self.path:
                self.listen()
        elif tag == "row":
            number = attributes.get("r")
            line = int(number) if number else self._line + 1
            if line <= self._line:
                raise ValueError(f"row {line} after row {self._line}")
            self._line = line
            self._cells, self._column, self._calculated = [], -1, True
        elif tag == "f":
            self._formula = True

    def ended(self, tag: str) -> None:
        if tag in ("v", "t"):
            self.pause()
        elif tag == "c":
            value = self._value(self.heard())
            if value is not None and self._column < MAX_COLUMNS:
                self._place(value)
        elif tag == "row":
            wanted = self._cells or not self._calculated
            if wanted and self._line <= _MAX_SHEET_ROWS:
                self._rows.append((self._line, self._cells, self._calculated))
        elif tag == "sheetData":
            self.finished = True

    def _place(self, value: Cell) -> None:
        missing = self._column - len(self._cells)
        if missing < 0:
            self._cells[self._column] = value
            return
        self._cells += [""] * missing
        self._cells.append(value)

    def _value(self, text: str) -> Cell | None:
        kind = self._kind
        if not text:
            # A result may be empty, but then the cell says that it is text.
            if self._formula and kind != "str":
                self._calculated = False
            return None
        if kind == "s":
            index = int(text)
            if index < 0:
                raise ValueError("shared string of negative number")
            return self._book.strings[index]
        if kind in ("str", "inlineStr"):
            return unescaped(text)
        if kind == "n":
            return _number(text, self._book.styles.get(self._style), self._book.epoch)
        if kind == "b":
            return "FALSE" if text in ("0", "false") else "TRUE"
        return _iso_date(text) if kind == "d" else text


def unescaped(text: str) -> str:
    r"""Return a text with what XML cannot hold: ``_x000D_`` is ``\r`` (ECMA-376, 22.9.2.19)."""
    if "_x" not in text:
        return text
    plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    # Two escapes may be the halves of one letter.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@lru_cache(maxsize=1024)
def _column(letters: str) -> int:
    """Return 0 for A, 26 for AA."""
    if not 1 <= len(letters) <= 3 or not (letters.isascii() and letters.isalpha()):
        raise ValueError(f"no column: {letters[:10]!r}")
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _number(text: str, style: Style | None, epoch: datetime) -> Cell:
    """Return a number as Excel shows it, except for dates: the column judges those."""
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"no number: {text[:10]!r}")
    if style is None:
        if number.is_integer():
            # Exact beyond 15 digits too, where Excel's own numbers are not.
            return str(int(text) if text.lstrip("-").isdecimal() else int(number))
        return str(number)
    if style is Style.ELAPSED:
        minutes, seconds = divmod(round(number * 86400), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return _date(number, epoch)


def _date(days: float, epoch: datetime) -> Cell:
    if days < 0:
        return _NO_DATE
    try:
        # Excel counts in floating point; a millisecond is finer than it shows.
        moment = epoch + timedelta(milliseconds=round(days * 86_400_000))
    except OverflowError:
        return _NO_DATE
    if days < 1:
        return f"{moment:%H:%M:%S}"
    if days < 60 and epoch.year == 1899:
        # Excel knows a 29 February 1900, day 60, that never was.
        moment += timedelta(days=1)
    return moment


def _iso_date(text: str) -> Cell:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return text
