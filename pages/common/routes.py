"""What is served beside Streamlit: downloads, the closed doors, start and end of the console."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain, islice
from pathlib import PurePath
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.accounts import Role
from core.csvfile import write_rows
from core.errors import HimuroError
from core.model import Problem, RunState
from pages.common import guard, services, session, signin, words

_PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_BATCH = 5000
"""Rows handed over at once: one at a time is a thousand times slower (FACTS)."""

_logger = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(_app: object) -> AsyncIterator[None]:
    """Open the job queue at the start and drain it at the end.

    A console whose settings are wrong starts all the same: its pages say what to do.
    """
    try:
        await asyncio.to_thread(lambda: services.current().open_jobs())
    except HimuroError as exc:
        _logger.error("%s", exc)  # noqa: TRY400
    try:
        yield
    finally:
        await asyncio.to_thread(services.close)


def file_address(run_id: str, name: str) -> str:
    return session.address(f"/files/{run_id}/{name}")


def problems_address(draft_id: str) -> str:
    return session.address(f"/drafts/{draft_id}/problems.csv")


Endpoint = Callable[[Request], Response | None]


def _operators_only(endpoint: Endpoint) -> Callable[..., Response]:
    """Serve ``endpoint`` to operators; None, an error, or anybody else is a 404."""
    return _only(Role.OPERATOR, endpoint)


def _administrators_only(endpoint: Endpoint) -> Callable[..., Response]:
    """Serve ``endpoint`` to administrators; None, an error, or anybody else is a 404."""
    return _only(Role.ADMINISTRATOR, endpoint)


def _only(role: Role, endpoint: Endpoint) -> Callable[..., Response]:
    def guarded(request: Request) -> Response:
        response = None
        try:
            if session.role_of_request(request) >= role:
                response = endpoint(request)
        except HimuroError as exc:
            _logger.warning("%s: %s", request.url.path, exc)
        return response or PlainTextResponse(guard.NOT_FOUND, 404, _PRIVATE)

    return guarded


def _run_file(request: Request) -> Response | None:
    """A file of a run that has ended; while it runs, its files still grow."""
    jobs = services.current().jobs
    run_id, name = request.path_params["run_id"], request.path_params["name"]
    record, path = jobs.record(run_id), jobs.file(run_id, name)
    if record is None or record.state is RunState.RUNNING or path is None:
        return None
    called = PurePath(name)
    return FileResponse(
        path,
        filename=f"{called.stem}_{record.run_id}{called.suffix}",
        media_type="application/octet-stream",
        headers=_PRIVATE,
    )


def _problems(request: Request) -> Response | None:
    """All problems of a check as CSV."""
    draft = services.current().jobs.draft(request.path_params["draft_id"])
    if draft is None or draft.plan is None:
        return None
    name = f"problems_{draft.run_id or draft.draft_id}.csv"
    headers = {**_PRIVATE, "Content-Disposition": f'attachment; filename="{name}"'}
    content = csv_blocks(draft.plan.problems)
    return StreamingResponse(content, media_type="text/csv; charset=utf-8", headers=headers)


def csv_blocks(problems: Sequence[Problem]) -> Iterator[bytes]:
    """Yield problems as a CSV that Excel opens: BOM first, no cell that runs as a formula."""
    rows: Iterator[Sequence[Any]] = chain(
        [words.PROBLEM_HEADER], (words.problem_row(problem) for problem in problems)
    )
    mark = "\ufeff"
    while block := list(islice(rows, _BATCH)):
        text = io.StringIO(newline="")
        write_rows(text, block)
        yield (mark + text.getvalue()).encode("utf-8", "backslashreplace")
        mark = ""


class Doors:
    """Closes what Streamlit leaves open, and forbids other sites to frame the console.

    ``/_stcore/metrics`` answers anybody; the upload address takes files from anybody with a
    session, also one whose pages hold no uploader.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-frame-options", b"DENY")]
            await send(message)

        app: ASGIApp = self._app
        if await _is_closed(Request(scope)):
            app = PlainTextResponse(guard.NOT_FOUND, 404, _PRIVATE)
        await app(scope, receive, send_unframed)


async def _is_closed(request: Request) -> bool:
    parts = [part for part in request.url.path.split("/") if part]
    if "_stcore" not in parts:
        return False
    if "upload_file" in parts:
        return await run_in_threadpool(_has_no_uploads, request)
    return "metrics" in parts


def _has_no_uploads(request: Request) -> bool:
    try:
        return session.role_of_request(request) < Role.OPERATOR
    except HimuroError as exc:
        _logger.warning("%s: %s", request.url.path, exc)
        return True


def _route(path: str, endpoint: Callable[..., object], *methods: str) -> Route:
    """A route at an address of the console; Streamlit moves only its own below a sub-path."""
    return Route(session.address(path), endpoint, methods=methods)


ROUTES = [
    _route("/files/{run_id}/{name}", _operators_only(_run_file), "GET"),
    _route("/drafts/{draft_id}/problems.csv", _operators_only(_problems), "GET"),
    _route("/signin", signin.signin, "GET", "POST"),
    _route("/signout", signin.signout, "GET", "POST"),
]
MIDDLEWARE = [Middleware(Doors)]
