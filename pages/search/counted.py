"""The numbers of the archive as both views of them need them: there already, or on their way."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from core.search.statistics import Numbers
from pages import services
from pages.auth import guard
from pages.widgets import view


def current(here: services.Services) -> Numbers | None:
    """Return the numbers; None while there are none, which is said.

    Newer ones that are on their way are shown as soon as they are there.
    """
    found = here.summary.ask()
    if found.working:
        _until_newer(found.value.as_of if found.value else None)
    if found.message:
        told = found.message if guard.is_operator() else ""
        view.notice("warning", "集計を新しくできませんでした。", told)
    elif found.value is None:
        st.caption("ファイルの数と容量を集計しています…")
    return found.value


@st.fragment(run_every=1.0)
def _until_newer(shown: datetime | None) -> None:
    """Draw the page anew when the numbers have come, or will not come."""
    found = services.current().summary.ask()
    if not found.working or (found.value and found.value.as_of != shown):
        st.rerun()
