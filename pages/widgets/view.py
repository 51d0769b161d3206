"""Widgets that several pages share.

What people typed, and names from the file server, go through ``st.text`` and
``st.dataframe`` only: everything else on the screen reads Markdown, in which ``*``, ``:red[``
or ``$`` of a file name would vanish or do something.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Literal

import pandas as pd
import streamlit as st

from core.errors import Code, FatalError, HimuroError, SettingsError, for_strangers
from core.model import RunState
from pages.auth import guard
from pages.widgets import address, words

_logger = logging.getLogger(__name__)

Level = Literal["success", "info", "warning", "error"]
_BOXES = {"success": st.success, "info": st.info, "warning": st.warning, "error": st.error}
_LEVELS: dict[RunState, Level] = {
    RunState.DONE: "success",
    RunState.FAILED_FILES: "warning",
    RunState.STOPPED: "warning",
    RunState.INTERRUPTED: "warning",
    RunState.REFUSED: "error",
    RunState.ERROR: "error",
}
_ICONS = {
    "success": ":material/check_circle:",
    "info": ":material/info:",
    "warning": ":material/warning:",
    "error": ":material/error:",
}


def level(state: RunState) -> Level:
    """Return how good or bad it is that a run ended so; one that has not is just told."""
    return _LEVELS.get(state, "info")


def notice(level: Level, headline: str, text: str = "") -> None:
    """Show a coloured line; ``text`` below it may hold anything, ``headline`` is ours."""
    _BOXES[level](headline, icon=_ICONS[level])
    if text:
        st.text(text)


_STATE_COLORS: dict[RunState, Literal["green", "orange", "red", "blue", "gray"]] = {
    RunState.DONE: "green",
    RunState.FAILED_FILES: "orange",
    RunState.REFUSED: "red",
    RunState.ERROR: "red",
    RunState.RUNNING: "blue",
}


def state_badge(state: RunState, *, queued: bool = False) -> None:
    """Show how a run stands; ``queued``: it is running on paper and waits for its turn."""
    if queued:
        st.badge("順番待ち", color="gray")
    else:
        st.badge(words.STATE_WORDS[state], color=_STATE_COLORS.get(state, "gray"))


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Show short labels with values that may hold anything, side by side; empty ones are
    left out, and long ones are cut, so that they push nothing off the screen."""
    shown = [(label, words.shortened(value)) for label, value in pairs if value]
    with st.container(horizontal=True, gap="medium"):
        for label, value in shown:
            with st.container(width="content", gap=None):
                st.caption(label)
                st.text(value)


def metrics(pairs: Iterable[tuple[str, str]]) -> None:
    """Show numbers with their labels in one row."""
    shown = list(pairs)
    for column, (label, value) in zip(st.columns(len(shown)), shown, strict=True):
        column.metric(label, value)


_HEADER_HEIGHT = 36
"""Pixels of a table without rows."""
TALL = 66
"""Pixels of a row with room for three lines. Streamlit wraps text in rows above 60 only
(4 rem of the theme's ``baseFontSize``)."""


def table(
    header: tuple[str, ...],
    rows: Iterable[tuple[object, ...]],
    *,
    widths: dict[str, int],
    formats: Mapping[str, Callable[[int], str]] | None = None,
    row_height: int = 32,
    most_height: int = 460,
    chosen: Callable[[int], None] | None = None,
    alt: str,
    key: str,
) -> None:
    """Show rows as a table. ``widths`` are pixels; a column without one takes what is left.

    Columns of ``formats`` hold numbers: shown through the function, sorted by the number.
    Text wraps in rows that are ``TALL``; above ``most_height`` (pixels) the rows scroll.
    ``chosen`` is a callback that gets the number of the row that somebody clicks, wherever in
    the row. ``alt`` describes the table to a screen reader.
    """
    frame = pd.DataFrame(list(rows), columns=pd.Index(header))
    height = min(most_height, _HEADER_HEIGHT + row_height * len(frame))
    config = {
        name: st.column_config.Column(width=widths.get(name), alignment="left")
        if name not in (formats or {})
        else st.column_config.Column(width=widths.get(name), alignment="right")
        for name in header
    }
    data = frame.style.format(formats) if formats else frame
    st.dataframe(
        data,
        hide_index=True,
        column_config=config,
        height=height,
        row_height=row_height,
        alt=alt,
        key=key,
        on_select=(lambda: _choose(key, chosen)) if chosen else "ignore",
        selection_mode=("single-row", "single-cell"),
    )


def _choose(key: str, chosen: Callable[[int], None]) -> None:
    selected = st.session_state[key].selection
    rows = [*selected.rows, *(row for row, _column in selected.cells)]
    if rows:
        chosen(rows[0])


def pagination_width(pages: int) -> int:
    """Return the pixels that ``st.pagination`` needs: in a row that is aligned to the right it
    shrinks to a single page number by itself."""
    return 40 * (min(pages, 7) + 3)


def page_number(text: str, digits: int = 6) -> int:
    """Return the page that an address asks for, 1 for what is no number of so few digits."""
    return max(1, int(text)) if text.isascii() and text.isdecimal() and len(text) <= digits else 1


def clear_button(clear: Callable[[], None]) -> None:
    """Show the button that takes all filters away."""
    st.button(
        "条件を消す",
        key="clear",
        icon=":material/filter_alt_off:",
        type="tertiary",
        on_click=clear,
    )


def explained(page: Callable[[], None]) -> Callable[[], None]:
    """Show an expected failure of a page as one message that says what to do."""

    @wraps(page)
    def shown() -> None:
        try:
            page()
        except HimuroError as exc:
            trouble(exc)
        address.settled()

    return shown


def trouble(exc: HimuroError) -> None:
    """Show an expected failure and what to do about it.

    Strangers are told no more than ``for_strangers``; the rest is in the console's log.
    """
    if not guard.is_operator() and isinstance(exc, SettingsError | FatalError):
        _logger.warning("%s", exc)
        notice("error", for_strangers(exc))
    elif isinstance(exc, SettingsError):
        problems = "\n".join(f"・{problem}" for problem in exc.problems)
        after = "\n\n管理者が設定を直し、コンソールを再起動してください。"
        notice("error", "設定に誤りがあるため、使えません。", problems + after)
    elif isinstance(exc, FatalError) and exc.code is Code.DATABASE_SCHEMA:
        after = "\n管理者が実行した後、この画面を開き直してください。"
        notice("error", "データベースの準備ができていません。", f"{exc}{after}")
    else:
        notice("error", "処理できませんでした。", str(exc))


def unexpected(exc: Exception) -> bool:
    """Show what nobody foresaw without its traceback, which goes to the console's log."""
    _logger.error("unexpected error on a page", exc_info=exc)
    st.error(
        "予期しないエラーが発生しました。画面を開き直しても続くときは、管理者に連絡してください。",
        icon=_ICONS["error"],
    )
    return True
