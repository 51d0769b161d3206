"""This machine is short of something: descriptors, memory, threads. One rule for all of Himuro.

A shortage says nothing about what was asked for, neither that it is there nor that it is not.
It is waited for within a bound, and then it stops the run with its own name; it is never taken
for a share that is not mounted, for a file that is missing, or for the failure of one file.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from core.errors import Code, FatalError, HimuroError, os_reason

WAIT_SECONDS = 30.0
"""How long one call is retried. Shorter than the silence after which S3 counts as stalled."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""Seconds between two tries; each pause is twice the one before."""
SPARE_DESCRIPTORS = 4
"""Kept back for the records of runs: a draft, a log, a lock and one to lose."""
_NEEDED_AT_ONCE = 4
"""Descriptors that the longest of our calls (a look-up of a name) has open at one time."""

_NO_THREAD = "can't start new thread"
"""What Python's own ``RuntimeError`` says."""
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_HIDING = (socket.gaierror,)
"""Errors that a shortage may look like: the resolver reads files and opens sockets, and has no
word for not being able to."""

P = ParamSpec("P")
R = TypeVar("R")

_logger = logging.getLogger(__name__)


class NoProcessError(Exception):
    """The system starts no further process; ``EAGAIN`` on anything else may be its owner's."""


def is_shortage(exc: BaseException) -> bool:
    """Return whether an error by itself says that this machine lacks something."""
    if isinstance(exc, RuntimeError):
        return _NO_THREAD in str(exc)
    if isinstance(exc, OSError):
        return exc.errno in _SHORTAGES
    return isinstance(exc, MemoryError | NoProcessError)


def shortage_behind(exc: BaseException | None) -> BaseException | None:
    """Return the shortage that an error, perhaps of a library, came from; None: none."""
    while exc is not None:
        if is_shortage(exc):
            return exc
        if isinstance(exc, _HIDING) and (short := descriptors_missing()):
            return short
        exc = exc.__cause__ or exc.__context__
    return None


def descriptors_missing() -> OSError | None:
    """Return the error of somebody who opens a few files now; None when they could be opened.

    For errors that do not say why something could not be opened.
    """
    opened: list[int] = []
    try:
        while len(opened) < _NEEDED_AT_ONCE:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return exc if is_shortage(exc) else None
    finally:
        for number in opened:
            os.close(number)
    return None


def unexpected(exc: BaseException) -> FatalError:
    """Return what an error that nobody foresaw means for a run."""
    short = shortage_behind(exc)
    if short is None:
        return FatalError(Code.INTERNAL, type(exc).__name__)
    if isinstance(short, RuntimeError):
        return FatalError(Code.MACHINE_SHORT, "スレッドを開始できません")
    if isinstance(short, NoProcessError):
        return FatalError(Code.MACHINE_SHORT, "プロセスを開始できません")
    missing = short if isinstance(short, OSError) else OSError(errno.ENOMEM, "")
    return FatalError(Code.MACHINE_SHORT, os_reason(missing))


def patiently(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return what ``call`` returns; while this machine is too short for it, it is called again.

    ``call`` is one that may be repeated. After ``WAIT_SECONDS`` raises
    ``FatalError(MACHINE_SHORT)``; every other error at once and as it is. ``EAGAIN`` is waited
    for as well: if it stays, it is raised as it is. A thread that serves an event loop never
    waits: everybody else would wait for it.
    """
    try:
        return call(*args, **kwargs)
    except Exception as exc:
        passing = _passing(exc)
        if passing is None:
            raise
    return _repeated(lambda: call(*args, **kwargs), passing, time.sleep)


def insistently(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """``patiently`` for what has to be recorded: gives up the descriptors kept back for records.

    ``keep_spares`` has to have been called before there are none.
    """
    try:
        result = call(*args, **kwargs)
    except Exception as exc:
        passing = _passing(exc)
        if passing is None:
            raise
    else:
        return result
    return _spares.lend(lambda: call(*args, **kwargs), passing)


def keep_spares() -> None:
    """Keep some descriptors back from now on, or again; a second call takes no more of them."""
    _spares.fill()


def _repeated(call: Callable[[], R], passing: BaseException, pause: Callable[[float], None]) -> R:
    """Call until it succeeds or time is over, ``pause`` before each time."""
    patience = 0.0 if _serves_a_loop() else WAIT_SECONDS
    until = time.monotonic() + patience
    seconds = _FIRST_PAUSE
    if patience:
        _logger.warning("tried again for %.0f s: %s", patience, _reason(passing))
    while patience and time.monotonic() < until:
        pause(seconds)
        seconds = min(2 * seconds, _LONGEST_PAUSE)
        try:
            return call()
        except Exception as exc:
            again = _passing(exc)
            if again is None:
                raise
            passing = again
    if shortage_behind(passing) is None:
        raise passing
    raise unexpected(passing) from passing


def _passing(exc: Exception) -> BaseException | None:
    """Return that for which a call is tried again; None: that would not help."""
    if isinstance(exc, HimuroError):
        return None
    short = shortage_behind(exc)
    if short is None and isinstance(exc, OSError) and exc.errno == errno.EAGAIN:
        return exc
    return short


def _reason(passing: BaseException) -> str:
    return os_reason(passing) if isinstance(passing, OSError) else unexpected(passing).detail


def _serves_a_loop() -> bool:
    events = sys.modules.get("asyncio.events")  # loading it takes time that a command feels
    if events is None:
        return False
    try:
        events.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Spares:
    """Descriptors that nobody uses, until a record has to be written and there are no others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[int] = []

    def fill(self) -> None:
        """Take as many as are to be had, up to the bound."""
        with self._lock:
            self._fill()

    def lend(self, call: Callable[[], R], passing: BaseException) -> R:
        """Give them up for ``call``, and take back what it leaves."""

        def pause(seconds: float) -> None:
            # Nothing was to be had before; now there may be, unless somebody was faster.
            if not self._release():
                time.sleep(seconds)

        with self._lock:
            try:
                return _repeated(call, passing, pause)
            finally:
                self._fill()

    def _release(self) -> bool:
        """Close them; returns whether there were any."""
        any_held = bool(self._held)
        while self._held:
            os.close(self._held.pop())
        return any_held

    def _fill(self) -> None:
        try:
            while len(self._held) < SPARE_DESCRIPTORS:
                self._held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as exc:
            if not is_shortage(exc):
                raise


_spares = _Spares()
