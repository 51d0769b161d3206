"""The archive list as a tree: what each folder holds, and the way from there to its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import streamlit as st

from core.model import Order, SearchQuery
from core.paths.normalization import identity, typed
from core.search.folder_tree import Folder, Folders, natural
from pages import services
from pages.search import asked, counted
from pages.widgets import address, view, words
from pages.widgets.literally import literally

PER_PAGE = 500
_HEADER = ("フォルダー", "ファイル数", "容量", "直下のファイル数")
_WIDTHS = {"フォルダー": 640, "ファイル数": 150, "容量": 150}
_FORMATS = {"ファイル数": words.count, "容量": words.size, "直下のファイル数": words.count}
_FILE_HEADER = ("ファイル名", "サイズ", "アーカイブ日時", "依頼者")
_FILE_WIDTHS = {"ファイル名": 640, "サイズ": 150, "アーカイブ日時": 150}
_FILES = 100
_ORDERS: dict[str, tuple[str, Callable[[Folder], Any]]] = {
    "": ("名前順", lambda folder: natural(folder.name)),
    "size": ("容量の大きい順", lambda folder: (-folder.size, natural(folder.name))),
    "files": ("ファイルの多い順", lambda folder: (-folder.files, natural(folder.name))),
}
"""By the word in the address."""
_OF_THE_LOOK = ("columns", "exact")
"""Parameters that say how the list looks; they stay when it is asked for something else."""
_TOP = "すべてのサーバー"
_FIRST, _LAST = 3, 5
"""Folders of a very long way that are shown."""
_MAX_LETTERS = 60
"""Of a name on the way."""


def render(here: services.Services, folder: str) -> None:
    """Show one folder; ``folder`` is its path as it came with the address."""
    numbers = counted.current(here)
    tree = numbers.folders if numbers else Folders()
    way = tree.way(folder)
    _way(way)
    if numbers is None:
        return
    as_of = f"{words.moment(numbers.as_of, here.settings.timezone)} 時点"
    if not way:
        _unknown(folder, as_of)
        return
    found = way[-1]
    if not found.files:
        view.notice("info", "アーカイブされたファイルはまだありません。")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(f"{words.count(found.files)}、{words.size(found.size)}")
        st.caption(as_of)
        _to_the_list(found)
    _searched_with(tree, found)
    _below(tree, found)
    if found.own_files:
        _inside(here, found)


def _go(path: str = "") -> None:
    """Show a folder; empty: the servers."""
    address.put(view=asked.FOLDERS, folder=asked.directory(path), folder_page="")


def _list(path: str, *, only: bool = False) -> None:
    """Show the list of all files in a folder, ``only`` directly in it or below as well."""
    nothing = {name: "" for name in st.query_params if name not in _OF_THE_LOOK}
    where = {"directory": asked.directory(path), "only": "1" if only else ""}
    address.put(**{**nothing, **where})


def _order() -> str:
    """Return the order that the address asks for; the usual one when it makes no sense."""
    order = address.word("folder_order")
    return order if order in _ORDERS else ""


def _page(pages: int) -> int:
    return min(view.page_number(address.word("folder_page")), pages)


def _unknown(path: str, as_of: str) -> None:
    headline = f"このフォルダーには、アーカイブされたファイルがありません（{as_of}）。"
    view.notice("warning", headline, words.shortened(typed(path)))


def _way(way: Sequence[Folder]) -> None:
    """The folders above, each of which leads to itself, and the one that is shown."""
    left_out = range(_FIRST, len(way) - _LAST)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if len(way) == 1:
            st.text(_TOP)
        else:
            st.button(_TOP, key="tree-top", type="tertiary", icon=":material/home:", on_click=_go)
        for place, folder in enumerate(way[1:], 1):
            if place in left_out:
                if place == left_out[0]:
                    st.text("› …")
                continue
            st.text("›")
            if place == len(way) - 1:
                st.text(words.shortened(folder.name))
            else:
                _above(place, folder)


def _above(place: int, folder: Folder) -> None:
    label = literally(_short(folder.name))
    st.button(label, key=f"way-{place}", type="tertiary", on_click=_go, args=(folder.path,))


def _short(name: str) -> str:
    return name if len(name) <= _MAX_LETTERS else f"{name[:_MAX_LETTERS]}…"


def _to_the_list(found: Folder) -> None:
    if not found.path:
        return
    if found.own_files < found.files:
        st.button(
            f"この下のすべて（{words.count(found.files)}）を一覧で見る",
            key="tree-all",
            icon=":material/list:",
            on_click=_list,
            args=(found.path,),
        )
    if found.own_files:
        st.button(
            f"このフォルダーのファイル（{words.count(found.own_files)}）を一覧で見る",
            key="tree-own",
            icon=":material/folder:",
            on_click=partial(_list, only=True),
            args=(found.path,),
        )


def _searched_with(tree: Folders, found: Folder) -> None:
    """Say why the list finds more than is counted here."""
    alike = [other for other in tree.searched_as(found) if other.path != found.path]
    if alike:
        st.caption(
            "一覧では全角と半角、ひらがなとカタカナなどが区別されないため、"
            "次のフォルダーのファイルも一緒に表示されます。"
        )
        st.text("\n".join(f"{other.path}（{words.count(other.files)}）" for other in alike))


def _below(tree: Folders, found: Folder) -> None:
    """The folders in the one that is shown; a click leads into one."""
    children = tree.children(found)
    if not children:
        return
    order = _order()
    children.sort(key=_ORDERS[order][1])
    pages = -(-len(children) // PER_PAGE)
    number = _page(pages)
    shown = children[(number - 1) * PER_PAGE : number * PER_PAGE]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(f"フォルダー {words.count(len(children))}　行を押すと中に入ります")
        _sorting(order)
        if pages > 1:
            key = f"tree-page-{number}"
            width = view.pagination_width(pages)
            st.pagination(pages, default=number, width=width, key=key, on_change=_turn, args=(key,))
    view.table(
        _HEADER,
        ((child.name, child.files, child.size, child.own_files) for child in shown),
        widths=_WIDTHS,
        formats=_FORMATS,
        most_height=520,
        chosen=partial(_chosen, shown),
        alt="フォルダーの一覧",
        key=f"tree-table-{found.node}-{order}-{number}",
    )


def _inside(here: services.Services, found: Folder) -> None:
    """The files directly in the folder; of many of them the first ones."""
    query = SearchQuery(
        directory=asked.directory(found.path),
        directory_only=True,
        order=Order.NAME,
        descending=False,
    )
    page = here.catalogue.search(query, per_page=_FILES)
    # A search knows no difference of width or kana.
    files = [f for f in page.entries if identity(f.directory) == identity(found.path)]
    part = f"（はじめの{len(files)} 件を表示）" if len(files) < found.own_files else ""
    st.text(f"このフォルダーのファイル {words.count(found.own_files)}{part}")
    timezone = here.settings.timezone
    view.table(
        _FILE_HEADER,
        ((f.name, f.size, words.moment(f.archived_at, timezone), f.requester) for f in files),
        widths=_FILE_WIDTHS,
        formats={"サイズ": words.size},
        most_height=520,
        alt="フォルダーのファイル",
        key="tree-files",
    )


def _sorting(order: str) -> None:
    st.session_state["tree-sort"] = order
    st.selectbox(
        "並べ方",
        list(_ORDERS),
        key="tree-sort",
        format_func=lambda word: _ORDERS[word][0],
        label_visibility="collapsed",
        width=190,
        on_change=_sorted,
    )


def _sorted() -> None:
    order = str(st.session_state["tree-sort"] or "")
    address.put(folder_order=order, folder_page="")


def _turn(key: str) -> None:
    address.put(folder_page=str(st.session_state[key]))


def _chosen(shown: Sequence[Folder], row: int) -> None:
    if 0 <= row < len(shown):
        _go(shown[row].path)
