"""``/signin`` and ``/signout``: two small pages without script, beside Streamlit.

A password must not travel through Streamlit's session state, and a cookie that scripts
cannot read can only be set by a response.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from core.auth.accounts import AccountsError
from core.auth.audit_log import Failure
from core.auth.devices import DEVICE_DAYS
from core.auth.passwords import BusyError
from core.auth.sign_in import Access, Attempt, SignIn
from core.config.settings import SignInKind
from core.errors import HimuroError, for_strangers
from pages import services
from pages.auth import cookies, forms, session

_logger = logging.getLogger(__name__)

_OWN_PLACE = re.compile(r"/|(?:/[A-Za-z0-9_-]+)+")
_QUERY = re.compile(r"[A-Za-z0-9_.~=&%+*-]*")
_MAX_LETTERS = 2000
_FIELDS = """<label>アカウント<input name="name" value="{name}" autocomplete="username"
 autocapitalize="none" spellcheck="false" maxlength="64" required {first}></label>
<label>パスワード<input name="password" type="password" autocomplete="current-password"
 maxlength="256" required {second}></label><input type="hidden" name="next" value="{next}">"""

_WRONG = "サインインできません。アカウントとパスワードを確認してください。"
_WAIT = (
    "失敗が続いたため、いまはサインインできません。しばらく（{}分ほど）待ってから、"
    "10分以内にもう一度サインインしてください。"
)
_STALE = "画面の有効期限が切れました。もう一度入力してください。"
_DONE = "サインアウトしました。"
_BROKEN = (
    "アカウントのファイルに誤りがあるため、だれもサインインできません。管理者に連絡してください。"
)
_NOBODY = "アカウントがまだありません。管理者に連絡してください。"


def own_place(wanted: str) -> str:
    r"""Return ``wanted`` when it is a place of this console, else the start page.

    What a browser might read as another site (``//``, ``\``, a scheme, a dot) is not in the
    alphabet.
    """
    path, mark, query = wanted[: _MAX_LETTERS + 1].partition("?")
    good = len(wanted) <= _MAX_LETTERS and _OWN_PLACE.fullmatch(path) and _QUERY.fullmatch(query)
    return path + mark + query if good else "/"


async def signin(request: Request) -> Response:
    """The form, and what became of it."""
    sent = await forms.fields(request) if request.method == "POST" else None
    return await run_in_threadpool(_explained, partial(_signin, request, sent))


async def signout(request: Request) -> Response:
    """A question, because no link may sign anybody out, and the end of the session."""
    sent = await forms.fields(request) if request.method == "POST" else None
    return await run_in_threadpool(_explained, partial(_signout, request, sent))


def _explained(answer: partial[Response]) -> Response:
    try:
        return answer()
    except HimuroError as exc:
        _logger.warning("%s", exc)
        return forms.sentence(for_strangers(exc), 503)


def _signin(request: Request, sent: Mapping[str, str] | None) -> Response:
    here = services.current().signin
    if here.kind is SignInKind.OIDC:
        return forms.to("/account")
    return _ask(request, here) if sent is None else _sign_in(request, here, sent)


def _ask(request: Request, here: SignIn) -> Response:
    wanted = own_place(request.query_params.get("next", "/"))
    if session.user_of_request(request):
        return forms.to(wanted)
    notes = {Access.BROKEN: _BROKEN, Access.NO_ACCOUNTS: _NOBODY}
    done = _DONE if "done" in request.query_params else ""
    response = forms.page(request, here.tokens, _form(wanted), notes.get(here.access(), done))
    if cookies.value_of(request.cookies, cookies.SESSION):
        cookies.forget(request, response, cookies.SESSION)
    return response


def _form(wanted: str, name: str = "") -> forms.Form:
    values = {
        "name": name[:64],
        "next": wanted,
        "first": "" if name else "autofocus",
        "second": "autofocus" if name else "",
    }
    return forms.Form("サインイン", "/signin", _FIELDS, values, "サインイン")


def _sign_in(request: Request, here: SignIn, sent: Mapping[str, str]) -> Response:
    wanted = own_place(sent.get("next", "/"))
    again = partial(forms.page, request, here.tokens, _form(wanted, sent.get("name", "")))
    if not forms.is_ours(request, here.tokens, sent):
        here.failed(Failure.FORM, session.client_of(request))
        return again(_STALE, 403)
    try:
        attempt = _attempt(request, here, sent)
    except AccountsError:
        return again(_BROKEN, 503)
    except BusyError as exc:
        return again(str(exc), 503)
    if attempt.token:
        response = forms.to(wanted)
        cookies.keep(request, response, cookies.SESSION, attempt.token)
        cookies.keep(request, response, cookies.DEVICE, attempt.device, DEVICE_DAYS)
        return response
    if attempt.wait:
        response = again(_WAIT.format(int(-(-attempt.wait // 60))), 429)
        response.headers["Retry-After"] = str(int(attempt.wait) + 1)
        return response
    return again(_WRONG, 403)


def _attempt(request: Request, here: SignIn, sent: Mapping[str, str]) -> Attempt:
    """Try name and password; who signs in ends the session this browser had before."""
    client = session.client_of(request)
    before = session.user_of_request(request)
    device = cookies.value_of(request.cookies, cookies.DEVICE)
    name, password = sent.get("name", ""), sent.get("password", "")
    browser = session.browser_of(request)
    attempt = here.sign_in(name, password, client, device, browser=browser)
    if attempt.token and before:
        here.sign_out(before, client)
    return attempt


def _signout(request: Request, sent: Mapping[str, str] | None) -> Response:
    here = services.current().signin
    form = forms.Form("サインアウト", "/signout", "", {}, "サインアウトする")
    if sent is None:
        return forms.page(request, here.tokens, form)
    if not forms.is_ours(request, here.tokens, sent):
        here.failed(Failure.FORM, session.client_of(request))
        return forms.page(request, here.tokens, form, _STALE, 403)
    user = session.user_of_request(request)
    if user:
        here.sign_out(user, session.client_of(request))
    if here.kind is SignInKind.OIDC:
        return forms.to("/auth/logout")  # Streamlit's own: its cookie, and the provider
    response = forms.to("/signin?done=1")
    cookies.forget(request, response, cookies.SESSION)
    return response
