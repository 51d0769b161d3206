"""What is served beside Streamlit: downloads, start and end of the console."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain, islice
from pathlib import PurePath
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from core.auth.accounts import Role
from core.config import logs
from core.errors import FatalError, HimuroError
from core.files.csv_file import write_rows
from core.files.zip_stream import is_empty_zip, zip_blocks
from core.health.findings import in_order, lines, summary
from core.jobs.queue import Jobs
from core.model import Problem, RunState
from pages import services
from pages.auth import guard, session, signin
from pages.base_path import at, based
from pages.http.doors import PRIVATE, Doors
from pages.http.downloads import Download
from pages.http.export_routes import EXPORT_ROUTES
from pages.http.health_routes import HEALTH_ROUTES
from pages.http.listening import send_at_once
from pages.http.shutdown import ending_with, keeping_up
from pages.traffic import bounds
from pages.traffic.connections import ConnectionLimits
from pages.traffic.memory_door import MemoryDoor
from pages.traffic.websocket import WebSocketFilter
from pages.widgets import words

_BATCH = 5000
"""Rows handed over at once: one at a time is 300 times slower (``docs/facts.md``, "Streamlit")."""

_ENVIRONMENT = 3
"""Exit code of all that cannot be done here and now, as of the commands."""

_logger = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(_app: object) -> AsyncIterator[None]:
    """Open the job queue at the start and drain it at the end.

    A console whose settings are wrong, or whose database is not ready, starts all the same:
    its log, its pages and ``/readyz`` say what to do.
    """
    logs.set_up()
    logs.hide(*session.secrets())
    await asyncio.to_thread(_hold_directory)
    bounds.tell()
    send_at_once()
    await asyncio.to_thread(_open)
    async with ending_with(services.close), keeping_up(services.keep_up):
        yield


def _hold_directory() -> None:
    """End this process, before anybody is answered, when another console has its directory."""
    try:
        services.hold_directory()
    except FatalError as exc:
        _logger.critical("%s", exc)
        # An exception would come out as a traceback of the web server's, with this in its midst.
        sys.stderr.flush()
        os._exit(_ENVIRONMENT)


def _open() -> None:
    """Begin to work; what keeps the console from it is a line in its log."""
    try:
        here = services.current()
    except HimuroError as exc:
        _logger.error("%s", exc)  # noqa: TRY400
        return
    for step in (here.open_jobs, here.exports.begin, here.catalogue.check, here.summary.begin):
        try:
            step()
        except HimuroError as exc:
            _logger.error("%s", exc)  # noqa: TRY400


def file_address(run_id: str, name: str) -> str:
    return at(f"/files/{run_id}/{name}")


def zip_address(run_id: str) -> str:
    return at(f"/files/{run_id}.zip")


def problems_address(draft_id: str) -> str:
    return at(f"/drafts/{draft_id}/problems.csv")


def checkup_address() -> str:
    return at("/checkup/report.txt")


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
        return response or PlainTextResponse(guard.NOT_FOUND, 404, PRIVATE)

    return guarded


def _ended(jobs: Jobs, run_id: str) -> bool:
    """Return whether a run's files can be had: while it runs, they still grow. Those of a
    damaged run are all that is left of it."""
    run = jobs.past(run_id)
    return run is not None and (run.record is None or run.record.state is not RunState.RUNNING)


def _run_file(request: Request) -> Response | None:
    """A file of a run that has ended."""
    jobs = services.current().jobs
    run_id, name = request.path_params["run_id"], request.path_params["name"]
    path = jobs.file(run_id, name)
    if path is None or not _ended(jobs, run_id):
        return None
    called = PurePath(name)
    return Download(path, f"{called.stem}_{run_id}{called.suffix}", guard.NOT_FOUND)


def _run_zip(request: Request) -> Response | None:
    """All files of a run that has ended, as a zip that is made while it is sent."""
    here = services.current()
    run_id = request.path_params["run_id"]
    files = [path for path, _size in here.jobs.files(run_id)]
    if not files or not _ended(here.jobs, run_id):
        return None
    headers = {**PRIVATE, "Content-Disposition": f'attachment; filename="{run_id}.zip"'}
    content = zip_blocks(files, run_id, here.settings.timezone)
    first = next(content, b"")
    if is_empty_zip(first):  # somebody has removed the folder since it was looked at
        return None
    return StreamingResponse(chain([first], content), media_type="application/zip", headers=headers)


def _problems(request: Request) -> Response | None:
    """All problems of a check as CSV."""
    draft = services.current().jobs.draft(request.path_params["draft_id"])
    if draft is None or draft.plan is None:
        return None
    name = f"problems_{draft.run_id or draft.draft_id}.csv"
    headers = {**PRIVATE, "Content-Disposition": f'attachment; filename="{name}"'}
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
    headers = {**PRIVATE, "Content-Disposition": f'attachment; filename="{name}"'}
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


ROUTES = based(
    [
        Route("/checkup/report.txt", _administrators_only(_checkup), methods=["GET"]),
        Route("/files/{run_id}.zip", _operators_only(_run_zip), methods=["GET"]),
        Route("/files/{run_id}/{name}", _operators_only(_run_file), methods=["GET"]),
        Route("/drafts/{draft_id}/problems.csv", _operators_only(_problems), methods=["GET"]),
        Route("/signin", signin.signin, methods=["GET", "POST"]),
        Route("/signout", signin.signout, methods=["GET", "POST"]),
        *HEALTH_ROUTES,
        *EXPORT_ROUTES,
    ]
)
MIDDLEWARE = [
    Middleware(ConnectionLimits),
    Middleware(Doors),
    Middleware(WebSocketFilter),
    Middleware(MemoryDoor),
]
