"""Who may work: what the role of the person before the screen allows.

Streamlit runs a fragment or a callback without the page around it, so each of them asks here
again, as do the download routes.
"""

from __future__ import annotations

import logging
from urllib.parse import urlencode

import streamlit as st

from core.auth.accounts import Role
from core.auth.sign_in import Access, User
from core.config.settings import SignInKind
from core.errors import HimuroError
from pages import services
from pages.auth import session

NOT_FOUND = "ページが見つかりません。アドレスを確認してください。"
ROLE_WORDS = {
    Role.ANYONE: "閲覧者",
    Role.OPERATOR: "運用者",
    Role.ADMINISTRATOR: "管理者",
}
_HOW_TO_OPEN = """\
管理者が次の手順で開きます。コンソールの再起動は要りません。

1. コンソールのサーバーで `python -m core hash-password` を実行し、\
パスワード（12文字以上）を入力します。
2. 出力された行を使って、アカウントのファイル（`HIMURO_ACCOUNTS`。\
既定はデータディレクトリの `accounts.toml`）に次のように書きます。

```toml
[accounts.tanaka]
role = "operator"   # 管理者は "administrator"
password = "$argon2id$..."
```
"""
_HOW_TO_OPEN_OIDC = """\
管理者が、アカウントのファイル（`HIMURO_ACCOUNTS`。既定はデータディレクトリの `accounts.toml`）に\
次のように書くと開きます。コンソールの再起動は要りません。

```toml
[[oidc]]
email = "tanaka@example.co.jp"   # または group = "グループの識別子"
role = "operator"                # 管理者は "administrator"
```
"""

_logger = logging.getLogger(__name__)


def user() -> User | None:
    """Return who is signed in in the current session; None for everybody else.

    Wrong settings or an unreadable key mean that nobody is: the reason goes to the console's
    log, and the pages themselves say what is wrong.
    """
    try:
        return session.user_of_page()
    except HimuroError as exc:
        _logger.warning("%s", exc)
        return None


def role() -> Role:
    """Return the role of the current session."""
    found = user()
    return found.role if found else Role.ANYONE


def is_operator() -> bool:
    """Return whether the current session may archive, restore and see runs."""
    return role() >= Role.OPERATOR


def is_administrator() -> bool:
    """Return whether the current session may do everything."""
    return role() >= Role.ADMINISTRATOR


def require_operator() -> None:
    """Let operators pass; others are offered to sign in, or see that there is no such page."""
    if not is_operator():
        closed(Role.OPERATOR)
        st.stop()


def require_administrator() -> None:
    """Let administrators pass; others as with ``require_operator``."""
    if not is_administrator():
        closed(Role.ADMINISTRATOR)
        st.stop()


def closed(needed: Role) -> None:
    """The page at an address that is for ``needed`` and not for the person who looks at it."""
    services.current()  # wrong settings explain themselves
    if user():
        not_found()
    else:
        offer(needed)


def not_found() -> None:
    """The page that others get at an address that is not for them."""
    st.title("ページが見つかりません", anchor=False)
    st.warning(NOT_FOUND)


def offer(needed: Role = Role.OPERATOR) -> None:
    """Offer to sign in, or say why nobody can at the moment; ``needed`` is whom it is for."""
    signin = services.current().signin
    access = signin.access()
    if access is Access.BROKEN:
        st.title("サインインできません", anchor=False)
        st.error(
            "アカウントのファイルに誤りがあるため、だれもサインインできません。"
            "管理者に連絡してください。",
            icon=":material/error:",
        )
        st.caption("誤りの場所と内容は、コンソールのログに書かれています。")
    elif access is Access.NO_ACCOUNTS:
        st.title("運用者のページはまだ開かれていません", anchor=False)
        oidc = signin.kind is SignInKind.OIDC
        st.markdown(_HOW_TO_OPEN_OIDC if oidc else _HOW_TO_OPEN)
    elif session.is_without_role():
        st.title("利用できません", anchor=False)
        st.text("サインインしていますが、このアカウントには役割がありません。")
        st.text("役割が必要なときは管理者に連絡してください。")
        st.button("別のアカウントを使う", key="signout", on_click=st.logout)
    else:
        st.title("サインインが必要です", anchor=False)
        who = "管理者" if needed is Role.ADMINISTRATOR else "運用者と管理者"
        st.text(f"このページは、サインインした{who}だけが使えます。")
        st.button("サインイン", key="signin", type="primary", on_click=_leave_to_sign_in)


def _leave_to_sign_in() -> None:
    if services.current().signin.kind is SignInKind.OIDC:
        st.login()
    else:
        session.leave_for("/signin?" + urlencode({"next": session.this_place()}))


def seat() -> str:
    """Return who works in the current session, for ``RunRequest.started_by``."""
    found = user()
    return found.name if found else ""
