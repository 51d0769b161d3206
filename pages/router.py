"""The script that Streamlit runs for every session: which pages there are, and for whom.

It lies beside the pages, not above them: a main script with a ``pages`` directory beside it
lets the first request after a start run any file of that directory without its guards.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from pages import archive, runs, search
from pages.common import guard


def main() -> None:
    st.set_page_config(page_title="氷室", page_icon="❄️", layout="wide", menu_items={})
    work = [
        _operators_page(archive.render, "アーカイブ", "archive", ":material/archive:"),
        _operators_page(runs.render, "実行履歴", "runs", ":material/history:"),
    ]
    start = st.Page(search.render, title="アーカイブ一覧", icon=":material/search:", default=True)
    st.logo(":material/ac_unit:", size="large")
    st.navigation([start, *work], position="top").run()


def _operators_page(render: Callable[[], None], title: str, path: str, icon: str) -> StreamlitPage:
    """Return a page, or for others one at the same address that is neither listed nor there."""
    if guard.is_operator():
        return st.Page(render, title=title, url_path=path, icon=icon)
    return st.Page(
        guard.not_found, title="ページが見つかりません", url_path=path, visibility="hidden"
    )


main()
