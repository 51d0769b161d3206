"""Where the console stands below its host name: ``server.baseUrlPath``, for a sub-path.

Streamlit puts it before its own addresses only; ours are put there here.
"""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st
from starlette.routing import Route


def base_path() -> str:
    """Return ``/himuro`` for a console below that path, and an empty text for one at the root."""
    path = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{path}" if path else ""


def at(address: str) -> str:
    """Return an address of ours (``/files/…``) as a browser asks for it."""
    return base_path() + address


def based(routes: Iterable[Route]) -> list[Route]:
    """Return the routes, and for a console below a sub-path each of them there as well.

    Both, because health checks come from the machine itself and know no sub-path.
    """
    here = list(routes)
    below = base_path()
    if not below:
        return here
    return here + [Route(below + r.path, r.endpoint, methods=list(r.methods or ())) for r in here]
