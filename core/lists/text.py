"""CSV, TSV and plain text: bytes → records, whatever Excel or an editor made of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from core.lists.delimited import TOO_LONG, Splitter, faulty
from core.lists.lines import LONGEST_LINE, Lines, encoding
from core.lists.table import Columns, Effort, PickColumns, Reading, Record, Table, tidied
from core.paths.unc import EDGE

_DELIMITERS = ",\t;"
_BLANK = EDGE + _DELIMITERS
_SEP = re.compile('"?sep=([^"])"?', re.IGNORECASE)
"""The first line by which a sender tells Excel the delimiter; Excel does not show it."""
_EMPTY_CELLS = "," + EDGE
"""What empty cells at the end of a line leave behind."""


def read_text(content: bytes, pick: PickColumns, _effort: Effort) -> Reading:
    """Return the one table of a text list.

    Raises ``ListUnreadable``, while reading too: ``LIST_ENCODING`` or ``LIST_TOO_LARGE``.
    """
    found = encoding(content)
    lines = Lines(content, found)
    said = _said_delimiter(lines)
    lines.skip(_is_blank)
    head = _head(lines, said or _DELIMITERS, pick)
    table = Table(found.label, head.columns if head else None, iter(()))
    if said:
        table.notes.append(f"1行目の「sep=」に従い、「{said}」で区切って読み取りました")
    if head and head.delimiter:
        splitter = Splitter(lines, head.delimiter, head.columns.directory)
        table.records = splitter.records(head.width)
    elif said and not head:
        table.records = Splitter(lines, said).records(None)
    else:
        # A single heading, or one path a line: a path may hold commas, and nothing on a
        # Windows server holds a tab.
        table.records = _whole(lines, table)
    return Reading([table])


def _is_blank(line: str) -> bool:
    return not line.strip(_BLANK)


def _said_delimiter(lines: Lines) -> str:
    match = _SEP.fullmatch(lines.ahead() or "")
    if match is None:
        return ""
    lines.take()
    return match[1]


class _Head:
    """The line of headings."""

    def __init__(self, columns: Columns, delimiter: str, width: int) -> None:
        self.columns = columns
        self.delimiter = delimiter
        """Empty when there is a single heading."""
        self.width = width


def _head(lines: Lines, delimiters: Iterable[str], pick: PickColumns) -> _Head | None:
    """Go on behind the headings and return them; None when the next line has none."""
    single: tuple[_Head, int] | None = None
    for delimiter in delimiters:
        found = Splitter(lines, delimiter).next()
        if found is None:
            return None
        record, count = found
        columns = None if record.fault else pick(record)
        if columns is None:
            continue
        if len(record.cells) > 1:
            lines.take(count)
            return _Head(columns, delimiter, len(record.cells))
        single = _Head(columns, "", 1), count
    if single is None:
        return None
    lines.take(single[1])
    return single[0]


def _whole(lines: Lines, table: Table) -> Iterator[Record]:
    """Yield lines that are not delimited; fills in the notes at the end."""
    shortened = first = 0
    while True:
        lines.skip(_is_blank)
        line, number = lines.ahead(), lines.number
        if line is None:
            break
        lines.take()
        if len(line) > LONGEST_LINE:
            yield faulty(number, line, TOO_LONG)
            continue
        record = tidied(number, line.split("\t") if table.columns is None else (line,))
        if len(record.filled) == 1 and line.rstrip(EDGE).endswith(","):
            record = _without_empty_cells(record)
            shortened += 1
            first = first or number
        if any(record.cells):
            yield record
    if shortened:
        table.notes.append(
            f"行末の「,」を除いた名前として読み取りました（{shortened:,}行、最初は{first}行目）。"
            "「,」で終わる名前のファイルがあるときは、そのファイルを指します"
        )


def _without_empty_cells(record: Record) -> Record:
    """Return a record whose one path ends before the commas that Excel put there; the name
    with them is kept beside, because it may be a real one."""
    shorter = tidied(
        record.line, (c.rstrip(_EMPTY_CELLS) if isinstance(c, str) else c for c in record.cells)
    )
    if shorter.raw:  # it stood in quotes
        return shorter
    return shorter._replace(raw=record.raw or record.cells)
