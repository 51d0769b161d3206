"""Delimited text: lines → records. No line is lost to a quote that is never closed."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from core.lists.lines import LONGEST_LINE, Lines
from core.lists.table import Record, tidied
from core.paths.unc import EDGE, is_path_like, tidy

_MAX_LINES = 1000
"""Lines of one record; Excel's cells have 254 at most."""
_MAX_LETTERS = 2 * LONGEST_LINE
_MAX_IN_VAIN = 200_000
"""Lines that are looked at for the end of a quote that is never closed; after so many, every
record is one line. Forged lists would take hours otherwise."""
_SHOWN = 1000
"""Letters of a faulty line that are kept."""
_UNCLOSED = '引用符（"）の対応が取れていません。この行だけを除いて、次の行から読み取りました'
_TOO_WIDE = '見出しより列が多い行です。「,」を含むパスや名前は、前後を「"」で囲んでください'
TOO_LONG = "行が長すぎます。1行に1つのパスを書いてください"


class Splitter:
    """Records of the lines that come next, by one delimiter."""

    def __init__(self, lines: Lines, delimiter: str, directory: int | None = None) -> None:
        """``directory``: the column in which paths stand, where that is known."""
        self._lines = lines
        self._delimiter = delimiter
        self._directory = directory
        self._empty = delimiter + EDGE
        self._in_vain = 0

    def next(self) -> tuple[Record, int] | None:
        """Return the next record, blank or not, and its lines, without going on; None after
        the last."""
        line, number = self._lines.ahead(), self._lines.number
        if line is None:
            return None
        if len(line) > LONGEST_LINE:
            return faulty(number, line, TOO_LONG), 1
        if '"' not in line:
            return tidied(number, line.split(self._delimiter)), 1
        # strict: otherwise a quote that is never closed swallows the lines after it in silence.
        reader = csv.reader(
            self._ahead(), delimiter=self._delimiter, strict=True, skipinitialspace=True
        )
        try:
            cells = next(reader)
            if reader.line_num == 1:
                cells = self._with_spaces(cells, line)
            record = tidied(number, cells)
        except csv.Error:
            record = None
        count = reader.line_num
        if record is not None and not any(map(self._is_row, range(1, count))):
            return record, count
        self._in_vain += count - 1
        return faulty(number, line, _UNCLOSED), 1

    def _with_spaces(self, cells: list[str], line: str) -> list[str]:
        """Return the cells of a line with the spaces they begin with: a name may really do so.

        Where a space stands before a quote it is none of the cell's, and is passed over.
        """
        if f"{self._delimiter} " not in line and line[:1] != " ":
            return cells
        try:
            (spaced,) = csv.reader([line], delimiter=self._delimiter, strict=True)
        except (csv.Error, ValueError):
            return cells
        same = [cell.lstrip(" ") for cell in spaced] == [cell.lstrip(" ") for cell in cells]
        return spaced if same else cells

    def _is_blank(self, line: str) -> bool:
        """Return whether a line surely has no cells; most of those without any are found."""
        if '"' in line and '"""' not in line:
            line = line.replace('""', "")
        return not line.strip(self._empty)

    def _is_row(self, distance: int) -> bool:
        """Return whether a line inside a quoted cell looks like a row of its own: then the
        quote belongs to another one."""
        if self._directory is None:
            return False
        quoted = (self._lines.ahead(distance) or "").partition('"')[0]
        cells = quoted.split(self._delimiter)
        return len(cells) > self._directory and is_path_like(tidy(cells[self._directory]))

    def records(self, width: int | None) -> Iterator[Record]:
        """Yield every record that holds something; more filled cells than ``width`` are a
        fault.

        A comma that nobody quoted would cut a path short, and the rest might exist as well.
        """
        while True:
            self._lines.skip(self._is_blank)
            found = self.next()
            if found is None:
                return
            record, count = found
            self._lines.take(count)
            if width and not record.fault and any(record.cells[width:]):
                yield faulty(record.line, self._delimiter.join(map(str, record.cells)), _TOO_WIDE)
            elif record.fault or any(record.cells):
                yield record

    def _ahead(self) -> Iterator[str]:
        letters = 0
        most = _MAX_LINES if self._in_vain < _MAX_IN_VAIN else 1
        for distance in range(most):
            line = self._lines.ahead(distance)
            letters += len(line or "")
            if line is None or letters > _MAX_LETTERS:
                return
            yield f"{line}\n"


def faulty(number: int, line: str, fault: str) -> Record:
    """Return a line that cannot be told apart into cells."""
    return Record(number, (line.strip()[:_SHOWN],), fault)
