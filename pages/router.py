"""The script that Streamlit runs for every session: which pages there are, and for whom.

It lies beside the pages, not above them: a main script with a ``pages`` directory beside it
lets the first request after a start run any file of that directory without its guards.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import streamlit as st

from core.auth.accounts import Role
from pages.account import page as account
from pages.archive import page as archive
from pages.auth import guard
from pages.health import page as health
from pages.restore import page as restore
from pages.runs import page as runs
from pages.search import page as search
from pages.widgets import address, view


class Guarded(NamedTuple):
    """A page that is listed for a role. It asks for the role itself as well."""

    render: Callable[[], None]
    title: str
    path: str
    icon: str
    role: Role


GUARDED = (
    Guarded(archive.render, "アーカイブ", address.ARCHIVE, ":material/archive:", Role.OPERATOR),
    Guarded(restore.render, "復元", address.RESTORE, ":material/restore_page:", Role.OPERATOR),
    Guarded(runs.render, "実行履歴", address.RUNS, ":material/history:", Role.OPERATOR),
    Guarded(health.render, "点検", "health", ":material/stethoscope:", Role.ADMINISTRATOR),
)


def main() -> None:
    st.set_page_config(page_title="氷室", page_icon="❄️", layout="wide", menu_items={})
    user = guard.user()
    role = user.role if user else Role.ANYONE
    start = st.Page(search.render, title="アーカイブ一覧", icon=":material/search:", default=True)
    own = st.Page(
        account.render,
        title=user.name if user else "サインイン",
        url_path="account",
        icon=":material/account_circle:" if user else ":material/login:",
    )
    st.logo(":material/ac_unit:", size="large")
    work = [_page(guarded, role) for guarded in GUARDED]
    st.navigation([start, *work, own], position="top").run()


def _page(guarded: Guarded, role: Role) -> st.Page:
    """Return a page, or for others something nameless at the same address."""
    if role >= guarded.role:
        return st.Page(
            guarded.render, title=guarded.title, url_path=guarded.path, icon=guarded.icon
        )
    return st.Page(
        view.explained(partial(guard.closed, guarded.role)),
        title="氷室",
        url_path=guarded.path,
        visibility="hidden",
    )


main()
