"""``/runs``: every run, for those who have to find out why something failed.

All that is asked stands in the address: filters and page of the list, and ``?run=``.
"""

from __future__ import annotations

import streamlit as st

from pages import services
from pages.auth import guard
from pages.runs import listing, report
from pages.widgets import address, view


@view.explained
def render() -> None:
    guard.require_operator()
    st.title("実行履歴", anchor=False)
    here = services.current()
    run_id = address.word("run")
    if run_id:
        report.render(here, run_id)
    else:
        listing.render(here)
