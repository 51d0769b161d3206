"""Excel workbooks: bytes → the tables of the sheets that have the headings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import NamedTuple
from zipfile import ZipFile

from core.errors import Code
from core.lists.cells import SheetReader
from core.lists.file_kinds import OLE_MAGIC as OLE_MAGIC
from core.lists.file_kinds import refuse_other_zip
from core.lists.table import (
    Columns,
    Effort,
    ListUnreadable,
    PickColumns,
    Reading,
    Record,
    Table,
    tidied,
)
from core.lists.workbook import Sheet, Workbook

_MAX_UNPACKED = 200 * 1024 * 1024
"""Bytes; 200,000 rows of two long paths need about half of that."""
_MAX_PARTS = 10_000
"""Of the package. A page of its directory holds 20 of them, each of which takes a kilobyte."""
_PART = b"PK\x01\x02"


class _Head(NamedTuple):
    """The first row of a sheet that holds something."""

    sheet: Sheet
    first: Record
    columns: Columns | None


def read_book(content: bytes, pick: PickColumns, effort: Effort) -> Reading:
    """Return the tables of all visible sheets that have the headings.

    When none has them: of the first visible sheet that holds anything. The others that hold
    something are named. Raises ``ListUnreadable``, while reading too: ``LIST_FORMAT`` or
    ``LIST_TOO_LARGE``.
    """
    with _explained():
        book = _opened(content, effort)
        heads = [head for sheet in book.sheets if (head := _head(book, sheet, pick))]
    visible = [head for head in heads if head.sheet.visible]
    chosen = [head for head in visible if head.columns] or visible[:1]
    unread = tuple(head.sheet.title for head in visible if head not in chosen)
    hidden = tuple(head.sheet.title for head in heads if not head.sheet.visible)
    if not chosen:
        return Reading([Table("Excel", None, iter(()))], unread, hidden)
    named = len(chosen) > 1
    return Reading((_table(book, head, named=named) for head in chosen), unread, hidden)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ListUnreadable:
        raise
    except Exception as exc:  # noqa: BLE001 - zipfile promises no set of errors for broken files
        raise ListUnreadable(
            Code.LIST_FORMAT, "Excelのブックとして読み取れません。ファイルが壊れています"
        ) from exc


def _opened(content: bytes, effort: Effort) -> Workbook:
    if content.count(_PART) > _MAX_PARTS:
        raise ListUnreadable(Code.LIST_TOO_LARGE, f"{_MAX_PARTS:,}個を超える部品からなるブックです")
    archive = ZipFile(BytesIO(content))
    refuse_other_zip(archive)
    # zipfile never unpacks more than the sizes it is told, so their sum can be relied on.
    if sum(part.file_size for part in archive.infolist()) > _MAX_UNPACKED:
        raise ListUnreadable(Code.LIST_TOO_LARGE, "展開すると200 MiBを超えるブックです")
    return Workbook(archive, len(content), effort)


def _head(book: Workbook, sheet: Sheet, pick: PickColumns) -> _Head | None:
    """Return the first row of a sheet that holds something; None when it holds nothing."""
    with book.beginning(sheet) as part:
        rows = SheetReader(book.book).rows(part)
        try:
            records = (tidied(row.line, row.cells) for row in rows)
            first = next((record for record in records if any(record.cells)), None)
        except ListUnreadable as exc:
            if exc.line is None:
                raise
            # A formula that nothing has calculated. Headings have none.
            return _Head(sheet, Record(exc.line, ()), None)
    if first is None:
        return None
    return _Head(sheet, first, pick(first) if sheet.visible else None)


def _table(book: Workbook, head: _Head, *, named: bool) -> Table:
    table = Table("Excel", head.columns, iter(()), head.sheet.title if named else "")
    table.records = _records(book, head, table)
    return table


def _records(book: Workbook, head: _Head, table: Table) -> Iterator[Record]:
    """Yield the records below the headings; fills in the merges at the end."""
    columns, header = head.columns, head.first.line if head.columns else 0
    reader = SheetReader(book.book)
    # The rows down to the headings are not asked for again.
    reader.only(columns.read if columns else range(64), header)
    with _explained(), book.opened(head.sheet) as part, _placed(reader):
        for row in reader.rows(part):
            if row.line <= header:
                _refuse_hidden_columns(reader.hidden_columns, head)
                continue
            record = tidied(row.line, row.cells, hidden=row.hidden)
            if any(record.cells):
                if not columns:
                    _refuse_hidden_path(reader.hidden_columns, record)
                yield record
        table.merges = reader.merges


@contextmanager
def _placed(reader: SheetReader) -> Iterator[None]:
    """Say at which row a sheet became unreadable, where that is not said."""
    try:
        yield
    except ListUnreadable as exc:
        if exc.line is None:
            raise ListUnreadable(exc.code, exc.detail, reader.line or None) from exc
        raise


def _refuse_hidden_columns(hidden: set[int], head: _Head) -> None:
    """Raise when a column that is used cannot be seen: its sender would not know of it."""
    unseen = sorted(head.columns.used & hidden) if head.columns else []
    if unseen:
        titles = "".join(f"「{head.first.cells[column]}」" for column in unseen)
        raise ListUnreadable(
            Code.LIST_FORMAT,
            f"{titles}の列が非表示になっています。表示してから保存し直してください",
            head.first.line,
        )


def _refuse_hidden_path(hidden: set[int], record: Record) -> None:
    if any(cell and column in hidden for column, cell in enumerate(record.cells)):
        raise ListUnreadable(
            Code.LIST_FORMAT,
            "パスの列が非表示になっています。表示してから保存し直してください",
            record.line,
        )
