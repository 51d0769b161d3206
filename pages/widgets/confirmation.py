"""The dialog that asks before something is done that no click takes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import streamlit as st

from core.errors import HimuroError
from pages.auth import guard
from pages.widgets import address, view

Act = Callable[[], str | None]
"""Does what was asked about; returns the run to be shown next, None: the page as it is. May
raise ``HimuroError``, which the dialog then shows."""


def confirm(
    question: str,
    show: Callable[[], Act | None],
    *,
    yes: str,
    no: str = "戻る",
    width: Literal["small", "medium", "large"] = "medium",
) -> None:
    """Open the dialog, for operators alone. ``yes`` and ``no`` are the labels of its buttons.

    ``show`` draws what the question is about, after every click in the dialog anew, and returns
    what ``yes`` does; None: there is nothing to be done, and ``yes`` cannot be pressed. A double
    click does it once.
    """
    # The dialog's later runs call this very function: what is kept here lives as long as it.
    done: list[str | None] = []

    @st.dialog(question, width=width)
    def ask() -> None:
        guard.require_operator()
        act = show()
        with st.container(horizontal=True, horizontal_alignment="right"):
            back = st.button(no, key="confirm-no")
            go = st.button(yes, key="confirm-yes", type="primary", disabled=act is None)
        if go and act:
            try:
                # Streamlit may break off at any call of its own, for the second click of two,
                # but not between these.
                done[:] = done or [act()]
            except HimuroError as exc:
                view.trouble(exc)
                return
            if done[0]:
                address.show_run(done[0])
        if go or back:
            st.rerun()

    ask()
