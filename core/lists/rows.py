"""Records of a table → rows of a list, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from sys import getsizeof
from typing import NamedTuple
from zoneinfo import ZoneInfo

from core.errors import Code, ItemError
from core.files.csv_file import unmarked_cell
from core.lists.generation import NO_DATE, moment_of
from core.lists.headings import shown
from core.lists.table import DATED, Cell, Columns, Merge, Record, Unclear
from core.model import ListRow, Problem
from core.paths.unc import as_written, exactly, join

_EXCEL_ERRORS = frozenset(
    (
        *("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#GETTING_DATA"),
        *("#SPILL!", "#CALC!", "#FIELD!", "#BLOCKED!", "#CONNECT!", "#BUSY!", "#UNKNOWN!"),
        *("#EXTERNAL!", "#PYTHON!"),
    )
)
_LONGEST_PATH = 32_767
"""Letters of a path on Windows."""
_SHOWN = 1000
"""Letters of a longer one that are kept to be shown."""
_TOO_LONG = f"パスが長すぎます（Windowsで使えるのは{_LONGEST_PATH:,}文字まで）"
_MERGED = "セルが結合されています（{}）。結合を解除し、すべての行に書いてください"


class Entry(NamedTuple):
    """One record that names something: a row, or what is wrong with it."""

    line: int
    text: str
    row: ListRow | None
    problems: tuple[Problem, ...] = ()

    @property
    def memory(self) -> int:
        """Bytes of its texts."""
        if self.row is None:
            return getsizeof(self.text)
        row = self.row
        texts = {id(t): t for t in (row.text, row.path, row.exact, row.key, *row.unmarked)}
        return sum(map(getsizeof, texts.values()))


def entry(
    source: str, record: Record, columns: Columns | None, timezone: ZoneInfo, *, strict: bool
) -> Entry | None:
    """Return what a record names; None when its cells of ours are blank.

    ``strict`` refuses names that Windows does not allow.
    """
    if record.fault:
        text = str(record.cells[0])
        problem = Problem(Code.PATH_SYNTAX, text, source, record.line, record.fault)
        return Entry(record.line, text, None, (problem,))
    if columns:
        directory, name = _pick(record, columns.directory), _pick(record, columns.name)
        if not directory and not name:
            return None
    else:
        directory, name = record.filled[0], ""
    text = as_written(shown(directory), shown(name))
    path, named, faults = "", NO_DATE, []
    try:
        path = join(_text(directory), _text(name), strict=strict)
    except ItemError as exc:
        faults.append(exc)
    if len(text) > _LONGEST_PATH:
        text, faults = text[:_SHOWN], [ItemError(Code.PATH_SYNTAX, _TOO_LONG)]
    try:
        if columns:
            named = moment_of(_pick(record, columns.date), timezone)
    except ItemError as exc:
        faults.append(exc)
    if faults:
        problems = (Problem(f.code, text, source, record.line, f.detail) for f in faults)
        return Entry(record.line, text, None, tuple(problems))
    exact = _exact(record, columns) if record.raw else path
    # Most texts are the path itself: one object then.
    text = path if text == path else text
    exact = exact if exact != path else ""
    where = (source, record.line, text, path, named.at, exact)
    if columns is None or strict:
        return Entry(record.line, text, ListRow(*where))
    unmarked, key = _unmarked(record, columns), _key(record, columns)
    row = ListRow(*where, named.precision, columns.marker, unmarked, key)
    return Entry(record.line, text, row)


def without_merged(
    source: str, entries: Iterable[Entry], merges: Iterable[Merge], used: Collection[int]
) -> Iterator[Entry]:
    """Yield entries in their order; one with a cell that is covered by a merge is refused:
    what its sender sees there stands in another cell."""
    waiting = sorted(merges, reverse=True)
    reaching: dict[int, Merge] = {}
    """By column, the merge that reaches furthest down."""
    for found in entries:
        while waiting and waiting[-1].top <= found.line:
            merge = waiting.pop()
            for column in used:
                known = reaching.get(column)
                inside = merge.left <= column <= merge.right
                if inside and (known is None or known.bottom < merge.bottom):
                    reaching[column] = merge
        covers = [
            merge
            for column, merge in reaching.items()
            if found.line <= merge.bottom and (found.line, column) != (merge.top, merge.left)
        ]
        if not covers:
            yield found
            continue
        detail = _MERGED.format(_where(covers[0]))
        problem = Problem(Code.PATH_SYNTAX, found.text, source, found.line, detail)
        yield Entry(found.line, found.text, None, (problem,))


def _where(merge: Merge) -> str:
    return f"{_letters(merge.left)}{merge.top}:{_letters(merge.right)}{merge.bottom}"


def _letters(column: int) -> str:
    head, last = divmod(column, 26)
    return (_letters(head - 1) if head else "") + chr(ord("A") + last)


def _pick(record: Record, column: int | None) -> Cell:
    return "" if column is None or column >= len(record.cells) else record.cells[column]


def _exact(record: Record, columns: Columns | None) -> str:
    """Return the path of a record with the spaces as written."""
    if columns is None:
        raw = next(raw for raw, cell in zip(record.raw, record.cells, strict=True) if cell)
        return exactly(shown(raw), "")
    directory, name = _pick_texts(record._replace(cells=record.raw), columns)
    return exactly(directory, name)


def _unmarked(record: Record, columns: Columns) -> tuple[str, ...]:
    """Return the path without the apostrophe of our CSV, with and without its spaces."""
    if not shown(_pick(record, columns.name)).startswith("'"):
        return ()
    found = []
    for cells in (record.raw or record.cells, record.cells):
        directory, name = _pick_texts(record._replace(cells=cells), columns)
        if (bare := unmarked_cell(name)) != name:
            found.append(exactly(directory, bare))
    return tuple(dict.fromkeys(found))


def _key(record: Record, columns: Columns) -> str:
    """Return the S3 key as it stands in the file; a name may end in a space."""
    if columns.key is None:
        return ""
    cells = record.raw or record.cells
    return unmarked_cell(shown(cells[columns.key])) if columns.key < len(cells) else ""


def _pick_texts(record: Record, columns: Columns) -> tuple[str, str]:
    return shown(_pick(record, columns.directory)), shown(_pick(record, columns.name))


def _text(cell: Cell) -> str:
    """Return a cell of a path; raises ``ItemError`` for what Excel has made something else."""
    if isinstance(cell, datetime):
        raise ItemError(Code.PATH_SYNTAX, DATED)
    if isinstance(cell, Unclear):
        raise ItemError(Code.PATH_SYNTAX, cell.why)
    if cell in _EXCEL_ERRORS:
        raise ItemError(Code.PATH_SYNTAX, f"セルの数式がエラーです（{cell}）")
    return cell
