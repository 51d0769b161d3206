"""What was found: how much, in which order, one page of it as a table, and one row in full."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from core.model import Entry, Order, SearchPage, SearchQuery
from core.search.typed_query import TypedQuery
from pages import services
from pages.search import asked, takeaway, ticks
from pages.search.asked import COLUMNS, SORTS, Asked
from pages.widgets import address, view, words

PER_PAGE = 100
_BY_HEADING = {
    "date": Order.DATE,
    "directory": Order.PATH,
    "name": Order.NAME,
    "size": Order.SIZE,
}
"""Columns whose heading sorts all hits."""
_WIDTHS = {
    "date": 132,
    "directory": 340,
    "name": 280,
    "size": 95,
    "request": 140,
    "requester": 90,
    "comment": 180,
    "modified": 132,
    "bucket": 150,
    "key": 340,
    "sha256": 340,
}
"""Pixels. Fixed, so that headings stay below the mouse that sorts by them."""
_EXACT = {"date": 155, "size": 125, "modified": 155}
_RIGHT = ("size",)
_HEIGHT = 366
_ROW = 30


def above(wanted: Asked, hits: str, remark: str, found: SearchPage, number: int) -> None:
    """Show how much was found and which of it is below, the orders, the columns, the pages.

    ``hits``: their number in words; ``remark``: on it, behind all others.
    """
    left, right = st.columns([1, 1.35], vertical_alignment="center")
    order = SORTS[_order(wanted, found)]
    first = (number - 1) * PER_PAGE + 1
    last = first + len(found.entries) - 1
    left.text(f"{hits}（{first:,}～{last:,}件目を表示、{order}{remark}）")
    with right.container(
        horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"
    ):
        pages = last_page(found)
        if found.over and len(found.entries) == PER_PAGE:
            pages = max(pages, number + 1)
        if pages > 1:
            # A key for each page: its default is what the address says.
            key = f"list-page-{number}"
            width = view.pagination_width(pages)
            st.pagination(pages, default=number, width=width, key=key, on_change=_turn, args=(key,))
        _sorts(wanted)
        _columns(wanted)
    if found.unsorted:
        asked_for = SORTS[wanted.typed.order, wanted.typed.descending]
        view.notice(
            "warning",
            f"件数が多いため、{asked_for}に並べられません。新しい順に表示しています。"
            "言葉を足すか、フォルダーや期間で絞り込むと並べられます。",
        )


def last_page(found: SearchPage) -> int:
    """Return the number of the last page, at least 1."""
    return max(1, -(-found.total // PER_PAGE))


@st.fragment
def rows(wanted: Asked, query: SearchQuery, found: SearchPage, hits: str) -> None:
    """Show one page of hits. What is ticked or chosen in it asks the database nothing.

    ``hits``: the number of all of them in words.
    """
    if asked.current() != wanted:
        st.rerun()  # a heading has asked for another order
    here = services.current()
    takeaway.render(here, query, hits, ticks.ticked())
    chosen = _table(wanted, query, found, here.settings.timezone)
    # Below the table, so that it stays where it is and the row in full is near it.
    if chosen:
        _details(chosen, here.settings.timezone)
    _ticked()
    st.caption(
        "左端の四角で行を選べます。選択は、ページや検索を変えても残ります。行を押すと、"
        "正確なサイズと日時、S3キーなどを表示します。見出しを押すと、すべての結果を並べ替えます。"
    )


def _order(wanted: Asked, found: SearchPage) -> tuple[Order, bool]:
    if found.unsorted:
        return Order.DATE, True
    return wanted.typed.order, wanted.typed.descending


def _sorts(wanted: Asked) -> None:
    address.follow("list-sort", (wanted.typed.order, wanted.typed.descending))
    st.selectbox(
        "並べ替え",
        list(SORTS),
        key="list-sort",
        format_func=SORTS.__getitem__,
        label_visibility="collapsed",
        width=165,
        on_change=_sorted,
    )


def _columns(wanted: Asked) -> None:
    panel = st.popover("表示", icon=":material/view_column:", key="list-view", on_change="rerun")
    if not panel.open:
        return
    with panel:
        address.follow("list-columns", list(wanted.columns))
        st.pills(
            "表示する列",
            list(COLUMNS),
            selection_mode="multi",
            key="list-columns",
            format_func=COLUMNS.__getitem__,
            on_change=_shown,
        )
        address.follow("list-exact", wanted.exact)
        st.toggle("正確な値（バイトと秒）", key="list-exact", on_change=_exact)


def _turn(key: str) -> None:
    address.put(page=str(st.session_state[key]))


def _sorted() -> None:
    order, descending = st.session_state["list-sort"]
    asked.sort(order, descending=descending)


def _shown() -> None:
    chosen = st.session_state["list-columns"]
    columns = tuple(name for name in COLUMNS if name in chosen)
    address.put(columns="" if columns == asked.USUAL_COLUMNS else ",".join(columns))


def _exact() -> None:
    address.put(exact="1" if st.session_state["list-exact"] else "")


def _ticked() -> None:
    """Say how much is ticked."""
    if kept := ticks.ticked():
        total = words.size(sum(entry.size for entry in kept))
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.text(f"選択中 {words.count(len(kept))}、合計 {total}")
            st.button(
                "選択をすべてやめる",
                key="untick",
                icon=":material/deselect:",
                type="tertiary",
                on_click=_untick,
            )
    if st.session_state.pop("ticked-too-many", False):
        view.notice("warning", f"選べるのは{ticks.MOST:,}件までです。これ以上は選ばれていません。")


def _untick() -> None:
    ticks.clear()
    _draw_anew()


def _table(
    wanted: Asked, query: SearchQuery, found: SearchPage, timezone: ZoneInfo
) -> Entry | None:
    """Show the rows and return the one in which a cell is chosen."""
    shown = found.entries
    key, default = _widget((query, tuple(entry.id for entry in shown)), shown)
    cell = _cells(wanted.exact, timezone)
    order, descending = _order(wanted, found)
    widths = {**_WIDTHS, **(_EXACT if wanted.exact else {})}
    arrow = "↓" if descending else "↑"
    config = {
        COLUMNS[name]: st.column_config.Column(
            f"{COLUMNS[name]} {arrow}" if _BY_HEADING.get(name) is order else COLUMNS[name],
            width=widths.get(name),
            alignment="right" if name in _RIGHT else "left",
        )
        for name in wanted.columns
    }
    state = st.dataframe(
        pd.DataFrame({COLUMNS[name]: list(map(cell[name], shown)) for name in wanted.columns}),
        hide_index=True,
        column_config=config,
        height=min(_HEIGHT, 36 + _ROW * len(shown)),
        row_height=_ROW,
        key=key,
        # With cells to choose, pressing a row ticks nothing: only its square does.
        selection_mode=("multi-row", "single-cell", "single-column"),
        selection_default={"selection": {"rows": default, "columns": [], "cells": []}},
        on_select=partial(_selected, key, shown, (order, descending)),
        alt="アーカイブ一覧",
    )
    chosen = [row for row, _column in state.selection.cells]
    return shown[chosen[0]] if chosen and 0 <= chosen[0] < len(shown) else None


def _cells(exact: bool, timezone: ZoneInfo) -> dict[str, Callable[[Entry], str]]:
    """Return what each column shows of a row."""

    def moment(when: datetime) -> str:
        return words.exact_moment(when, timezone) if exact else words.moment(when, timezone)

    return {
        "date": lambda entry: moment(entry.archived_at),
        "directory": lambda entry: entry.directory,
        "name": lambda entry: entry.name,
        "size": lambda entry: f"{entry.size:,}" if exact else words.size(entry.size),
        "request": lambda entry: entry.request_id,
        "requester": lambda entry: entry.requester,
        "comment": lambda entry: entry.comment,
        "modified": lambda entry: moment(entry.modified_at),
        "bucket": lambda entry: entry.bucket,
        "key": lambda entry: entry.key,
        "sha256": lambda entry: entry.sha256,
    }


def _widget(drawn: object, shown: tuple[Entry, ...]) -> tuple[str, list[int]]:
    """Return the key of the table and the rows that it begins with ticked.

    Other rows are another widget: Streamlit keeps selections by row number.
    """
    if st.session_state.get("list-drawn") != drawn:
        st.session_state["list-drawn"] = drawn
        st.session_state["list-drawing"] = st.session_state.get("list-drawing", 0) + 1
        st.session_state["list-default"] = ticks.rows(shown)
    return f"list-rows-{st.session_state['list-drawing']}", st.session_state["list-default"]


def _draw_anew() -> None:
    """Let the table begin with what is ticked now."""
    st.session_state["list-drawn"] = None


def _selected(key: str, shown: tuple[Entry, ...], sorted_by: tuple[Order, bool]) -> None:
    selection = st.session_state[key].selection
    if not ticks.take(shown, selection.rows):
        st.session_state["ticked-too-many"] = True
        _draw_anew()
    names = {heading: name for name, heading in COLUMNS.items()}
    for heading in selection.columns:
        if order := _BY_HEADING.get(names.get(heading, "")):
            usual = order in (Order.DATE, Order.SIZE)
            asked.sort(order, descending=not sorted_by[1] if order is sorted_by[0] else usual)


def _details(entry: Entry, timezone: ZoneInfo) -> None:
    """Show everything that is known of a row, exactly."""
    with st.container(border=True, gap="small"):
        view.facts(
            (
                ("サイズ", f"{entry.size:,} バイト（{words.size(entry.size)}）"),
                ("アーカイブ日時", words.exact_moment(entry.archived_at, timezone)),
                ("更新日時", words.exact_moment(entry.modified_at, timezone)),
                ("依頼ID", entry.request_id),
                ("依頼者", entry.requester),
                ("コメント", entry.comment),
            )
        )
        view.facts((("パス", entry.path),))
        view.facts(
            (("S3バケット名", entry.bucket), ("S3キー", entry.key), ("SHA256", entry.sha256))
        )
        with st.container(horizontal=True):
            beside = TypedQuery(directory=asked.directory(entry.directory), directory_only=True)
            _way_to("同じフォルダーを見る", "same-directory", ":material/folder:", beside)
            if entry.request_id:
                same = TypedQuery(request_id=entry.request_id)
                _way_to("同じ依頼を見る", "same-request", ":material/assignment:", same)


def _way_to(label: str, key: str, icon: str, search: TypedQuery) -> None:
    """Show a button that searches for something else."""
    st.button(label, key=key, type="tertiary", icon=icon, on_click=asked.search, args=(search,))
