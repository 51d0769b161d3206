"""Forms outside Streamlit: the page, its cookie, and whether what came back is ours."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from html import escape
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from core.auth.signed_tokens import SignedTokens
from pages.auth import cookies
from pages.base_path import at

_MAX_BYTES = 8192
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
<main><h1>{title}</h1>{note}
<form method="post" action="{action}">{fields}<input type="hidden" name="token" value="{token}">
<button>{button}</button></form>
<p><br><a href="{home}">アーカイブ一覧へ</a></p></main></html>
"""


class Form(NamedTuple):
    """A page with one form. All texts are plain; ``fields`` is HTML with ``{names}``."""

    title: str
    path: str
    """Where it is sent, below the sub-path."""
    fields: str
    values: Mapping[str, str]
    button: str


def page(
    request: Request, tokens: SignedTokens, form: Form, note: str = "", status: int = 200
) -> Response:
    """Return a page with a form that only this browser can send, and only from this page.

    Raises ``FatalError`` when the key can be neither read nor written.
    """
    value = cookies.value_of(request.cookies, cookies.FORM)
    if not re.fullmatch(r"[A-Za-z0-9_-]{43}", value):
        value = secrets.token_urlsafe(32)
    kind = "note" if status == 200 else "note wrong"
    shown = f'<p class="{kind}" role="alert">{escape(note)}</p>' if note else ""
    html = _PAGE.format(
        title=escape(form.title),
        note=shown,
        action=at(form.path),
        fields=form.fields.format(**{k: escape(v) for k, v in form.values.items()}),
        token=tokens.seal("form.1", value),
        button=escape(form.button),
        home=at("/"),
    )
    response = HTMLResponse(html, status, _HEADERS)
    cookies.keep(request, response, cookies.FORM, value)
    return response


def sentence(text: str, status: int) -> Response:
    """Return a page that holds nothing but a sentence."""
    return HTMLResponse(f'<!doctype html><meta charset="utf-8">{escape(text)}', status, _HEADERS)


def to(place: str) -> Response:
    """Send the browser to one of the console's own places."""
    return RedirectResponse(at(place), 303, {"Cache-Control": "no-store"})


async def fields(request: Request) -> dict[str, str]:
    """Return the fields of a form; none when it is too large or not a form."""
    body = b""
    async for block in request.stream():
        body += block
        if len(body) > _MAX_BYTES:
            return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return {}
    try:
        return dict(parse_qsl(body.decode("ascii"), errors="strict", max_num_fields=10))
    except ValueError:
        return {}


def is_ours(request: Request, tokens: SignedTokens, sent: Mapping[str, str]) -> bool:
    """Return whether a form was filled in on our own page in this browser.

    The browser says so (``Origin``, ``Sec-Fetch-Site``) unless it is old, and the form holds
    the seal of a random value that only this browser has as a cookie.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    host = request.headers.get("host", "").lower()
    if origin is not None and _netloc(origin) != host:
        return False
    if site is not None and site not in ("same-origin", "none"):
        return False
    value = cookies.value_of(request.cookies, cookies.FORM)
    return bool(value) and tokens.open("form.1", sent.get("token", "")) == value


def _netloc(origin: str) -> str:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return parts.netloc.lower() if parts.scheme in ("http", "https") else ""
