"""``search``: one page of the archive list as a table, or every hit into a file."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from core import terminal
from core.csvfile import create_csv, safe_cell, write_rows
from core.errors import Code, FatalError, ListError, os_reason
from core.model import Entry, Order, SearchQuery
from core.ports import Catalogue
from core.settings import Settings
from core.typed_query import TypedQuery
from core.units import human_size

_PAGE = 50
_EXPORT_PAGE = 5000
_SHEET_ROWS = 1_048_576
"""Rows of an Excel sheet, the header included."""
_ESCAPE_LIKE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
"""What Excel, and Himuro's own reader, would take as another letter in a cell."""
_COLUMNS = (
    "アーカイブ日時",
    "ディレクトリパス",
    "アーカイブファイル名",
    "S3バケット名",
    "S3キー",
    "依頼ID",
    "依頼者",
    "コメント",
    "ファイルサイズ",
    "SHA256",
    "更新日時",
)


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", metavar="WORD", nargs="*", help="すべてを含むもの")
    parser.add_argument("--directory", default="", metavar="D", help="このフォルダーとその下")
    parser.add_argument("--request-id", default="", metavar="ID", help="依頼ID")
    parser.add_argument("--requester", default="", metavar="NAME", help="依頼者")
    parser.add_argument("--from", dest="since", default="", metavar="DATE", help="この日から")
    parser.add_argument("--to", dest="until", default="", metavar="DATE", help="この日まで")
    parser.add_argument("--directory-only", action="store_true", help="--directory の直下だけ")
    parser.add_argument("--type", default="", metavar="EXT", help="拡張子（例: xlsx,pdf）")
    parser.add_argument("--min-size", default="", metavar="SIZE", help="この大きさ以上（例: 10MB）")
    parser.add_argument("--max-size", default="", metavar="SIZE", help="この大きさ以下")
    parser.add_argument("--sort", choices=list(Order), default=Order.DATE, help="並べる項目")
    parser.add_argument("--ascending", action="store_true", help="古い順、小さい順")
    parser.add_argument("--page", type=int, default=1, metavar="N", help="ページ（既定は1）")
    parser.add_argument("--out", type=Path, metavar="FILE", help="全件を .csv か .xlsx に書く")


def search(options: argparse.Namespace, settings: Settings, catalogue: Catalogue) -> int:
    """Search and print; exit code 0 also when nothing is found."""
    query = TypedQuery(
        words=" ".join(options.words),
        directory=options.directory,
        directory_only=options.directory_only,
        request_id=options.request_id,
        requester=options.requester,
        first=options.since,
        last=options.until,
        file_types=options.type,
        least_size=options.min_size,
        most_size=options.max_size,
        order=Order(options.sort),
        descending=not options.ascending,
    ).query(settings.timezone, datetime.now(settings.timezone).date())
    if options.out:
        written = _export(options.out, query, settings.timezone, catalogue)
        terminal.say(f"{written:,}件を書き出しました: {options.out}")
        if options.json:
            terminal.show_json({"total": written, "file": str(options.out)})
        else:
            terminal.put(str(options.out))
        return 0
    if options.page < 1:
        raise ListError("--page は1以上で指定してください。")
    found = catalogue.search(query, page=options.page, per_page=_PAGE)
    if options.json:
        rows = [
            dict(zip(_COLUMNS, _cells(e, settings.timezone), strict=True)) for e in found.entries
        ]
        terminal.show_json(
            {"total": found.total, "over": found.over, "page": options.page, "rows": rows}
        )
        return 0
    if found.unsorted:
        terminal.say("件数が多いため並べ替えられません。新しい順に表示します。絞り込んでください。")
    terminal.show_table(
        ("アーカイブ日時", "ディレクトリパス", "ファイル名", "サイズ", "依頼ID", "依頼者"),
        [
            (
                f"{e.archived_at.astimezone(settings.timezone):%Y/%m/%d %H:%M}",
                e.directory,
                e.name,
                human_size(e.size),
                e.request_id,
                e.requester,
            )
            for e in found.entries
        ],
    )
    pages = -(-found.total // _PAGE)
    more = "以上" if found.over else ""
    terminal.say(f"{found.total:,}件{more}（{options.page:,} / {max(1, pages):,}ページ{more}）")
    return 0


def _cells(entry: Entry, timezone: ZoneInfo) -> tuple[str | int, ...]:
    return (
        f"{entry.archived_at.astimezone(timezone):%Y-%m-%d %H:%M:%S}",
        entry.directory,
        entry.archived_name,
        entry.bucket,
        entry.key,
        entry.request_id,
        entry.requester,
        entry.comment,
        entry.size,
        entry.sha256,
        f"{entry.modified_at.astimezone(timezone):%Y-%m-%d %H:%M:%S}",
    )


def _hits(
    query: SearchQuery, timezone: ZoneInfo, catalogue: Catalogue
) -> Iterator[tuple[str | int, ...]]:
    """Yield every hit once, newest first, whatever the order of the query.

    Rows that a run adds meanwhile stand before those already read and push some of these
    onto the next page, where they are passed over. A bound in time alone would not do: rows
    are committed a moment after the time they carry. Nothing is missed, as no row ever goes.
    """
    query = replace(query, order=Order.DATE, descending=True)
    page = 1
    last: tuple[datetime, int] | None = None
    while entries := catalogue.search(query, page=page, per_page=_EXPORT_PAGE).entries:
        for entry in entries:
            place = (entry.archived_at, entry.id)
            if last is None or place < last:
                last = place
                yield _cells(entry, timezone)
        page += 1


def _export(path: Path, query: SearchQuery, timezone: ZoneInfo, catalogue: Catalogue) -> int:
    """Write every hit to ``path`` and return how many; a file that is there is replaced."""
    hits = _hits(query, timezone, catalogue)
    writers = {".csv": _write_csv, ".xlsx": _write_xlsx}
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise ListError(f"--out は .csv か .xlsx のファイルにしてください（現在: {path}）。")
    draft = path.with_name(path.name + ".tmp")
    try:
        written = writer(draft, hits)
        draft.replace(path)
    except OSError as exc:
        raise FatalError(Code.DATA_DIR_UNWRITABLE, f"{path}: {os_reason(exc)}") from exc
    finally:
        draft.unlink(missing_ok=True)
    return written


def _write_csv(path: Path, hits: Iterator[tuple[str | int, ...]]) -> int:
    written = 0

    def counted() -> Iterator[tuple[str | int, ...]]:
        nonlocal written
        for row in hits:
            written += 1
            yield row

    with create_csv(path) as file:
        write_rows(file, [_COLUMNS])
        write_rows(file, counted())
    return written


def _write_xlsx(path: Path, hits: Iterator[tuple[str | int, ...]]) -> int:
    from openpyxl import Workbook  # noqa: PLC0415 - only this output needs it
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE  # noqa: PLC0415

    workbook = Workbook(write_only=True)
    sheet, written = None, 0
    for row in hits:
        if sheet is None or written % (_SHEET_ROWS - 1) == 0:
            sheet = workbook.create_sheet()
            sheet.append(_COLUMNS)
        cells = (
            v
            if isinstance(v, int)
            else _ESCAPE_LIKE.sub("_x005F_", ILLEGAL_CHARACTERS_RE.sub("", safe_cell(v)))
            for v in row
        )
        sheet.append(list(cells))
        written += 1
    if sheet is None:
        workbook.create_sheet().append(_COLUMNS)
    workbook.save(path)
    return written
