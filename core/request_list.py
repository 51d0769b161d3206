"""Uploaded lists → rows and problems (contract, "Lists").

Nothing here looks at the share or at the archive list. Every fault of every list is found in
one go and returned as a value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from core.errors import Code, ItemError
from core.list_sheet import ZIP_MAGIC, read_sheet, refuse_old_workbook
from core.list_table import (
    MAX_BYTES,
    MAX_ROWS,
    TOO_MANY_ROWS,
    Cell,
    ListUnreadable,
    Record,
    Table,
)
from core.list_text import read_text
from core.model import DetectedList, ListKind, ListRow, ListSource, ParsedList, Problem
from core.names import fold, printable
from core.unc import EDGE, as_written, exactly, is_path_like, join

_DIRECTORY = "ディレクトリパス"
_DATE = "アーカイブ日時"
_NAMES = {
    ListKind.ARCHIVE: ("ファイル名",),
    # The archive list as downloaded from the search page is a restore list too.
    ListKind.RESTORE: ("復元対象ファイル名", "アーカイブファイル名", "ファイル名"),
}
_EXCEL_ERRORS = frozenset(
    (
        *("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#GETTING_DATA"),
        *("#SPILL!", "#CALC!", "#FIELD!", "#BLOCKED!", "#CONNECT!", "#BUSY!", "#UNKNOWN!"),
        *("#EXTERNAL!", "#PYTHON!"),
    )
)
_DATE_FORM = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})[ T]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6})\d*)?)?"
    r" *(Z|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which cell holds what, counted from 0; None: there is no such column."""

    directory: int
    name: int | None = None
    date: int | None = None


class _Collector:
    """Rows, problems and first occurrences over all lists of one request."""

    def __init__(self, kind: ListKind, timezone: ZoneInfo) -> None:
        self.kind = kind
        self.timezone = timezone
        self.rows: list[ListRow] = []
        self.problems: list[Problem] = []
        self.detected: list[DetectedList] = []
        self._entries = 0
        self._first: dict[tuple[str, datetime | None], ListRow] = {}
        """By exact path: whether two spellings mean one file is for the share to say."""

    def add(self, source: ListSource) -> None:
        """Read one list; whatever is wrong with it becomes a problem."""
        try:
            table = self._read(source)
            columns = _columns(table, self.kind)
        except ListUnreadable as exc:
            self._report(source.name, exc.code, exc.detail, exc.line)
            return
        if table.ignored_sheets:
            names = "".join(f"「{name}」" for name in table.ignored_sheets)
            detail = f"{names}。読み取ったのは「{table.sheet}」です"
            self._report(source.name, Code.SHEET_IGNORED, detail)
        entries = 0
        for record in table.records:
            entries += self._add_record(source.name, record, columns)
        form = "columns" if table.header else "paths"
        self.detected.append(DetectedList(source.name, table.encoding, form, entries))
        self._entries += entries
        if not entries:
            self._report(source.name, Code.LIST_EMPTY)

    def _read(self, source: ListSource) -> Table:
        content = source.content
        if len(content) > MAX_BYTES:
            raise ListUnreadable(Code.LIST_TOO_LARGE, "1ファイル20 MiBまで")
        # The content decides, not the suffix: people rename what they do not understand.
        refuse_old_workbook(content)
        read = read_sheet if content.startswith(ZIP_MAGIC) else read_text
        room = MAX_ROWS - self._entries
        table = read(content, partial(_has_heading, _DIRECTORY), room)
        if len(table.records) > room:
            raise ListUnreadable(Code.LIST_TOO_LARGE, TOO_MANY_ROWS)
        return table

    def _report(self, source: str, code: Code, detail: str = "", line: int | None = None) -> None:
        self.problems.append(Problem(code, source, source, line, detail))

    def _add_record(self, source: str, record: Record, columns: _Columns | None) -> bool:
        """Take one record as a row or a problem; False when its cells of ours are blank."""
        if record.fault:
            text = str(record.cells[0])
            detail = record.fault
            self.problems.append(Problem(Code.PATH_SYNTAX, text, source, record.line, detail))
            return True
        if columns:
            directory, name = _pick(record, columns.directory), _pick(record, columns.name)
            if not directory and not name:
                return False
        else:
            directory, name = record.filled[0], ""
        text = as_written(_shown(directory), _shown(name))
        path, date, faults = "", None, []
        try:
            # A path list may be ours: what exists is in it, and not only what Windows allows.
            path = join(_text(directory), _text(name), strict=columns is not None)
        except ItemError as exc:
            faults.append(exc)
        try:
            date = _date(_pick(record, columns.date), self.timezone) if columns else None
        except ItemError as exc:
            faults.append(exc)
        if not faults:
            exact = _exact(record, columns) if record.raw else path
            exact = exact if exact != path else ""
            self._keep(ListRow(source, record.line, text, path, date, exact))
        for fault in faults:
            self.problems.append(Problem(fault.code, text, source, record.line, fault.detail))
        return True

    def _keep(self, row: ListRow) -> None:
        first = self._first.setdefault((row.exact or row.path, row.archived_at), row)
        if first is row:
            self.rows.append(row)
            return
        where = f"{first.line}行目" if first.source == row.source else _place(first)
        detail = f"最初は{where}"
        self.problems.append(Problem(Code.DUPLICATE_ENTRY, row.text, row.source, row.line, detail))


def parse(sources: Sequence[ListSource], kind: ListKind, timezone: ZoneInfo) -> ParsedList:
    """Return the rows of all lists in their order, and everything that is wrong with them.

    Never raises for what a list holds. ``timezone`` is meant where a date names none. Rows
    with an error, and all but the first of the same path, are left out.

    Without headings a list is one path a line and is not split at commas, because a name may
    hold one; a second column in Excel, or after a tab, is refused there instead of guessed.
    """
    collector = _Collector(kind, timezone)
    for source in sources:
        collector.add(source)
    return ParsedList(tuple(collector.rows), tuple(collector.problems), tuple(collector.detected))


def _place(row: ListRow) -> str:
    return f"{row.source} の{row.line}行目"


def _heading(cell: Cell) -> str:
    """Return a heading without width, letter case, kana and spaces."""
    return "".join(c for c in fold(_shown(cell)) if c not in EDGE)


def _has_heading(title: str, cells: Sequence[Cell]) -> bool:
    # A line of ours may hold the heading after a comma.
    return fold(title) in map(_heading, cells) and not is_path_like(_shown(cells[0]))


def _columns(table: Table, kind: ListKind) -> _Columns | None:
    """Return where the columns are; None for a path list. Raises ``ListUnreadable``."""
    if table.header is None:
        _refuse_headless(table.records)
        return None
    headings = [_heading(cell) for cell in table.header.cells]
    found = {heading: i for i, heading in reversed(list(enumerate(headings)))}
    name = next((found[fold(n)] for n in _NAMES[kind] if fold(n) in found), None)
    if name is None:
        _refuse_strange_name(table.header)
    date = found.get(fold(_DATE)) if kind is ListKind.RESTORE else None
    return _Columns(found[fold(_DIRECTORY)], name, date)


def _refuse_strange_name(header: Record) -> None:
    """Raise when a column looks like the name's: ignoring it would mean whole directories."""
    for cell in header.cells:
        heading = _heading(cell)
        if fold("ファイル名") in heading or "filename" in heading:
            raise ListUnreadable(
                Code.LIST_FORMAT,
                f"見出し「{_shown(cell)}」はこの一覧では使えません。"
                "アーカイブ用と復元用の一覧を取り違えていないかも確認してください",
                header.line,
            )


def _refuse_headless(records: Sequence[Record]) -> None:
    """Raise when a list without headings is not simply one path a line."""
    if records and not any(is_path_like(_shown(cell)) for cell in records[0].cells):
        found = "".join(f"「{_shown(c)}」" for c in records[0].filled)
        raise ListUnreadable(
            Code.LIST_FORMAT,
            f"「{_DIRECTORY}」という見出しがありません。最初の行: {printable(found)[:200]}",
            records[0].line,
        )
    for record in records:
        if len(record.filled) > 1:
            raise ListUnreadable(
                Code.LIST_FORMAT, "見出しのない一覧では、1行に1つのパスだけを書けます", record.line
            )


def _pick(record: Record, column: int | None) -> Cell:
    return "" if column is None or column >= len(record.cells) else record.cells[column]


def _exact(record: Record, columns: _Columns | None) -> str:
    """Return the path of a record with the spaces as written."""
    if columns is None:
        raw, name = (
            next(raw for raw, cell in zip(record.raw, record.cells, strict=True) if cell),
            "",
        )
    else:
        written = record._replace(cells=record.raw)
        raw, name = _pick(written, columns.directory), _shown(_pick(written, columns.name))
    return exactly(_shown(raw), name)


def _shown(cell: Cell) -> str:
    return cell if isinstance(cell, str) else f"{cell:%Y/%m/%d %H:%M:%S}"


def _text(cell: Cell) -> str:
    """Return a cell of a path; raises ``ItemError`` for what Excel has made something else."""
    if isinstance(cell, datetime):
        raise ItemError(
            Code.PATH_SYNTAX,
            "Excelが日付に変えています。セルの書式を「文字列」にして書き直してください",
        )
    if cell in _EXCEL_ERRORS:
        raise ItemError(Code.PATH_SYNTAX, f"セルの数式がエラーです（{cell}）")
    return cell


def _date(cell: Cell, timezone: ZoneInfo) -> datetime | None:
    """Return the generation that a cell names, None when it is blank.

    Raises ``ItemError(NAMED_DATE)``.
    """
    try:
        if isinstance(cell, datetime):
            # Excel counts days in floating point: 10:15:00 may come as 10:14:59.999.
            rounded = (cell + timedelta(milliseconds=500)).replace(microsecond=0)
            return rounded.replace(tzinfo=timezone)
        text = unicodedata.normalize("NFKC", cell)
        return _read_date(text, timezone) if text else None
    except (ValueError, OverflowError) as exc:
        raise ItemError(Code.NAMED_DATE, printable(_shown(cell))[:50]) from exc


def _read_date(text: str, timezone: ZoneInfo) -> datetime:
    """Return a date as aware datetime; ``ValueError`` when it is none.

    Excel drops leading zeros, and often the seconds, when it saves a date into a CSV.
    """
    match = _DATE_FORM.fullmatch(text)
    if match is None:
        raise ValueError(text)
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    micro = int((fraction or "").ljust(6, "0"))
    naive = datetime(  # noqa: DTZ001 - the zone follows in the next lines
        int(year), int(month), int(day), int(hour), int(minute), int(second or 0), micro
    )
    if not offset:
        return naive.replace(tzinfo=timezone)
    return datetime.fromisoformat(naive.isoformat() + ("+00:00" if offset == "Z" else offset))
