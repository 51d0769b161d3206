"""Excel workbooks: bytes → records of the sheet that is meant."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import chain
from zipfile import ZipFile

from core.errors import Code
from core.list_table import IsHeader, ListUnreadable, Record, Table, filled, tidied
from core.list_xlsx import Sheet, Workbook

ZIP_MAGIC = b"PK"
OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""Old binary workbooks, and today's ones when they have a password ([MS-CFB] 2.2)."""

_MAX_UNPACKED = 200 * 1024 * 1024
"""Bytes; 200,000 rows of two long paths need about half of that."""


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
        with ZipFile(BytesIO(content)) as archive:
            # zipfile never unpacks more than the sizes it is told, so their sum can be relied on.
            if sum(part.file_size for part in archive.infolist()) > _MAX_UNPACKED:
                raise ListUnreadable(Code.LIST_TOO_LARGE, "展開すると200 MiBを超えるブックです")
            return _read(Workbook(archive), is_header, limit)
    except ListUnreadable:
        raise
    except Exception as exc:  # noqa: BLE001 - zipfile promises no set of errors for broken files
        raise ListUnreadable(
            Code.LIST_FORMAT, "Excelのブックとして読み取れません。ファイルが壊れています"
        ) from exc


def _read(book: Workbook, is_header: IsHeader, limit: int) -> Table:
    heads = [(sheet, _first(book, sheet)) for sheet in book.sheets]
    fitting = [sheet for sheet, first in heads if first and is_header(first.cells)]
    chosen = next(chain(fitting, (sheet for sheet, first in heads if first)), None)
    if chosen is None:
        return Table("Excel", None, [])
    records = filled(_records(book, chosen), limit)
    header = records.pop(0) if fitting else None
    others = tuple(sheet.title for sheet in fitting if sheet is not chosen)
    return Table("Excel", header, records, others, chosen.title)


def _first(book: Workbook, sheet: Sheet) -> Record | None:
    return next((r for r in _records(book, sheet) if any(r.cells)), None)


def _records(book: Workbook, sheet: Sheet) -> Iterator[Record]:
    return (tidied(line, cells) for line, cells in book.rows(sheet))
