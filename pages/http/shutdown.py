"""The end of the console: runs are told to stop when the signal comes, not when browsers let go.

uvicorn ends an application only after every answer under way is sent. A browser that stopped
reading a download would hold that back until the service manager loses its patience, and the
runs would be killed without ever having been asked to end.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from types import FrameType
from typing import Any

from core.concurrency.threads import start_thread
from core.errors import FatalError

_logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def _apart(close: Callable[[], None]) -> None:
    """Call ``close`` in a thread of its own; where there is none left, the others wait for it."""
    ended: Future[None] = Future()

    def run() -> None:
        try:
            close()
        except BaseException as exc:  # noqa: BLE001 - handed to whoever waits for the end
            ended.set_exception(exc)
        else:
            ended.set_result(None)

    try:
        start_thread(run, name="himuro-close")
    except FatalError:
        run()
    await asyncio.wrap_future(ended)


@asynccontextmanager
async def keeping_up(look: Callable[[], None], every: float = 10.0) -> AsyncIterator[None]:
    """Have ``look`` called every so many seconds, in a thread, until this ends.

    One that fails is logged, and the next one comes all the same: it may have been a disk that
    was full, or a machine that had no thread left.
    """

    async def go_on() -> None:
        while True:
            await asyncio.sleep(every)
            try:
                await asyncio.to_thread(look)
            except Exception:
                _logger.exception("what is done every %s s has failed", every)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def ending_with(close: Callable[[], None]) -> AsyncIterator[None]:
    """Have ``close`` called once, in a thread: at the first signal, or else when this ends.

    It has returned when this ends.
    """
    loop = asyncio.get_running_loop()
    closing: list[asyncio.Task[None]] = []

    def begin() -> None:
        if not closing:
            closing.append(loop.create_task(_apart(close)))

    def on_signal(number: int, frame: FrameType | None) -> None:
        # A handler may do no more than this: it interrupts the main thread anywhere.
        loop.call_soon_threadsafe(begin)
        handler = before.get(number)
        if callable(handler):
            handler(number, frame)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        for number in _SIGNALS:
            before[number] = signal.signal(number, on_signal)
    try:
        yield
    finally:
        begin()
        await closing[0]
        for taken, handler in before.items():
            signal.signal(taken, handler)
