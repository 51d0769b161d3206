"""What the address of ``/`` asks for. People type addresses: nothing in it is believed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from zoneinfo import ZoneInfo

import streamlit as st

from core.model import Order, SearchQuery
from core.search.typed_query import TypedQuery
from pages.widgets import view
from pages.widgets.address import MAX_LETTERS, ask, word

FOLDERS = "folders"
"""The view that walks the directory tree."""
LAST_MONTH = "last-month"
COLUMNS = {
    "date": "アーカイブ日時",
    "directory": "ディレクトリパス",
    "name": "ファイル名",
    "size": "サイズ",
    "request": "依頼ID",
    "requester": "依頼者",
    "comment": "コメント",
    "modified": "更新日時",
    "bucket": "S3バケット名",
    "key": "S3キー",
    "sha256": "SHA256",
}
"""Their names in the address, and on the screen, in the order of the table."""
SORTS = {
    (Order.DATE, True): "新しい順",
    (Order.DATE, False): "古い順",
    (Order.PATH, False): "パス順",
    (Order.PATH, True): "パスの逆順",
    (Order.NAME, False): "ファイル名順",
    (Order.NAME, True): "ファイル名の逆順",
    (Order.SIZE, True): "大きい順",
    (Order.SIZE, False): "小さい順",
}
"""Orders on the screen, and whether they are descending."""
USUAL_COLUMNS = ("date", "directory", "name", "size", "request", "requester", "comment")
_OF_A_FILTER = {
    "directory": ("directory", "only"),
    "request_id": ("request",),
    "requester": ("requester",),
    "dates": ("from", "to", "period"),
    "file_types": ("type",),
    "sizes": ("min", "max"),
}
"""Which parameters each filter has."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The list that is asked for."""

    typed: TypedQuery = TypedQuery()
    page: int = 1
    columns: tuple[str, ...] = USUAL_COLUMNS
    """Of ``COLUMNS``, those that are shown."""
    exact: bool = False
    """Sizes in bytes, times with seconds."""
    view: str = ""
    """``FOLDERS``, or empty: the list."""
    folder: str = ""
    """Where in the tree."""

    def query(self, timezone: ZoneInfo, today: date) -> SearchQuery:
        """Return the search; ``ListError`` as with ``TypedQuery.query``."""
        return self.typed.query(timezone, today)

    @property
    def filtered(self) -> bool:
        """Whether anything but words restricts the list."""
        return replace(self.typed, words="") != _in_order(self.typed)

    @property
    def restricted(self) -> bool:
        return self.typed != _in_order(self.typed)


def _in_order(typed: TypedQuery) -> TypedQuery:
    return TypedQuery(order=typed.order, descending=typed.descending)


def current() -> Asked:
    """Return what the address asks for.

    Whatever has a fixed set of values and none of them restricts nothing; days and sizes stay
    as they are written, so that the search can say what is wrong with them.
    """
    order = word("sort")
    columns = word("columns").split(",")
    return Asked(
        TypedQuery(
            words=word("q"),
            directory=word("directory"),
            directory_only=bool(word("directory")) and word("only") == "1",
            request_id=word("request"),
            requester=word("requester"),
            first=word("from"),
            last=word("to"),
            last_month=word("period") == LAST_MONTH,
            file_types=word("type"),
            least_size=word("min"),
            most_size=word("max"),
            order=Order(order) if order in list(Order) else Order.DATE,
            descending=word("ascending") != "1",
        ),
        page=view.page_number(word("page"), digits=7),
        columns=tuple(name for name in COLUMNS if name in columns) or USUAL_COLUMNS,
        exact=word("exact") == "1",
        view=FOLDERS if word("view") == FOLDERS else "",
        # As it is: a name on the server may end with a space.
        folder=st.query_params.get("folder", "")[:MAX_LETTERS],
    )


def directory(path: str) -> str:
    """Return a path as it is read again: a backslash keeps a space at the end, which may belong
    to a name."""
    return path if path == path.rstrip() else f"{path}\\"


def search(typed: TypedQuery) -> None:
    """Ask for this search, whatever was asked before."""
    ask(
        q=typed.words,
        directory=typed.directory,
        only="1" if typed.directory_only else "",
        request=typed.request_id,
        requester=typed.requester,
        to=typed.last,
        period=LAST_MONTH if typed.last_month else "",
        type=typed.file_types,
        min=typed.least_size,
        max=typed.most_size,
        **{"from": typed.first},
    )


def sort(order: Order, *, descending: bool) -> None:
    """Ask for another order."""
    ask(sort="" if order is Order.DATE else order.value, ascending="" if descending else "1")


def clear() -> None:
    """Take all filters away; the words stay."""
    ask(**dict.fromkeys((name for names in _OF_A_FILTER.values() for name in names), ""))
