"""Addresses: the part that says which step is shown, its callbacks, the ways between pages."""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import StreamlitPage as Page

from pages.common import guard


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


def page(path: str) -> Page:
    """Return the page at an address; Streamlit knows pages by their addresses alone."""
    return st.Page(guard.not_found, url_path=path)


def link(path: str, label: str, **query: str) -> None:
    """Show a way to another page."""
    st.page_link(page(path), label=label, icon=":material/history:", query_params=query)
