"""A watchdog over calls to S3: the run stops when nothing has succeeded for too long.

A single call is patient: it bridges what passes. Where nothing passes (puts that hang while
HEAD answers, 503 for ever) every file would cost that patience, one after another. So all
calls of a kind share a ``Watch``: when they have waited for so long together without a single
success, the run stops.

Bytes of a large object that are still going are a sign of life as long as the try that sends
them has not failed; a slow line is never taken for a dead one. Time in which nobody waits for
S3 does not count.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.errors import Code, FatalError

SILENT_SECONDS = 45.0
"""Seconds without a success; with those in which calls in flight may end, under a minute."""

QUIET_SECONDS = 300.0
"""Seconds without any call after which failures of before no longer count."""
MAX_IN_VAIN = 3
"""Large objects that may fail in a row after their parts were stored: each part counted as a
success, so the seconds above do not show it."""
_TOLD_BYTES = 1024 * 1024
"""Bytes of a large request after which ``Pieces`` tells that it moves."""

_thread = threading.local()


class Watch:
    """Watches the calls of one kind that all threads of a run make. Safe in any thread."""

    def __init__(
        self, limit: float = SILENT_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``limit``: seconds that may be waited without a success."""
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting = 0
        """How many calls are under way."""
        self._since: float | None = None
        """When the first call after the last success began; None: none has."""
        self._idle_from = 0.0
        self._moved: dict[int, float] = {}
        """By thread, when bytes of its try last went."""
        self._patient: set[int] = set()
        self._in_vain = 0
        """Large objects that failed one after another, each after its parts had been stored."""

    @contextmanager
    def call(self) -> Iterator[None]:
        """One call, with all its tries. Raises ``FatalError`` when nothing succeeds any more."""
        self.require()
        before = getattr(_thread, "watch", None)
        _thread.watch = self
        self.begin()
        try:
            yield
        finally:
            _thread.watch = before
            self.end()

    def begin(self) -> None:
        """Count a call; ``end`` has to follow."""
        with self._lock:
            now = self._clock()
            if self._since is None or self._is_quiet(now):
                self._since, self._in_vain = now, 0
            elif not self._waiting:
                self._since += now - self._idle_from
            self._waiting += 1

    def end(self) -> None:
        with self._lock:
            self._waiting -= 1
            self._idle_from = self._clock()
            self._forget_try()

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Let what this thread's call does not wait for S3: it writes to a file server, say, which
        may take a minute to come back."""
        self.end()
        try:
            yield
        finally:
            self.begin()

    def answered(self) -> None:
        """S3 did what was asked, or said of this one object why not."""
        with self._lock:
            self._since = self._clock() if self._waiting else None

        self._in_vain = 0

    def progressed(self) -> None:
        """One part of something has been stored; whether that is of any use is not known yet."""
        with self._lock:
            self._since = self._clock() if self._waiting else None

    def in_vain(self) -> None:
        """Something of which parts had been stored came to nothing."""
        with self._lock:
            self._in_vain += 1

    def moved(self) -> None:
        """Tell that bytes of this thread's call were sent or received."""
        with self._lock:
            self._moved[threading.get_ident()] = self._clock()

    def try_failed(self) -> None:
        """One try of this thread's call was in vain. Raises as ``require`` does."""
        with self._lock:
            self._forget_try()
        self.require()

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Let this thread's next try take as long as it has to: S3 puts parts together for
        minutes, during which it sends nothing that could be seen here."""
        with self._lock:
            self._patient.add(threading.get_ident())
        try:
            yield
        finally:
            with self._lock:
                self._patient.discard(threading.get_ident())

    def _forget_try(self) -> None:
        self._moved.pop(threading.get_ident(), None)
        self._patient.discard(threading.get_ident())

    @property
    def is_stalled(self) -> bool:
        with self._lock:
            now = self._clock()
            if self._since is None or self._patient or self._is_quiet(now):
                return False
            now = now if self._waiting else self._idle_from
            return now - max(self._since, *self._moved.values(), 0.0) >= self._limit

    def _is_quiet(self, now: float) -> bool:
        """Return whether nobody has asked for so long that S3 may be another one by now."""
        return not self._waiting and now - self._idle_from >= QUIET_SECONDS

    def require(self) -> None:
        """Raise ``FatalError(S3_STALLED)`` when nothing has succeeded for too long."""
        with self._lock:
            hopeless = self._in_vain >= MAX_IN_VAIN and not self._is_quiet(self._clock())
        if hopeless:
            raise FatalError(Code.S3_STALLED, f"{self._in_vain}件続けて")
        if self.is_stalled:
            raise FatalError(Code.S3_STALLED, f"{self._limit:.0f}秒間")


class Pieces(io.BytesIO):
    """Bytes of a large request that tell when they go.

    botocore sends a file piece by piece, with its time limit for each; bytes it sends at once,
    with ten seconds for all of them.
    """

    def __init__(self, data: bytes, moved: Callable[[], None]) -> None:
        super().__init__(data)
        self._tell_moved = moved
        self._told = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read like ``io.BytesIO``. botocore asks for a piece when the one before it was sent."""
        at = self.tell()
        if at >= self._told + _TOLD_BYTES or at < self._told:
            self._told = at
            if at:  # the first piece may still lie in this machine
                self._tell_moved()
        return super().read(size)


def try_failed() -> None:
    """One try of the call that this thread makes was in vain; raises as ``Watch`` does."""
    watch: Watch | None = getattr(_thread, "watch", None)
    if watch is not None:
        watch.try_failed()


def answered() -> None:
    """S3 gave the call that this thread makes a definite answer."""
    watch: Watch | None = getattr(_thread, "watch", None)
    if watch is not None:
        watch.answered()
