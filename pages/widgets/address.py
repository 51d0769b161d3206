"""What stands in the address of a page, and the ways from one page to another.

People type addresses and keep them as bookmarks: nothing in them is believed, and what a
parameter meant once it means for ever.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

import streamlit as st
from streamlit.navigation.page import StreamlitPage as Page

from core.model import RunKind, RunRecord
from core.paths.normalization import typed
from pages.auth import guard

ARCHIVE_LIST = ""
"""Path of the page that everyone starts from."""
ARCHIVE, RESTORE, RUNS = "archive", "restore", "runs"
"""Paths of the operators' pages."""
MAX_LETTERS = 2000
"""Longest value of a parameter: more than a search may have, so that it is refused and not cut."""
_CHANGING = "address-changing"
"""In the session: the addresses from before the changes that the browser has not shown yet, and
the one after them."""


def word(name: str) -> str:
    """Return a parameter as one short line; empty when it is not there."""
    return typed(st.query_params.get(name, "")[:MAX_LETTERS])


def put(**values: str) -> None:
    """Change parameters in one step, which the browser's back button takes back.

    Empty values take parameters away. For callbacks only. Who clicks twice while the page is
    drawn sends the address of before the first click again: the changes are then added up.
    """
    params = st.query_params.to_dict()
    there = urlsplit(st.context.url or "").path, params
    outdated, newest = st.session_state.get(_CHANGING, ([], params))
    base = newest if there in outdated else params
    changed = {name: value for name, value in {**base, **values}.items() if value}
    st.session_state[_CHANGING] = [*outdated, there], changed
    if changed != params:
        st.query_params.from_dict(changed)


def ask(**values: str) -> None:
    """Change what a list is asked for: another question begins at its first page."""
    put(page="", **values)


def settled() -> None:
    """Note that a page was drawn to its end: the browser shows the address that it has now."""
    st.session_state.pop(_CHANGING, None)


def follow(key: str, value: object) -> None:
    """Let the widget of this key, which is drawn next, show what the address says.

    A space that somebody has just typed stays: another word may follow.
    """
    there = st.session_state.get(key)
    if (typed(there) if isinstance(there, str) else there) != value:
        st.session_state[key] = value


def page(path: str) -> Page:
    """Return the page at a path; Streamlit knows pages by their paths alone."""
    if path == ARCHIVE_LIST:
        return st.Page(guard.not_found, default=True)
    return st.Page(guard.not_found, url_path=path)


def link(path: str, label: str, icon: str = ":material/history:", **query: str) -> None:
    """Show a way to another page."""
    st.page_link(page(path), label=label, icon=icon, query_params=query)


# Checks and runs


def run() -> str:
    """Return the id of the run that is to be shown; empty when none is."""
    return st.query_params.get("run", "")


def draft() -> str:
    """Return the id of the check that is to be shown; empty when none is."""
    return st.query_params.get("draft", "")


def show_run(run_id: str) -> None:
    """Show this run after the next rerun."""
    guard.require_operator()
    st.query_params.from_dict({"run": run_id})


def show_draft(draft_id: str) -> None:
    """Show this check after the next rerun."""
    guard.require_operator()
    st.query_params.from_dict({"draft": draft_id})


def start_over() -> None:
    """Show the upload form after the next rerun."""
    guard.require_operator()
    st.query_params.clear()


def of_kind(kind: str) -> str:
    """Return the path of the page that drafts and runs of a kind belong to."""
    return RESTORE if kind == RunKind.RESTORE else ARCHIVE


def way_to(
    record: RunRecord,
    path: str,
    label: str,
    *,
    key: str,
    type: Literal["primary", "tertiary"] = "tertiary",  # noqa: A002 - Streamlit's own word
) -> None:
    """Show a way to a run: on this page, which is at ``path``, or to the page of its kind."""
    icon = ":material/chevron_right:"
    there = of_kind(record.kind)
    if there == path:
        shown = icon if type == "tertiary" else None
        st.button(label, key=key, type=type, icon=shown, on_click=show_run, args=(record.run_id,))
    else:
        link(there, label, icon, run=record.run_id)
