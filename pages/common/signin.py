"""``/signin`` and ``/signout``: two small pages without script, beside Streamlit.

A password must not travel through Streamlit's session state, and a cookie that scripts
cannot read can only be set by a response.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from html import escape
from urllib.parse import parse_qsl, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from core.accounts import AccountsError
from core.errors import HimuroError
from core.passwords import BusyError
from core.settings import SignInKind
from core.signin import Access, Attempt, SignIn
from pages.common import services, session

_DEVICE, _FORM = "himuro_device", "himuro_form"
_DEVICE_DAYS = 180
_MOST_BYTES = 8192
_OWN_PLACE = re.compile(r"/|(?:/[A-Za-z0-9_-]+)+")
_QUERY = re.compile(r"[A-Za-z0-9_.~=&%+*-]*")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",  # without any, browsers send "Origin: null"
    "X-Content-Type-Options": "nosniff",
}
_PAGE = """<!doctype html>
<html lang="ja"><meta charset="utf-8"><meta name="robots" content="noindex">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - 氷室</title>
<style>
body {{ margin: 0; background: #fbfdff; color: #16283a; font: 15px/1.6 'Yu Gothic UI', Meiryo,
 'Hiragino Sans', 'Noto Sans CJK JP', sans-serif }}
main {{ box-sizing: border-box; max-width: 24rem; margin: 12vh auto 0; padding: 0 1.25rem }}
h1 {{ font-size: 1.5rem; margin: 0 0 1.25rem }}
label {{ display: block; margin-bottom: 1rem }}
input, button {{ box-sizing: border-box; width: 100%; padding: .55rem .7rem; font: inherit;
 border: 1px solid #7f97a8; border-radius: 4px; background: #fff; color: inherit }}
button {{ border: 0; background: #1f6f9f; color: #fff; font-weight: 600; cursor: pointer }}
:focus-visible {{ outline: 2px solid #1f6f9f; outline-offset: 2px }}
p {{ margin: 0 0 1rem }} p.note {{ padding: .6rem .8rem; border-radius: 4px; background: #eaf3f9 }}
p.wrong {{ background: #fdecea; color: #8a1c12 }} a {{ color: #1b6391 }}
</style>
<main><h1>{title}</h1>{note}{form}<p><br><a href="{home}">アーカイブ一覧へ</a></p></main></html>
"""
_SIGN_IN = """<form method="post" action="{action}">
<label>アカウント<input name="name" value="{name}" autocomplete="username" autocapitalize="none"
 spellcheck="false" maxlength="64" required{first}></label>
<label>パスワード<input name="password" type="password" autocomplete="current-password"
 maxlength="256" required{second}></label>
<input type="hidden" name="next" value="{next}"><input type="hidden" name="token" value="{token}">
<button>サインイン</button></form>"""
_SIGN_OUT = """<form method="post" action="{action}">
<input type="hidden" name="token" value="{token}"><button>サインアウト</button></form>"""

_WRONG = "サインインできません。アカウントとパスワードを確認してください。"
_STALE = "画面の有効期限が切れました。もう一度入力してください。"
_DONE = "サインアウトしました。"
_BROKEN = (
    "アカウントのファイルに誤りがあるため、だれもサインインできません。管理者に連絡してください。"
)
_NOBODY = "アカウントがまだありません。管理者に連絡してください。"


def own_place(wanted: str) -> str:
    """Return ``wanted`` when it is a place of this console, else the start page.

    Everything that a browser might read as another site (``//``, ``\\``, a scheme, a dot) is
    not in the alphabet.
    """
    path, mark, query = wanted.partition("?")
    good = _OWN_PLACE.fullmatch(path) and _QUERY.fullmatch(query) and len(wanted) <= 2000
    return path + mark + query if good else "/"


async def signin(request: Request) -> Response:
    """The form, and what became of it."""
    try:
        here = services.current().signin
        if here.kind is SignInKind.OIDC:
            return _to("/account")
        if request.method == "POST":
            return await _sign_in(request, here)
        return await run_in_threadpool(_ask, request, here)
    except HimuroError as exc:
        return _plain(str(exc), 503)


async def signout(request: Request) -> Response:
    """A question, because no link may sign anybody out, and the end of the session."""
    try:
        here = services.current().signin
        if request.method == "POST":
            return await _sign_out(request, here)
        page = {"action": session.address("/signout"), "token": "{token}"}
        return await run_in_threadpool(_form_page, request, here, "サインアウト", _SIGN_OUT, page)
    except HimuroError as exc:
        return _plain(str(exc), 503)


def _ask(request: Request, here: SignIn) -> Response:
    wanted = own_place(request.query_params.get("next", "/"))
    if session.user_of_request(request):
        return _to(wanted)
    response = _sign_in_page(request, here, wanted, note=_first_note(request, here))
    if session.COOKIE in request.cookies:
        _forget(response)
    return response


def _first_note(request: Request, here: SignIn) -> str:
    notes = {Access.BROKEN: _BROKEN, Access.NO_ACCOUNTS: _NOBODY}
    done = _DONE if "done" in request.query_params else ""
    return notes.get(here.access(), done)


async def _sign_in(request: Request, here: SignIn) -> Response:
    form = await _fields(request)
    wanted = own_place(form.get("next", "/"))
    name = form.get("name", "")
    if not _is_ours(request, here, form):
        return _sign_in_page(request, here, wanted, name=name, note=_STALE, status=403)
    try:
        attempt = await run_in_threadpool(_attempt, request, here, form)
    except (AccountsError, BusyError) as exc:
        note = _BROKEN if isinstance(exc, AccountsError) else str(exc)
        return _sign_in_page(request, here, wanted, name=name, note=note, status=503)
    if attempt.token:
        response = _to(wanted)
        _set(request, response, session.COOKIE, attempt.token)
        _set(request, response, _DEVICE, attempt.device, days=_DEVICE_DAYS)
        return response
    if attempt.wait:
        minutes = int(-(-attempt.wait // 60))
        note = (
            "失敗が続いたため、いまはサインインできません。"
            f"{minutes}分ほど待ってから、もう一度お試しください。"
        )
        response = _sign_in_page(request, here, wanted, name=name, note=note, status=429)
        response.headers["Retry-After"] = str(int(attempt.wait) + 1)
        return response
    return _sign_in_page(request, here, wanted, name=name, note=_WRONG, status=403)


def _attempt(request: Request, here: SignIn, form: Mapping[str, str]) -> Attempt:
    client = session.client_of(request)
    before = session.user_of_request(request)
    device = request.cookies.get(_DEVICE, "")
    attempt = here.sign_in(form.get("name", ""), form.get("password", ""), client, device)
    if attempt.token and before:
        here.sign_out(before, client)
    return attempt


async def _sign_out(request: Request, here: SignIn) -> Response:
    form = await _fields(request)
    if not _is_ours(request, here, form):
        return _plain("サインアウトできませんでした。画面を開き直してください。", 403)

    def end() -> None:
        user = session.user_of_request(request)
        if user:
            here.sign_out(user, session.client_of(request))

    await run_in_threadpool(end)
    if here.kind is SignInKind.OIDC:
        return _to("/auth/logout")  # Streamlit's own: its cookie, and the provider
    response = _to("/signin?done=1")
    _forget(response)
    return response


async def _fields(request: Request) -> dict[str, str]:
    """Return the fields of a form; none when it is too large or not a form."""
    body = b""
    async for block in request.stream():
        body += block
        if len(body) > _MOST_BYTES:
            return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return {}
    try:
        return dict(parse_qsl(body.decode("ascii"), errors="strict", max_num_fields=10))
    except ValueError:
        return {}


def _is_ours(request: Request, here: SignIn, form: Mapping[str, str]) -> bool:
    """Return whether a form was filled in on our own page in this browser.

    The browser says so (``Origin``, ``Sec-Fetch-Site``) unless it is old, and the form holds
    the seal of a random value that only this browser has as a cookie.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if origin is not None and urlsplit(origin).netloc.lower() != _host(request):
        return False
    if site is not None and site not in ("same-origin", "none"):
        return False
    value = request.cookies.get(_FORM, "")
    return bool(value) and here.seals.open("form.1", form.get("token", "")) == value


def _host(request: Request) -> str:
    return request.headers.get("host", "").lower()


def _sign_in_page(
    request: Request,
    here: SignIn,
    wanted: str,
    *,
    name: str = "",
    note: str = "",
    status: int = 200,
) -> Response:
    fields = {
        "action": session.address("/signin"),
        "name": escape(name[:64]),
        "next": escape(wanted),
        "first": "" if name else " autofocus",
        "second": " autofocus" if name else "",
    }
    return _form_page(request, here, "サインイン", _SIGN_IN, fields, note=note, status=status)


def _form_page(
    request: Request,
    here: SignIn,
    title: str,
    form: str,
    fields: Mapping[str, str],
    *,
    note: str = "",
    status: int = 200,
) -> Response:
    """Return a page with a form that only this browser can send."""
    value = request.cookies.get(_FORM, "")
    if not re.fullmatch(r"[A-Za-z0-9_-]{43}", value):
        value = secrets.token_urlsafe(32)
    token = here.seals.seal("form.1", value)
    kind = "note" if status == 200 else "note wrong"
    shown = f'<p class="{kind}" role="alert">{escape(note)}</p>' if note else ""
    response = HTMLResponse(
        _PAGE.format(
            title=title,
            note=shown,
            form=form.format(**{**fields, "token": token}),
            home=session.address("/"),
        ),
        status,
        _HEADERS,
    )
    _set(request, response, _FORM, value)
    return response


def _plain(text: str, status: int) -> Response:
    return HTMLResponse(f'<!doctype html><meta charset="utf-8">{escape(text)}', status, _HEADERS)


def _to(place: str) -> Response:
    return RedirectResponse(session.address(place), 303, {"Cache-Control": "no-store"})


def _set(
    request: Request, response: Response, name: str, value: str, days: int | None = None
) -> None:
    """Set a cookie that no script reads and no other site sends along.

    ``Lax``: a link in a mail to a run's file arrives signed in; whatever changes something is
    a POST with a token. Without ``days`` it ends with the browser. ``Secure`` when the
    request came over TLS, which uvicorn knows from a trusted proxy (``FORWARDED_ALLOW_IPS``).
    """
    response.set_cookie(
        name,
        value,
        max_age=None if days is None else days * 86400,
        path=session.base() or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def _forget(response: Response) -> None:
    response.delete_cookie(session.COOKIE, path=session.base() or "/")
