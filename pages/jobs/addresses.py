"""Addresses: the part that says which step is shown, its callbacks, the ways between pages."""

from __future__ import annotations

from typing import Literal

import streamlit as st
from streamlit.navigation.page import StreamlitPage as Page

from core.model import RunKind, RunRecord
from pages.auth import guard

ARCHIVE_LIST = ""
"""The path of the page that everyone starts from."""


def run() -> str:
    return st.query_params.get("run", "")


def draft() -> str:
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
    return "restore" if kind == RunKind.RESTORE else "archive"


def page(path: str) -> Page:
    """Return the page at an address; Streamlit knows pages by their addresses alone."""
    if path == ARCHIVE_LIST:
        return st.Page(guard.not_found, default=True)
    return st.Page(guard.not_found, url_path=path)


def link(path: str, label: str, icon: str = ":material/history:", **query: str) -> None:
    """Show a way to another page."""
    st.page_link(page(path), label=label, icon=icon, query_params=query)


def way_to(
    record: RunRecord,
    path: str,
    label: str,
    *,
    key: str,
    type: Literal["primary", "tertiary"] = "tertiary",  # noqa: A002 - Streamlit's own word
) -> None:
    """Show a way to a run: on this page, which is at ``path``, or to the one of its kind."""
    icon = ":material/chevron_right:"
    there = of_kind(record.kind)
    if there == path:
        shown = icon if type == "tertiary" else None
        st.button(label, key=key, type=type, icon=shown, on_click=show_run, args=(record.run_id,))
    else:
        link(there, label, icon, run=record.run_id)
