"""Who may work: until there is a sign-in, whoever sits at the machine itself.

Streamlit runs a fragment or a callback without the page around it, so each of them asks here
again, as do the download routes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

import streamlit as st

LOOPBACK = "127.0.0.1"
NOT_FOUND = "ページが見つかりません。アドレスを確認してください。"

_FROM_ELSEWHERE = frozenset(
    ("forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip")
)
"""Headers, beside ``x-forwarded-*``, that a proxy adds: the client is then somebody else."""


def is_local(client: str | None, headers: Iterable[tuple[str, str]]) -> bool:
    """Return whether a request comes from a browser on this machine, without a proxy.

    ``client`` is the address of the connection. The name asked for must be a loopback name
    too: any web site may point its own name at 127.0.0.1 (DNS rebinding). uvicorn replaces
    the client by what ``X-Forwarded-For`` says when the proxy is local; the mere presence of
    such a header is therefore a refusal.
    """
    hosts, origins = [], []
    for name, value in headers:
        lower = name.lower()
        if lower in _FROM_ELSEWHERE or lower.startswith("x-forwarded-"):
            return False
        if lower == "host":
            hosts.append(value)
        elif lower == "origin":
            origins.append(value)
    if client is None or not _is_loopback(client) or not hosts:
        return False
    return all(map(_names_loopback, hosts)) and all(
        urlsplit(origin).scheme in ("http", "https") and _names_loopback(urlsplit(origin).netloc)
        for origin in origins
    )


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    # A socket that listens on both families sees IPv4 clients in this form.
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def _names_loopback(host: str) -> bool:
    """Return whether ``name[:port]`` is this machine and nothing else."""
    try:
        parts = urlsplit(f"//{host}")
        name, _port = parts.hostname, parts.port
    except ValueError:
        return False
    if not name or parts.username is not None or parts.path or parts.query or parts.fragment:
        return False
    return name == "localhost" or _is_loopback(name)


def is_operator() -> bool:
    """Return whether the browser of the current session may work.

    ``st.context.ip_address`` is None for 127.0.0.1 and ::1, and also when nobody is connected
    any more; then there is no ``Host`` header either.
    """
    headers = st.context.headers
    pairs = [(name, value) for name in headers for value in headers.get_all(name)]
    return is_local(st.context.ip_address or LOOPBACK, pairs)


def require_operator() -> None:
    """Let operators pass; everybody else sees that there is no such page."""
    if not is_operator():
        not_found()
        st.stop()


def is_administrator() -> bool:
    """Return whether the browser of the current session may see how the system stands."""
    return is_operator()


def require_administrator() -> None:
    """Let administrators pass; everybody else sees that there is no such page."""
    if not is_administrator():
        not_found()
        st.stop()


def not_found() -> None:
    """The page that others get at an address that is not for them."""
    st.title("ページが見つかりません", anchor=False)
    st.warning(NOT_FOUND)


def seat() -> str:
    """Return where the browser of the current session sits, for ``RunRequest.started_by``."""
    return f"ブラウザー（{st.context.ip_address or LOOPBACK}）"
