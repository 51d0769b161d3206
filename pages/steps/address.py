"""The part of the address that says which step is shown, and the callbacks that change it."""

from __future__ import annotations

import streamlit as st

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
