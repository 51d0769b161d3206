"""What every request passes: closed doors, and headers that bind the browser to this console.

The middleware stands before Streamlit, whose own checks are either missing or too friendly
for a company network; each exception below says what Streamlit 1.67 does without it.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.auth.accounts import Role
from core.errors import HimuroError
from pages.auth import cookies, guard, session
from pages.base_path import base_path

PRIVATE = {"Cache-Control": "no-store"}

_OPEN = frozenset(("health", "host-config", "stream", "upload_file"))
"""All that the front end asks for below ``/_stcore``. What else is there: ``metrics`` answers
anybody with numbers of sessions; ``agent`` describes how programs drive the console, and lets
them when a setting is wrong; ``bidi-components`` and ``script-health-check`` are not used."""

_UNUSED = frozenset(("media", "component"))
"""At the top: what Streamlit keeps for ``st.download_button`` and ``st.image``, for whoever
knows the address and as long as a session lives, and files of components. No page uses them:
files go through routes of our own, which ask who is there."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Addresses of searches name folders and people; they stay in this console.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), "
    "payment=(), usb=(), serial=()",
}
_YEAR = 31_536_000
"""Seconds for which a browser remembers to use TLS only."""

_logger = logging.getLogger(__name__)


class Doors:
    """Closes what Streamlit leaves open, and puts security headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("websocket", "http"):
            cookies.sift(scope)
        if scope["type"] == "websocket":
            if _is_foreign(Headers(scope=scope)):
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            over_tls = scope["scheme"] == "https"

            async def send_guarded(message: Message) -> None:
                if message["type"] == "http.response.start":
                    session.count_failed_callback(Request(scope), Headers(scope=message))
                    _protect(MutableHeaders(scope=message), over_tls=over_tls)
                await send(message)

            app: ASGIApp = self._app
            if await _is_closed(Request(scope)):
                app = PlainTextResponse(guard.NOT_FOUND, 404, PRIVATE)
            await app(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send)


def _is_foreign(headers: Headers) -> bool:
    """Return whether a WebSocket is opened by a page of another origin.

    Streamlit would let pages of ``localhost`` pass, and to judge any other it asks a public
    address service what this machine is called outside.
    """
    origins, hosts = headers.getlist("origin"), headers.getlist("host")
    if not origins:  # not a browser
        return False
    if len(origins) != 1 or len(hosts) != 1:
        return True
    try:
        origin = urlsplit(origins[0])
    except ValueError:
        return True
    return origin.scheme not in ("http", "https") or origin.netloc.lower() != hosts[0].lower()


async def _is_closed(request: Request) -> bool:
    path = request.url.path
    parts = [part for part in path.split("/") if part]
    if "_stcore" in parts:
        at = parts.index("_stcore")
        name = parts[at + 1] if len(parts) > at + 1 else ""
        if name not in _OPEN:
            return True
        # Uploads are taken from anybody with a session, also one whose pages hold no uploader.
        return name == "upload_file" and await run_in_threadpool(_has_no_uploads, request)
    below = path.removeprefix(base_path()).lstrip("/")
    return below.partition("/")[0] in _UNUSED


def _has_no_uploads(request: Request) -> bool:
    try:
        return session.role_of_request(request) < Role.OPERATOR
    except HimuroError as exc:
        _logger.warning("%s: %s", request.url.path, exc)
        return True


def _protect(headers: MutableHeaders, *, over_tls: bool) -> None:
    """Complete the headers of an answer; a policy that a route set for itself stays."""
    for name, value in _HEADERS.items():
        headers[name] = value
    headers.setdefault("Content-Security-Policy", _policy())
    # Streamlit names an origin that may read answers with cookies, whoever asks. Pages and
    # files come from one origin: nobody else has to read anything.
    for name in [name for name in headers if name.lower().startswith("access-control-")]:
        del headers[name]
    if over_tls:
        headers["Strict-Transport-Security"] = f"max-age={_YEAR}"
        _secure_cookies(headers)


def _secure_cookies(headers: MutableHeaders) -> None:
    """Add ``Secure`` where Streamlit, which knows nothing of the TLS before it, left it out."""
    cookies = headers.getlist("set-cookie")
    del headers["set-cookie"]
    for cookie in cookies:
        flags = {part.strip().lower() for part in cookie.split(";")[1:]}
        headers.append("set-cookie", cookie if "secure" in flags else f"{cookie}; Secure")


@lru_cache(maxsize=1)
def _policy() -> str:
    """Return the Content-Security-Policy with which Streamlit's front end works.

    Its styles are made by scripts (``unsafe-inline``); its one inline script is named by its
    hash. Nothing may be fetched from, sent to, or framed by another host.
    """
    page = Path(st.__file__).parent / "static" / "index.html"
    scripts = re.findall(r"<script>(.*?)</script>", page.read_text("utf-8"), re.DOTALL)
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    rules = (
        "default-src 'none'",
        f"script-src 'self' {hashes}".strip(),
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
    return "; ".join(rules)


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
