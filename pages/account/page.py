"""``/account``: who is signed in, and the way in and out; and where else he is signed in."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from core.auth import user_agents
from core.auth.sessions import SessionView
from core.config.settings import SignInKind
from pages import services
from pages.auth import guard, session
from pages.widgets import view, words

_NONE_ENDED = "もうサインアウトしています。"


@view.explained
def render() -> None:
    user = guard.user()
    if user is None:
        guard.offer()
        return
    here = services.current()
    st.title("アカウント", anchor=False)
    view.facts((("名前", user.name), ("役割", guard.ROLE_WORDS[user.role])))
    st.button(
        "サインアウト", key="signout", type="primary", icon=":material/logout:", on_click=_sign_out
    )
    st.caption(
        f"{here.settings.idle_minutes}分間操作しないとき、またはサインインから12時間後に、"
        "自動でサインアウトします。"
    )
    _sessions(here.signin.sessions_of(user))


def _sessions(found: list[SessionView]) -> None:
    """Where this account is signed in: at most twenty of them."""
    st.subheader("サインイン中のブラウザー", anchor=False)
    st.text(
        "心当たりのないものがあれば、サインアウトさせて、管理者にパスワードの変更を頼んでください。"
    )
    if said := st.session_state.pop("sessions_said", ""):
        st.toast(said, icon=":material/info:", duration="long")
    if len(found) > 1:
        st.button(
            f"ほかの{len(found) - 1}件をすべてサインアウトさせる",
            key="end_others",
            icon=":material/logout:",
            on_click=_end_others,
        )
    for each in found:
        with st.container(border=True, key=f"session_{each.handle[:12]}"):
            _session(each)


def _session(each: SessionView) -> None:
    where = each.first.address or "不明"
    if each.address and each.address != each.first.address:
        where += f"（最後は {each.address}）"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(each.first.browser or user_agents.UNKNOWN)
        if each.this:
            st.badge("このブラウザー", color="green")
    view.facts(
        (
            ("サインイン", _moment(each.issued)),
            ("最後の操作", _moment(each.seen)),
            ("アドレス", where),
        )
    )
    if not each.this:
        st.button(
            "サインアウトさせる",
            key=f"end_{each.handle[:12]}",
            on_click=_end,
            args=(each.handle,),
        )


def _moment(seconds: float) -> str:
    return words.moment(datetime.fromtimestamp(seconds, UTC), services.timezone())


def _end(handle: str) -> None:
    """End another session of the same person; the guard is asked again, as in every callback."""
    user = guard.user()
    if user:
        done = services.current().signin.end_session(user, handle, session.client_of_page())
        st.session_state["sessions_said"] = "1件をサインアウトさせました。" if done else _NONE_ENDED


def _end_others() -> None:
    user = guard.user()
    if user:
        ended = services.current().signin.end_others(user, session.client_of_page())
        st.session_state["sessions_said"] = (
            f"ほかの{ended}件をサインアウトさせました。" if ended else _NONE_ENDED
        )


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
