"""``search``: one page of the archive list as a table, or every hit into a file."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from core.cli import output
from core.config.settings import Settings
from core.errors import ListError, os_reason
from core.export import writer
from core.export.csv_writer import COLUMNS, cells
from core.export.writer import Form
from core.model import Order, Progress, SearchQuery
from core.ports import Catalogue
from core.resources.shortage import patiently
from core.search.typed_query import TypedQuery
from core.units import human_size, local

_PAGE = 50


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
        output.say(f"{written.rows:,}件を書き出しました: {options.out}")
        if written.note:
            output.say(written.note)
        if options.json:
            output.show_json({"total": written.rows, "file": str(options.out)})
        else:
            output.put(str(options.out))
        return 0
    if options.page < 1:
        raise ListError("--page は1以上で指定してください。")
    found = catalogue.search(query, page=options.page, per_page=_PAGE)
    if options.json:
        rows = [dict(zip(COLUMNS, cells(e, settings.timezone), strict=True)) for e in found.entries]
        output.show_json(
            {"total": found.total, "over": found.over, "page": options.page, "rows": rows}
        )
        return 0
    if found.unsorted:
        output.say("件数が多いため並べ替えられません。新しい順に表示します。絞り込んでください。")
    output.show_table(
        ("アーカイブ日時", "ディレクトリパス", "ファイル名", "サイズ", "依頼ID", "依頼者"),
        [
            (
                f"{local(e.archived_at, settings.timezone):%Y/%m/%d %H:%M}",
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
    output.say(f"{found.total:,}件{more}（{options.page:,} / {max(1, pages):,}ページ{more}）")
    return 0


def _export(
    path: Path, query: SearchQuery, timezone: ZoneInfo, catalogue: Catalogue
) -> writer.Written:
    """Write every hit to ``path``; a file that is there is replaced once all of them are written.

    So is a link: what it leads to is not touched. Until then the file has a name of its own,
    which nobody else can have laid there, and which archive runs pass over.
    """
    forms = {".csv": Form.CSV, ".xlsx": Form.XLSX}
    form = forms.get(path.suffix.lower())
    if form is None:
        raise ListError(f"--out は .csv か .xlsx のファイルにしてください（現在: {path}）。")
    if not path.is_symlink() and path.exists() and not path.is_file():
        raise ListError(
            f"--out は通常のファイルではありません（{path}）。別の名前を指定してください。"
        )
    draft = path.with_name(f".himuro-{secrets.token_hex(8)}-0.tmp")
    with output.progress_bar() as bar:

        def progress(written: writer.Written) -> None:
            bar(Progress(written.total, done_files=written.rows, phase="書き出しています"))

        bar(Progress(phase="検索しています"))
        try:
            file = patiently(draft.open, "xb")
            with _removed_on_failure(draft):
                with file:
                    hits = catalogue.hits(query)
                    written = writer.write(file, form, hits, timezone, progress)
                draft.replace(path)
        except OSError as exc:
            raise ListError(
                f"--out のファイルを書き込めません（{path}: {os_reason(exc)}）。"
                "保存先のフォルダーがあるか、書き込み権限と空き容量が足りるかを確認してください。"
            ) from exc
    return written


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
