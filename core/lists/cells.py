"""The cells of one sheet: their XML → text as Excel shows it, and dates (ECMA-376, 18.3.1)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import IO, NamedTuple, Protocol

from core.errors import Code
from core.lists.number_formats import Kind, Style
from core.lists.table import DATED, MAX_ROWS, Cell, ListUnreadable, Merge, Unclear
from core.lists.xml_parts import XmlReader

MAX_COLUMNS = 64
"""Columns from A that are read; what stands further right is ignored."""
_MAX_SHEET_ROWS = 1_048_576
"""Excel's own limit; what a forged row number puts below it is ignored."""
_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")
_NO_DATE = "#VALUE!"
"""What stands for a number that its date format cannot show; Excel fills the cell with #."""
_FORMATTED = (
    "{}の書式のため、Excelでの表示を確かめられません。"
    "セルの書式を「文字列」にして、表示されているとおりに書き直してください"
)
_RANGE = re.compile(r"\$?([A-Z]{1,3})\$?(\d{1,7})(?::\$?([A-Z]{1,3})\$?(\d{1,7}))?", re.IGNORECASE)


class Strings(Protocol):
    """The shared strings."""

    def __getitem__(self, number: int) -> str: ...


class Styles(Protocol):
    """The cell formats."""

    def style(self, index: str) -> Style:
        """Return a format by its number as written in the cell, empty when it has none."""
        ...


@dataclass(frozen=True, slots=True)
class Book:
    """What the cells of all sheets refer to."""

    strings: Strings
    styles: Styles
    epoch: datetime
    """Day 0, without zone: 1899-12-30, or 1904-01-01 in books from old Macs."""


class _Shared(NamedTuple):
    """A cell with a shared string, not looked up yet: one long string may be in every row."""

    number: int
    style: str


class SheetRow(NamedTuple):
    """A row with a value."""

    line: int
    """1-based."""
    cells: list[Cell]
    """They end with the last value; "" stands for a cell without one."""
    hidden: bool
    """True when Excel does not show the row."""


class SheetReader(XmlReader):
    """The rows of one sheet, in order."""

    def __init__(self, book: Book) -> None:
        super().__init__()
        self._book = book
        self._rows: list[tuple[int, list[Cell | _Shared], bool, bool]] = []
        """Line, cells, whether it is hidden, whether its formulas are calculated."""
        self._line = 0
        self._hidden = False
        self._cells: list[Cell | _Shared] = []
        self._column = -1
        self._skipped = False
        self._kind = ""
        self._style = ""
        self._formula = False
        self._calculated = True
        self._wanted: Collection[int] = range(MAX_COLUMNS)
        self._header = 0
        self.hidden_columns: set[int] = set()
        """Of those that are read; complete before the first row."""
        self.merges: list[Merge] = []
        """Complete after the last row: those that cover a cell of the columns asked for."""

    @property
    def line(self) -> int:
        """Of the row that is being read; 0 before the first one."""
        return self._line

    def only(self, columns: Collection[int], header: int) -> None:
        """Read no other columns from now on; a row that was read may still have them.

        ``header``: the line of headings.
        """
        self._wanted, self._header = columns, header

    def rows(self, part: IO[bytes]) -> Iterator[SheetRow]:
        """Yield every row with a value in a column that is read.

        Raises ``ListUnreadable`` instead of a row with a formula that nothing has calculated,
        and like ``XmlReader.chunks``.
        """
        for _ in self.chunks(part):
            rows, self._rows = self._rows, []
            for line, cells, hidden, calculated in rows:
                if not calculated:
                    # Read as empty, a name's formula would turn one file into its whole folder.
                    raise ListUnreadable(
                        Code.LIST_FORMAT,
                        "計算されていない数式があります。Excelで開いて保存し直してください",
                        line,
                    )
                try:
                    found = [self._found(c) for c in cells]
                except ListUnreadable as exc:
                    raise ListUnreadable(exc.code, exc.detail, line) from exc
                yield SheetRow(line, found, hidden)

    def _found(self, value: Cell | _Shared) -> Cell:
        if not isinstance(value, _Shared):
            return value
        return _text(self._book.strings[value.number], self._book.styles.style(value.style))

    def started(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "c":
            ref = attributes.get("r")
            self._column = column = _column_of(ref) if ref else self._column + 1
            if column in self._wanted:
                self._skipped = False
                self._kind = attributes.get("t", "n")
                self._style = attributes.get("s", "")
                self._formula = False
            else:
                self._skipped = True
        elif tag == "row":
            self._start_row(attributes)
        elif self._skipped:
            pass
        elif tag == "v":
            if self._kind != "inlineStr":
                self.listen()
        elif tag == "t":
            if self._kind == "inlineStr" and "rPh" not in self.path:
                self.listen()
        elif tag == "f":
            self._formula = True
        elif tag == "mergeCell":
            self._merge(attributes.get("ref", ""))
        elif tag == "col":
            self._measure(attributes)

    def ended(self, tag: str) -> None:
        if tag == "row":
            self._skipped = False
            wanted = self._cells or not self._calculated
            if wanted and self._line <= _MAX_SHEET_ROWS:
                self._rows.append((self._line, self._cells, self._hidden, self._calculated))
        elif self._skipped:
            pass
        elif tag == "c":
            value = self._value(self.heard())
            if value is not None:
                self._place(value)
        elif tag in ("v", "t"):
            self.pause()
        elif tag == "mergeCells":
            self.finished = True

    def _start_row(self, attributes: dict[str, str]) -> None:
        number = attributes.get("r")
        line = int(number) if number else self._line + 1
        if line <= self._line:
            raise ValueError(f"row {line} after row {self._line}")
        self._line = line
        self._cells, self._column, self._calculated = [], -1, True
        height = attributes.get("ht")
        self._hidden = _true(attributes.get("hidden")) or (height is not None and float(height) < 1)

    def _measure(self, attributes: dict[str, str]) -> None:
        width = attributes.get("width")
        if _true(attributes.get("hidden")) or (width is not None and float(width) == 0):
            first, last = int(attributes["min"]), int(attributes["max"])
            self.hidden_columns.update(range(max(first, 1) - 1, min(last, MAX_COLUMNS)))

    def _merge(self, ref: str) -> None:
        match = _RANGE.fullmatch(ref)
        if match is None or not match[3] or not self._header:
            return
        (left, right), (top, bottom) = (
            sorted(map(_column, match.group(1, 3))),
            sorted(map(int, match.group(2, 4))),
        )
        covered = any(left <= c <= right and (c > left or bottom > top) for c in self._wanted)
        if bottom <= self._header or not covered:
            return
        self.merges.append(Merge(top, bottom, left, right))
        if len(self.merges) > MAX_ROWS:
            raise ListUnreadable(Code.LIST_TOO_LARGE, "セルの結合が多すぎます")

    def _place(self, value: Cell | _Shared) -> None:
        missing = self._column - len(self._cells)
        if missing < 0:
            self._cells[self._column] = value
            return
        self._cells += [""] * missing
        self._cells.append(value)

    def _value(self, text: str) -> Cell | _Shared | None:
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
            return _Shared(index, self._style)
        if kind in ("str", "inlineStr"):
            return _text(unescaped(text), self._book.styles.style(self._style))
        if kind == "n":
            return _number(text, self._book.styles.style(self._style), self._book.epoch)
        if kind == "b":
            return "FALSE" if text in ("0", "false") else "TRUE"
        return _iso_date(text) if kind == "d" else text


def _true(value: str | None) -> bool:
    return value in ("1", "true")


def unescaped(text: str) -> str:
    r"""Return a text with what XML cannot hold: ``_x000D_`` is ``\r`` (ECMA-376, 22.9.2.19)."""
    if "_x" not in text:
        return text
    plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    # Two escapes may be the halves of one letter.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _column_of(ref: str) -> int:
    return _column(ref.rstrip("0123456789"))


@lru_cache(maxsize=1024)
def _column(letters: str) -> int:
    """Return 0 for A, 26 for AA."""
    if not 1 <= len(letters) <= 3 or not (letters.isascii() and letters.isalpha()):
        raise ValueError(f"no column: {letters[:10]!r}")
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _text(text: str, style: Style) -> Cell:
    """Return a text as Excel shows it: a format may add to it, or hide it."""
    shown = style.text(text)
    return Unclear(text, _FORMATTED.format("文字列")) if shown is None else shown


def _number(text: str, style: Style, epoch: datetime) -> Cell:
    """Return a number as Excel shows it, except for dates: the column judges those."""
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"no number: {text[:10]!r}")
    if style.kind is Kind.DATE:
        return _date(number, epoch)
    if style.kind is Kind.ELAPSED:
        minutes, seconds = divmod(round(number * 86400), 60)
        return Unclear(f"{minutes // 60}:{minutes % 60:02}:{seconds:02}", DATED)
    shown = style.number(number)
    return Unclear(f"{number:.15g}", _FORMATTED.format("数値")) if shown is None else shown


def _date(days: float, epoch: datetime) -> Cell:
    if days < 0:
        return _NO_DATE
    try:
        # Excel counts in floating point; a millisecond is finer than it shows.
        moment = epoch + timedelta(milliseconds=round(days * 86_400_000))
    except OverflowError:
        return _NO_DATE
    if days < 1:
        return Unclear(f"{moment:%H:%M:%S}", DATED)
    if days < 60 and epoch.year == 1899:
        # Excel knows a 29 February 1900, day 60, that never was.
        moment += timedelta(days=1)
    return moment


def _iso_date(text: str) -> Cell:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return text
