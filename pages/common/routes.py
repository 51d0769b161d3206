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

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.csvfile import write_rows
from core.errors import HimuroError
from core.findings import in_order, lines, summary
from core.model import Problem, RunState
from pages.common import guard, services, words

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
    return f"/files/{run_id}/{name}"


def problems_address(draft_id: str) -> str:
    return f"/drafts/{draft_id}/problems.csv"


CHECKUP_ADDRESS = "/checkup/report.txt"


def _operators_only(endpoint: Callable[[Request], Response | None]) -> Callable[..., Response]:
    """Serve ``endpoint`` to operators; None, an error, or anybody else is a 404."""

    def guarded(request: Request) -> Response:
        client = request.client.host if request.client else None
        response = None
        if guard.is_local(client, request.headers.items()):
            try:
                response = endpoint(request)
            except HimuroError as exc:
                _logger.warning("%s: %s", request.url.path, exc)
        return response or PlainTextResponse(guard.NOT_FOUND, 404, _PRIVATE)

    return guarded


_administrators_only = _operators_only


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


def _checkup(_request: Request) -> Response | None:
    """The last check-up as text."""
    last = services.checkup().view()
    if last.finished_at is None:
        return None
    when = last.finished_at.astimezone(services.timezone())
    findings = in_order(last.findings)
    text = "\n".join(
        [
            f"氷室 点検結果 {when:%Y/%m/%d %H:%M:%S %Z}",
            summary(findings),
            "",
            *map(lines, findings),
            "",
        ]
    )
    name = f"checkup_{when:%Y%m%d-%H%M%S}.txt"
    headers = {**_PRIVATE, "Content-Disposition": f'attachment; filename="{name}"'}
    content = ("\ufeff" + text.replace("\n", "\r\n")).encode("utf-8", "backslashreplace")
    return Response(content, media_type="text/plain; charset=utf-8", headers=headers)


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
        if _is_closed(Request(scope)):
            app = PlainTextResponse(guard.NOT_FOUND, 404, _PRIVATE)
        await app(scope, receive, send_unframed)


def _is_closed(request: Request) -> bool:
    parts = [part for part in request.url.path.split("/") if part]
    if "_stcore" not in parts:
        return False
    if "metrics" in parts:
        return True
    client = request.client.host if request.client else None
    return "upload_file" in parts and not guard.is_local(client, request.headers.items())


ROUTES = [
    Route(CHECKUP_ADDRESS, _administrators_only(_checkup), methods=["GET"]),
    Route("/files/{run_id}/{name}", _operators_only(_run_file), methods=["GET"]),
    Route("/drafts/{draft_id}/problems.csv", _operators_only(_problems), methods=["GET"]),
]
MIDDLEWARE = [Middleware(Doors)]
