"""The console's own cookies: what they are called, and which of them count.

Over TLS their names begin with ``__Host-``: browsers take such a cookie only from this very host,
over TLS, and for all of it. One that another host of the domain, or somebody on the line before
TLS, has planted under the plain name is taken out of the request at the door.

A ``__Host-`` cookie is for all paths. Two consoles below sub-paths of one host therefore have
names of their own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from pages.base_path import base_path

Name = Literal["himuro_session", "himuro_device", "himuro_form"]
SESSION: Name = "himuro_session"
DEVICE: Name = "himuro_device"
FORM: Name = "himuro_form"

_OURS = re.compile(r"(?:__host-)?himuro_(?:session|device|form)", re.IGNORECASE)
_HOST = "__Host-"


def value_of(cookies: Mapping[str, str], name: Name) -> str:
    """Return a cookie of ours as the browser sent it; empty without one.

    The door has left at most one of its two names.
    """
    return cookies.get(_over_tls(name)) or cookies.get(name, "")


def keep(
    request: Request, response: Response, name: Name, value: str, days: int | None = None
) -> None:
    """Set a cookie that no script reads and no other site sends along.

    ``Lax``: a link in a mail to a run's file arrives signed in; whatever changes something is
    a POST with a token. Without ``days`` it ends with the browser. ``Secure`` when the
    request came over TLS, which uvicorn knows from a trusted proxy (``FORWARDED_ALLOW_IPS``).
    """
    tls = request.url.scheme == "https"
    response.set_cookie(
        _over_tls(name) if tls else name,
        value,
        max_age=None if days is None else days * 86400,
        path="/" if tls else base_path() or "/",
        secure=tls,
        httponly=True,
        samesite="lax",
    )


def forget(request: Request, response: Response, name: Name) -> None:
    """Take a cookie back; browsers let only a secure answer touch a ``__Host-`` one."""
    keep(request, response, name, "", days=0)


def sift(scope: Scope) -> None:
    """Take out of a request (HTTP or WebSocket) what stands under a name of ours and does not
    count: over TLS the plain names, without it the others, and whatever is there twice."""
    sent = [value.decode("latin-1") for header, value in scope["headers"] if header == b"cookie"]
    if not any("himuro_" in value for value in sent):
        return
    kept = _sifted("; ".join(sent), tls=scope["scheme"] in ("https", "wss"))
    others = [(header, value) for header, value in scope["headers"] if header != b"cookie"]
    scope["headers"] = [*others, (b"cookie", kept.encode("latin-1"))]


def _sifted(header: str, *, tls: bool) -> str:
    """Return a Cookie header without those cookies of ours that do not count.

    It is split as Starlette splits it, which strips every kind of blank around a name: a cookie
    that Starlette reads must not pass here under another name.
    """
    parts = header.split(";")
    names = Counter(map(_name, parts))

    def counts(part: str) -> bool:
        name = _name(part)
        if not _OURS.match(name):
            return True
        plain = part.partition("=")[0].strip(" ") == name
        return plain and names[name] == 1 and name.startswith(_HOST) == tls

    return ";".join(filter(counts, parts))


def _name(part: str) -> str:
    name, equals, _value = part.partition("=")
    return name.strip() if equals else ""


def _over_tls(name: Name) -> str:
    """Return the name over TLS, with the sub-path in it where there is one."""
    below = re.sub(r"[^A-Za-z0-9]", lambda sign: f"_{ord(sign[0]):x}", base_path().strip("/"))
    return f"{_HOST}{name}" + (f"-{below}" if below else "")
