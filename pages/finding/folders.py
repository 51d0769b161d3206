"""The archive list as a tree: what each folder holds, and the way from there to its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import streamlit as st

from core.folders import Folder, Folders, natural
from core.model import Order, SearchQuery
from core.names import identity, typed
from pages.common import services, view, words
from pages.common.literally import literally
from pages.finding import counted

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
_TOP = "すべてのサーバー"
_FIRST, _LAST = 3, 5
"""Folders of a very long way that are shown."""
_MOST_LETTERS = 60
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


def go(path: str = "") -> None:
    """Show a folder; empty: the servers."""
    _put(view="folders", folder=path, sort=_order() if _is_here() else "")


def _list(path: str = "", *, only: bool = False) -> None:
    """Show the list: of what lies in a folder, ``only`` in itself or below as well."""
    _put(directory=searched(path), only="1" if only else "")


def searched(path: str) -> str:
    """Return a folder's path as a search has to be asked for it: the backslash at its end keeps
    a space before it, which may belong to the name."""
    return f"{path}\\" if path else ""


def _put(**values: str) -> None:
    """Make this the whole address, without what is empty."""
    st.query_params.from_dict({name: value for name, value in values.items() if value})


def _is_here() -> bool:
    return st.query_params.get("view") == "folders"


def _order() -> str:
    """Return the order that the address asks for; the usual one when it makes no sense."""
    asked = st.query_params.get("sort", "")
    return asked if asked in _ORDERS else ""


def _page(pages: int) -> int:
    text = st.query_params.get("page", "")
    asked = int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 1
    return min(max(asked, 1), pages)


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
            st.button(_TOP, key="tree-top", type="tertiary", icon=":material/home:", on_click=go)
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
        st.button(
            "検索に戻る",
            key="tree-leave",
            type="tertiary",
            icon=":material/search:",
            on_click=_list,
        )


def _above(place: int, folder: Folder) -> None:
    label = literally(_short(folder.name))
    st.button(label, key=f"way-{place}", type="tertiary", on_click=go, args=(folder.path,))


def _short(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else f"{name[:_MOST_LETTERS]}…"


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
    left, right = st.columns([1, 1], vertical_alignment="center")
    left.text(f"フォルダー {words.count(len(children))}　行を押すと中に入ります")
    with right.container(horizontal=True, horizontal_alignment="right"):
        if pages > 1:
            key = f"tree-page-{number}"
            width = view.pagination_width(pages)
            st.pagination(pages, default=number, width=width, key=key, on_change=_turn, args=(key,))
        _sorting(order)
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
    asked = SearchQuery(
        directory=searched(found.path),
        directory_only=True,
        order=Order.NAME,
        descending=False,
    )
    page = here.catalogue.search(asked, per_page=_FILES)
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
    _put(view="folders", folder=st.query_params.get("folder", ""), sort=order)


def _turn(key: str) -> None:
    st.query_params["page"] = str(st.session_state[key])


def _chosen(shown: Sequence[Folder], row: int) -> None:
    if 0 <= row < len(shown):
        go(shown[row].path)
