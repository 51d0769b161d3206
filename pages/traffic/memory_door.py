"""Where memory is asked for before Streamlit takes it: for an upload and for a session.

Stands behind ``Doors``: whoever comes here may upload.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import HimuroError
from core.resources.memory_budget import MIB, MemoryBudgetError
from pages import services, uploads
from pages.base_path import base_path

MAX_UPLOAD = 26 * MIB
"""Bytes of one request with a list: what ``maxUploadSize`` lets through, and its frame."""
MAX_FILES, MAX_BYTES = 20, 80 * MIB
"""Number and bytes of the lists that one session may have sent and no check has taken."""
SESSION_BYTES = 400 * 1024
"""Bytes that one session counts: twice what an archive list of a hundred rows takes, measured."""
_TOO_MANY = (
    f"一度に送れる一覧は{MAX_FILES}個、合計{MAX_BYTES // MIB} MBまでです。"
    "不要な一覧を「×」で取り除くか、何回かに分けてください。"
)
_RETRY_SECONDS = "120"
_PAGES = frozenset(("", "archive", "restore", "runs", "health", "account"))


class MemoryDoor:
    """Refuses what the budget has no room for, with a sentence."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            memory = services.current().memory if scope["type"] != "lifespan" else None
        except HimuroError:  # wrong settings: the pages say so
            memory = None
        below = scope.get("path", "").removeprefix(base_path()).strip("/")
        if memory is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            try:
                reservation = memory.sessions.reserve(SESSION_BYTES)
            except MemoryBudgetError:
                await send({"type": "websocket.close", "code": 1013})
                return
            with reservation:
                await self._app(scope, receive, send)
        elif scope["method"] == "PUT" and below.startswith("_stcore/upload_file/"):
            await self._upload(scope, receive, send, session_id=below.split("/")[2])
        elif scope["method"] == "GET" and below in _PAGES:
            await self._page(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say so instead of a page that could only wait for its session."""
        app = self._app
        if not services.current().memory.sessions.has_room(SESSION_BYTES):
            app = _answer(str(MemoryBudgetError()), 503)
        await app(scope, receive, send)

    async def _upload(self, scope: Scope, receive: Receive, send: Send, *, session_id: str) -> None:
        length = Headers(scope=scope).get("content-length", "")
        # Without a length it may have as many as Streamlit takes.
        size = min(int(length), MAX_UPLOAD) if length.isdecimal() else MAX_UPLOAD
        files, held = uploads.of_session(session_id)
        if files >= MAX_FILES or held + size > MAX_BYTES:
            uploads.refuse(session_id, _TOO_MANY)
            await _answer(_TOO_MANY, 413)(scope, receive, send)
            return
        try:
            reservation = services.current().memory.uploads.reserve(size)
        except MemoryBudgetError as exc:
            uploads.refuse(session_id, str(exc))
            await _answer(str(exc), 503)(scope, receive, send)
            return
        with reservation:  # from then on Streamlit tells what it holds
            await self._app(scope, receive, send)


def _answer(sentence: str, status: int) -> ASGIApp:
    headers = {"Cache-Control": "no-store", "Retry-After": _RETRY_SECONDS}
    return PlainTextResponse(sentence, status, headers)
