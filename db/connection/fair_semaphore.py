"""So many at once; the others wait in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class FairSemaphore:
    """Lets ``at_once`` threads do something at the same time.

    Whoever ends hands his place to the one who waits longest. Locks, semaphores and
    SQLAlchemy's pool of connections let a thread that comes back at once take its place again:
    of 200 that searched without a pause, 180 had nothing after ten seconds.
    """

    def __init__(self, at_once: int, patience: float) -> None:
        """``patience``: seconds after which ``turn`` gives up."""
        self._free = at_once
        self._patience = patience
        self._waiting: deque[threading.Lock] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return len(self._waiting)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a place and keep it for the block; raises ``TimeoutError`` without one."""
        self._take()
        try:
            yield
        finally:
            self._hand_on()

    def _take(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            called = threading.Lock()
            called.acquire()
            self._waiting.append(called)
        if called.acquire(timeout=self._patience):
            return
        with self._lock:
            if called in self._waiting:
                self._waiting.remove(called)
                raise TimeoutError
        # The place came in the last moment.

    def _hand_on(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
