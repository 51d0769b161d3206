"""``/healthz``: the process lives. ``/readyz``: it could do its work.

Anybody may ask, so the answers name no path, host or user, and however often they are asked
for, the database is asked at most once a second.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from core.concurrency.threads import start_thread
from core.errors import Code, FatalError, SettingsError
from core.resources.shortage import unexpected
from pages import services

_PATIENCE_SECONDS = 2.0
_REMEMBERED_SECONDS = 1.0
_logger = logging.getLogger(__name__)
_NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check found. ``problem`` is empty when all is well, else one short line."""

    problem: str
    until: float
    """Monotonic seconds up to which it is not asked again."""


class Readiness:
    """Asks ``probe`` in a thread of its own, never twice at once, and remembers the answer.

    A probe that hangs, in a database or on a disk, costs one thread however many ask.
    """

    def __init__(
        self,
        probe: Callable[[], str],
        *,
        patience: float = _PATIENCE_SECONDS,
        remembered: float = _REMEMBERED_SECONDS,
    ) -> None:
        self._probe = probe
        self._patience = patience
        self._remembered = remembered
        self._lock = threading.Lock()
        self._answer = Answer("", 0.0)
        self._asked: Future[Answer] | None = None

    async def problem(self) -> str:
        """Return what is wrong, within ``patience`` seconds; empty when nothing is."""
        with self._lock:
            if self._asked is None:
                if time.monotonic() < self._answer.until:
                    return self._answer.problem
                asked: Future[Answer] = Future()
                try:
                    start_thread(self._ask, asked, name="himuro-ready")
                except FatalError as exc:
                    return f"{exc.code.name} {exc.code.what}"
                self._asked = asked
            asked = self._asked
        try:
            # Shielded: the others who wait for the same answer go on waiting.
            waiting = asyncio.shield(asyncio.wrap_future(asked))
            return (await asyncio.wait_for(waiting, self._patience)).problem
        except TimeoutError:
            return "TIMEOUT 時間内に応答がありません"

    def _ask(self, asked: Future[Answer]) -> None:
        try:
            problem = self._probe()
        except Exception as exc:
            _logger.exception("the readiness check failed")
            code = unexpected(exc).code
            problem = f"{code.name} {code.what}"
        answer = Answer(problem, time.monotonic() + self._remembered)
        with self._lock:
            self._answer, self._asked = answer, None
        asked.set_result(answer)


def probe() -> str:
    """Return what keeps the console from working; an empty text when nothing does."""
    try:
        here = services.current()
        here.catalogue.check()
        _write(str(here.settings.data_dir))
    except SettingsError:
        return "SETTINGS 設定に誤りがあります"
    except FatalError as exc:
        return f"{exc.code.name} {exc.code.what}"
    except OSError:
        return f"{Code.DATA_DIR_UNWRITABLE.name} {Code.DATA_DIR_UNWRITABLE.what}"
    return ""


def _write(directory: str) -> None:
    """Write to a directory without leaving a name behind, also when this process is killed."""
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"ready")


_readiness = Readiness(probe)


async def _alive(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok\n", headers=_NO_STORE)


async def _ready(_request: Request) -> PlainTextResponse:
    problem = await _readiness.problem()
    text, status = (f"{problem}\n", 503) if problem else ("ok\n", 200)
    return PlainTextResponse(text, status, _NO_STORE)


HEALTH_ROUTES = [
    Route("/healthz", _alive, methods=["GET"]),
    Route("/readyz", _ready, methods=["GET"]),
]
