"""The line of headings: which column holds what, and lists that have none."""

from __future__ import annotations

from core.errors import Code
from core.lists.table import Cell, Columns, ListUnreadable, Record, Unclear
from core.model import ListKind
from core.paths.normalization import fold, printable
from core.paths.unc import EDGE, is_path_like

_DIRECTORY = "ディレクトリパス"
_DATE = "アーカイブ日時"
_KEY = "S3キー"
_MARKER = "アーカイブファイル名"
_NAMES = {
    ListKind.ARCHIVE: ("ファイル名",),
    # The archive list as downloaded from the search page is a restore list too.
    ListKind.RESTORE: ("復元対象ファイル名", _MARKER, "ファイル名"),
}


def shown(cell: Cell) -> str:
    """Return a cell as text, for people."""
    if isinstance(cell, Unclear):
        return cell.text
    return cell if isinstance(cell, str) else f"{cell:%Y/%m/%d %H:%M:%S}"


def columns_of(kind: ListKind, record: Record) -> Columns | None:
    """Return what the columns of a line of headings are; None: it is none.

    Raises ``ListUnreadable`` for headings of another kind of list.
    """
    headings = [_heading(cell) for cell in record.cells]
    # A line of ours may hold the heading after a comma.
    if fold(_DIRECTORY) not in headings or is_path_like(shown(record.cells[0])):
        return None
    found = {heading: i for i, heading in reversed(list(enumerate(headings)))}
    name = next((found[fold(n)] for n in _NAMES[kind] if fold(n) in found), None)
    if name is None:
        _refuse_strange_name(record)
    if kind is ListKind.ARCHIVE:
        return Columns(found[fold(_DIRECTORY)], name)
    marker = name is not None and name == found.get(fold(_MARKER))
    date, key = found.get(fold(_DATE)), found.get(fold(_KEY))
    return Columns(found[fold(_DIRECTORY)], name, date, key, marker)


def _heading(cell: Cell) -> str:
    """Return a heading without width, letter case, kana and spaces."""
    return "".join(c for c in fold(shown(cell)) if c not in EDGE)


def _refuse_strange_name(header: Record) -> None:
    """Raise when a column looks like the name's: ignoring it would mean whole directories."""
    for cell in header.cells:
        heading = _heading(cell)
        if fold("ファイル名") in heading or "filename" in heading:
            raise ListUnreadable(
                Code.LIST_FORMAT,
                f"見出し「{shown(cell)[:200]}」はこの一覧では使えません。"
                "アーカイブ用と復元用の一覧を取り違えていないかも確認してください",
                header.line,
            )


def require_paths(record: Record, *, first: bool) -> None:
    """Raise ``ListUnreadable`` when a list without headings is not simply one path a line."""
    if first and not any(is_path_like(shown(cell)) for cell in record.cells):
        found = "".join(f"「{shown(c)[:200]}」" for c in record.filled)
        raise ListUnreadable(
            Code.LIST_FORMAT,
            f"「{_DIRECTORY}」という見出しがありません。最初の行: {printable(found)[:200]}",
            record.line,
        )
    if len(record.filled) > 1:
        raise ListUnreadable(
            Code.LIST_FORMAT, "見出しのない一覧では、1行に1つのパスだけを書けます", record.line
        )
