"""What restricts the list: the words, the panel of filters, and a line that tells of them."""

from __future__ import annotations

from datetime import date

import streamlit as st

from core.errors import ListError
from core.model import MAX_TYPED
from core.paths.normalization import typed as one_line
from core.search.typed_query import DAYS, TypedQuery, last_month, read_day
from pages.search import asked
from pages.search.asked import Asked
from pages.widgets import address, view, words

_PANEL = 620
"""Pixels; what floats takes no room from the table."""
LONGEST_PATH = 1000
"""Letters that a browser lets somebody type. What it sends has a bound of its own
(``pages/traffic/messages.py``), beyond which the page would lose its connection."""


def render(wanted: Asked, today: date) -> None:
    """Show what the list is restricted by, to be changed; ``today`` as people there call it."""
    typed = wanted.typed
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        _text(
            "q",
            "検索",
            typed.words,
            "ファイル名やフォルダー名の一部、またはパス（空白で区切ると、すべてを含むもの）",
            most=LONGEST_PATH,
            live=True,
        )
        # Drawn when it is opened: what is drawn unseen misses what the address says later.
        # Another label would be another panel, a closed one.
        panel = st.popover(
            "絞り込み", key="list-filters", icon=":material/tune:", on_change="rerun"
        )
        if panel.open:
            with panel:
                _panel(typed, today)
    if wanted.filtered:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge("絞り込み中", icon=":material/filter_alt:", color="blue")
            st.text("　".join(active(typed, today)), width="stretch")
            view.clear_button(asked.clear)


def active(typed: TypedQuery, today: date) -> list[str]:
    """Return the filters as people say them."""
    said = []
    if typed.directory:
        which = "（直下だけ）" if typed.directory_only else "（その下も）"
        said.append(f"フォルダー: {words.shortened(typed.directory)}{which}")
    for label, value in (("依頼ID", typed.request_id), ("依頼者", typed.requester)):
        if value:
            said.append(f"{label}: {words.shortened(value)}")
    if typed.last_month:
        first, last = last_month(today)
        said.append(f"先月: {first:%Y/%m/%d}～{last:%Y/%m/%d}")
    elif typed.first or typed.last:
        said.append(f"期間: {_slashes(typed.first)}～{_slashes(typed.last)}")
    if typed.file_types:
        said.append(f"種類: {words.shortened(typed.file_types)}")
    if typed.least_size or typed.most_size:
        said.append(f"サイズ: {typed.least_size}～{typed.most_size}")
    return said


def _slashes(text: str) -> str:
    read = _day(text)
    return f"{read:%Y/%m/%d}" if read else words.shortened(text)


def _panel(typed: TypedQuery, today: date) -> None:
    with st.container(width=_PANEL, gap="small"):
        folder = r"\\サーバー\共有\フォルダー"
        _text("directory", "フォルダー", typed.directory, folder, most=LONGEST_PATH)
        address.follow("list-only", typed.directory_only)
        st.checkbox(
            "このフォルダーの直下だけ（その下のフォルダーを除く）",
            key="list-only",
            disabled=not typed.directory,
            on_change=_switched,
        )
        request, requester, types = st.columns(3)
        with request:
            _text("request", "依頼ID", typed.request_id, "全体が一致するもの")
        with requester:
            _text("requester", "依頼者", typed.requester, "名前の一部")
        with types:
            _text("type", "種類（拡張子）", typed.file_types, "xlsx, pdf")
        first, last, month = st.columns(3, vertical_alignment="bottom")
        days = map(date.isoformat, last_month(today))
        from_text, to_text = days if typed.last_month else (typed.first, typed.last)
        with first:
            _date("from", "この日から", from_text)
        with last:
            _date("to", "この日まで", to_text)
        with month:
            address.follow("list-period", typed.last_month)
            st.checkbox("先月", key="list-period", on_change=_month)
        least, most, _rest = st.columns(3)
        with least:
            _text("min", "サイズの下限", typed.least_size, "10MB")
        with most:
            _text("max", "サイズの上限", typed.most_size, "1GB")


def _text(
    name: str,
    label: str,
    value: str,
    placeholder: str,
    *,
    most: int = MAX_TYPED,
    live: bool = False,
) -> None:
    key = f"list-{name}"
    address.follow(key, value)
    st.text_input(
        label,
        key=key,
        type="search" if live else "default",
        icon=":material/search:" if live else None,
        placeholder=placeholder,
        max_chars=most,
        label_visibility="collapsed" if live else "visible",
        live="600ms" if live else False,
        on_change=_typed,
        args=(name, key),
    )


def _date(name: str, label: str, text: str) -> None:
    key = f"list-{name}"
    address.follow(key, _day(text))
    st.date_input(label, None, *DAYS, key=key, on_change=_dated, args=(name, key))


def _day(text: str) -> date | None:
    try:
        return read_day(text)
    except ListError:
        return None


def _typed(name: str, key: str) -> None:
    address.ask(**{name: one_line(str(st.session_state[key] or ""))[: address.MAX_LETTERS]})


def _switched() -> None:
    address.ask(only="1" if st.session_state["list-only"] else "")


def _month() -> None:
    """Ask for last month instead of days, or for neither."""
    period = asked.LAST_MONTH if st.session_state["list-period"] else ""
    address.ask(period=period, to="", **{"from": ""})


def _dated(name: str, key: str) -> None:
    """Ask for a day; the other end of last month stays where the person sees it."""
    ends = {end: st.session_state[f"list-{end}"] for end in ("from", "to")}
    ends[name] = st.session_state[key]
    address.ask(period="", **{end: day.isoformat() if day else "" for end, day in ends.items()})
