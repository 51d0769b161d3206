"""``/account``: who is signed in, and the way in and out."""

from __future__ import annotations

import streamlit as st

from core.settings import SignInKind
from pages.common import guard, services, session, view


@view.explained
def render() -> None:
    user = guard.user()
    if user is None:
        guard.offer()
        return
    st.title("アカウント", anchor=False)
    view.facts((("名前", user.name), ("役割", guard.ROLE_WORDS[user.role])))
    st.button(
        "サインアウト", key="signout", type="primary", icon=":material/logout:", on_click=_sign_out
    )
    st.caption("60分間操作しないとき、またはサインインから12時間後に、自動でサインアウトします。")


def _sign_out() -> None:
    """End the session at once, for every tab; then let the browser forget its cookie."""
    user = guard.user()
    signin = services.current().signin
    if user:
        signin.sign_out(user, session.client_of_page())
    if signin.kind is SignInKind.OIDC:
        st.logout()
    else:
        session.leave_for("/signin?done=1")
