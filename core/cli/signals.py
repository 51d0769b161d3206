"""Ctrl-C and SIGTERM: what they ask for, and who says so.

A handler interrupts the main thread anywhere, also in the middle of a line that it writes:
there it may only set flags. What is to be read is written by whoever looks at the flags.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from core.concurrency.cancellation import DRAIN_SECONDS, StopSignal
from core.model import Progress
from core.ports import ProgressSink

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does: with ``KeyboardInterrupt``."""
    with _handled({signal.SIGTERM: signal.default_int_handler}):
        yield


@contextmanager
def stoppable(hurry: Callable[[float], None] = lambda _within: None) -> Iterator[StopSignal]:
    """Yield a stop signal that Ctrl-C and SIGTERM raise: once to stop, Ctrl-C twice to hurry.

    ``hurry`` hears of the seconds that are left, and may do as little as a signal handler may.
    """
    stop = StopSignal()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if stop.requested:
            end(0)
        stop.request()

    def terminate(_number: int, _frame: FrameType | None) -> None:
        end(DRAIN_SECONDS)

    def end(within: float) -> None:
        hurry(within)
        stop.request(within)

    with _handled({signal.SIGINT: interrupt, signal.SIGTERM: terminate}):
        yield stop


@contextmanager
def _handled(handlers: dict[signal.Signals, Handler]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may, and only it is interrupted
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def announced(stop: StopSignal, progress: ProgressSink, say: Callable[[str], None]) -> ProgressSink:
    """Return a sink that says once, between two reports of progress, that a stop was heard."""
    said = False

    def show(report: Progress) -> None:
        nonlocal said
        if stop.requested and not said:
            said = True
            say("停止しています。処理中のファイルが終わるまでお待ちください。")
        progress(report)

    return show
