"""Who is at the other end: a cookie, or the claims of an identity provider, to a ``User``.

Pages read the cookies with which their WebSocket was opened. Nothing is remembered: every
run of the script, every fragment, callback and route asks again, so that a right that was
taken away is gone at once, in open tabs too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode, urlsplit

import streamlit as st
from starlette.datastructures import Headers
from starlette.requests import Request
from streamlit.auth_util import get_cookie_with_chunks, get_origin_from_redirect_uri
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.secrets import secrets_singleton
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from core.auth import user_agents
from core.auth.accounts import Role
from core.auth.audit_log import Failure
from core.auth.sign_in import SignIn, User
from core.config.settings import SignInKind
from core.errors import HimuroError
from pages import services
from pages.auth import cookies
from pages.base_path import at, base_path

_LOOPBACK = "127.0.0.1"


# Routes


def client_of(request: Request) -> str:
    """Return the address a request comes from; uvicorn has looked behind trusted proxies."""
    return request.client.host if request.client else ""


def browser_of(request: Request) -> str:
    """Return which browser a request says it comes from, in words."""
    return user_agents.in_words(request.headers.get("User-Agent", ""))


def user_of_request(request: Request) -> User | None:
    """Return who sent a request. Raises ``HimuroError`` when that cannot be found out."""
    signin, client = services.current().signin, client_of(request)
    if signin.kind is not SignInKind.OIDC:
        return _user_of_cookie(signin, request.cookies, client)
    claims = _claims_of_cookies(request.cookies)
    if claims:
        return signin.user_of_claims(claims, client, browser_of(request))
    if request.cookies.get(USER_COOKIE_NAME):
        signin.failed(Failure.OIDC, client)  # forged, or for another address of the console
    return None


def role_of_request(request: Request) -> Role:
    user = user_of_request(request)
    return user.role if user else Role.ANYONE


def count_failed_callback(request: Request, answer: Headers) -> None:
    """Count a return from the identity provider that signed nobody in.

    Streamlit answers all of them in the same way. After signing out the provider comes back as
    well, with nothing in its hands.
    """
    if not request.url.path.endswith("/oauth2callback") or not request.url.query:
        return
    pairs = [line.partition(";")[0].partition("=") for line in answer.getlist("set-cookie")]
    if not any(name == USER_COOKIE_NAME and value.strip('"') for name, _, value in pairs):
        with suppress(HimuroError):  # a console that is not set up says so elsewhere
            services.current().signin.failed(Failure.OIDC, client_of(request))


def _user_of_cookie(signin: SignIn, sent: Mapping[str, str], client: str) -> User | None:
    token = cookies.value_of(sent, cookies.SESSION)
    return signin.user(token, client) if token else None


def _claims_of_cookies(sent: Mapping[str, str]) -> dict[str, Any]:
    """Return the claims in the cookie that ``st.login`` left, as ``st.user`` has them.

    Routes cannot ask ``st.user``. Read as Streamlit reads it: its signature, its pieces, and
    the origin it was made for.
    """
    secret = get_cookie_secret()

    def one(name: str) -> bytes | None:
        value = sent.get(name, "")
        try:
            return decode_signed_value(secret, name, value.encode("latin-1"))
        except UnicodeEncodeError:
            return None

    whole = get_cookie_with_chunks(one, USER_COOKIE_NAME)
    try:
        claims = json.loads(whole) if whole else {}
    except ValueError:
        return {}
    if not isinstance(claims, dict) or claims.pop("origin", None) != get_origin_from_redirect_uri():
        return {}
    return claims if claims.get("is_logged_in") is True else {}


def secrets() -> list[str]:
    """Return what Streamlit keeps secret: the key of its cookies, what a provider knows us by."""
    found = [get_cookie_secret()]
    if secrets_singleton.load_if_toml_exists():
        left: list[Any] = [secrets_singleton.get("auth")]
        while left:
            section = left.pop()
            if isinstance(section, Mapping):
                left += section.values()
                found += [str(v) for name, v in section.items() if "secret" in str(name)]
    return found


# Pages


def client_of_page() -> str:
    """Return the address of the browser; Streamlit says None for this machine."""
    return st.context.ip_address or _LOOPBACK


def user_of_page() -> User | None:
    """Return who looks at the page. Raises ``HimuroError`` when that cannot be found out."""
    signin, client, sent = services.current().signin, client_of_page(), st.context.cookies
    if signin.kind is not SignInKind.OIDC:
        return _user_of_cookie(signin, sent, client)
    claims = _claims_of_page()
    if claims:
        browser = user_agents.in_words(st.context.headers.get("User-Agent") or "")
        return signin.user_of_claims(claims, client, browser)
    # ``st.logout`` empties ``st.user`` before the browser lets go of a good cookie.
    if sent.get(USER_COOKIE_NAME) and not _claims_of_cookies(sent):
        signin.failed(Failure.OIDC, client)
    return None


def is_without_role() -> bool:
    """Return whether the identity provider knows who this is, and nobody gave him a role."""
    signin = services.current().signin
    claims = _claims_of_page() if signin.kind is SignInKind.OIDC else {}
    return bool(claims) and signin.role_of_claims(claims) is Role.ANYONE


def _claims_of_page() -> dict[str, Any]:
    claims = st.user.to_dict()
    return claims if claims.get("is_logged_in") is True else {}


def this_place() -> str:
    """Return path and query of the page, below the sub-path: where to come back to."""
    path = urlsplit(st.context.url or "").path.removeprefix(base_path()) or "/"
    query = urlencode(st.query_params.to_dict())
    return f"{path}?{query}" if query else path


def leave_for(path: str) -> None:
    """Make the browser open one of the console's own routes, in the same tab.

    The message is the one by which ``st.login`` leaves; links of Streamlit open a new tab and
    leave the old one behind with its old cookies.
    """
    context = get_script_run_ctx()
    if context:
        message = ForwardMsg()
        message.auth_redirect.url = at(path)
        context.enqueue(message)
