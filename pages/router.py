"""The script that Streamlit runs for every session: which pages there are, and for whom.

It lies beside the pages, not above them: a main script with a ``pages`` directory beside it
lets the first request after a start run any file of that directory without its guards.
"""

from __future__ import annotations

import streamlit as st

from pages import archive, health, search
from pages.common import guard


def main() -> None:
    st.set_page_config(page_title="氷室", page_icon="❄️", layout="wide", menu_items={})
    if guard.is_operator():
        work = st.Page(
            archive.render, title="アーカイブ", url_path="archive", icon=":material/archive:"
        )
    else:
        work = _hidden("archive")
    if guard.is_administrator():
        checkup = st.Page(
            health.render, title="点検", url_path="health", icon=":material/stethoscope:"
        )
    else:
        checkup = _hidden("health")
    start = st.Page(search.render, title="アーカイブ一覧", icon=":material/search:", default=True)
    st.logo(":material/ac_unit:", size="large")
    st.navigation([start, work, checkup], position="top").run()


def _hidden(url_path: str) -> st.Page:
    """Return what stands at an address that is not for this person."""
    title = "ページが見つかりません"
    return st.Page(guard.not_found, title=title, url_path=url_path, visibility="hidden")


main()
