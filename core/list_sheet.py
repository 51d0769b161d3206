"""Excel workbooks: bytes → records. ``openpyxl`` is imported only when one comes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from datetime import date, datetime
from io import BytesIO
from itertools import chain
from typing import Any
from zipfile import BadZipFile, ZipFile

from core.errors import Code
from core.list_table import Cell, IsHeader, ListUnreadable, Record, Table, filled, tidied

ZIP_MAGIC = b"PK"
OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""Old binary workbooks, and today's ones when they have a password ([MS-CFB] 2.2)."""

_MAX_UNPACKED = 200 * 1024 * 1024
"""Bytes; 200,000 rows of two long paths need about half of that."""
_MAX_SHEET_ROWS = 1_048_576
"""Excel's own limit; a forged row number would otherwise count up for ever."""
_MAX_COLUMNS = 64
_UNCALCULATED = re.compile(
    rb"""<(?:\w+:)?c\b(?![^>]*\bt="str")[^>]*>\s*
    <(?:\w+:)?f\b(?:[^>]*/>|[^>]*>[^<]*</(?:\w+:)?f>)\s*
    (?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v></(?:\w+:)?v>)?\s*</(?:\w+:)?c>""",
    re.VERBOSE,
)
"""A cell with a formula that no spreadsheet program has calculated: it has no value. The
calculated result may be empty too, but then the cell says that it is text (``t="str"``)."""


def refuse_old_workbook(content: bytes) -> None:
    """Raise ``ListUnreadable`` for an ``.xls`` file or a workbook with a password."""
    if not content.startswith(OLE_MAGIC):
        return
    if "EncryptedPackage".encode("utf-16-le") in content:
        raise ListUnreadable(
            Code.LIST_FORMAT, "パスワード付きのブックです。パスワードを外して保存し直してください"
        )
    raise ListUnreadable(
        Code.LIST_FORMAT,
        "古い形式（.xls）のブックです。"
        "Excelで「名前を付けて保存」→「Excelブック（.xlsx）」を選んで保存し直してください",
    )


def read_sheet(content: bytes, is_header: IsHeader, limit: int) -> Table:
    """Return the records of the first visible sheet that has the headings.

    When none has them: of the first visible sheet that holds anything. Hidden rows and
    columns count like any other. Raises ``ListUnreadable``: ``LIST_FORMAT`` or
    ``LIST_TOO_LARGE``.
    """
    try:
        _refuse_dangerous(content)
        return _read(content, is_header, limit)
    except ListUnreadable:
        raise
    except Exception as exc:  # noqa: BLE001 - openpyxl promises no set of errors for broken files
        raise ListUnreadable(
            Code.LIST_FORMAT, "Excelのブックとして読み取れません。ファイルが壊れています"
        ) from exc


def _refuse_dangerous(content: bytes) -> None:
    """Raise for what would not fit into memory, and for formulas without a value.

    zipfile never unpacks more than the sizes it is told, so their sum can be relied on.
    """
    try:
        archive = ZipFile(BytesIO(content))
    except BadZipFile as exc:
        raise ListUnreadable(Code.LIST_FORMAT, "ファイルが壊れています") from exc
    with archive:
        if sum(part.file_size for part in archive.infolist()) > _MAX_UNPACKED:
            raise ListUnreadable(Code.LIST_TOO_LARGE, "展開すると200 MiBを超えるブックです")
        for name in archive.namelist():
            if not name.endswith((".xml", ".rels")):
                continue
            part = archive.read(name)
            if b"<!DOCTYPE" in part or b"<!ENTITY" in part:
                raise ListUnreadable(Code.LIST_FORMAT, "Excelのブックにないはずの定義があります")
            # Read as empty, the name's formula would turn one file into its whole folder.
            if name.startswith("xl/worksheets/") and _UNCALCULATED.search(part):
                raise ListUnreadable(
                    Code.LIST_FORMAT,
                    "計算されていない数式があります。Excelで開いて保存し直してください",
                )


def _read(content: bytes, is_header: IsHeader, limit: int) -> Table:
    import openpyxl  # here, because it costs a quarter of a second, and most lists are text

    # Excel's extensions (drop-down lists, colours) are of no interest here.
    warnings.filterwarnings("ignore", module=r"openpyxl\.")
    book = openpyxl.load_workbook(BytesIO(content), read_only=True, data_only=True)
    try:
        sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        heads = [(sheet, _first(sheet)) for sheet in sheets]
        fitting = [sheet for sheet, first in heads if first and is_header(first.cells)]
        chosen = next(chain(fitting, (sheet for sheet, first in heads if first)), None)
        if chosen is None:
            return Table("Excel", None, [])
        records = filled(_records(chosen), limit)
        header = records.pop(0) if fitting else None
        others = tuple(str(sheet.title) for sheet in fitting if sheet is not chosen)
        return Table("Excel", header, records, others, str(chosen.title))
    finally:
        book.close()


def _first(sheet: Any) -> Record | None:
    return next((r for r in _records(sheet) if any(r.cells)), None)


def _records(sheet: Any) -> Iterator[Record]:
    # The size that a workbook claims for a sheet is often wrong.
    sheet.reset_dimensions()
    rows = sheet.iter_rows(max_row=_MAX_SHEET_ROWS, max_col=_MAX_COLUMNS, values_only=True)
    for line, values in enumerate(rows, 1):
        if values.count(None) < len(values):
            yield tidied(line, map(_cell, _narrow(values)))


def _narrow(values: tuple[object, ...]) -> tuple[object, ...]:
    """Return a row without most of the empty cells at its end: they took most of the time."""
    width = len(values)
    while width > 1 and values[width // 2 : width].count(None) == width - width // 2:
        width //= 2
    return values[:width]


def _cell(value: object) -> Cell:
    """Return what Excel shows, except for dates: they are left for the column to judge."""
    if value is None:
        return ""
    if isinstance(value, str | datetime):
        return value
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - Excel has no zones
    return str(value)
