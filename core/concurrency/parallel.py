"""Threads for work that waits on the network: one helper, so that nothing else starts any."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from core.concurrency.threads import start_thread
from core.errors import FatalError

T = TypeVar("T")
R = TypeVar("R")

_BATCH = 8
"""Items that a thread takes at a time, when there are plenty."""
_HAND_OVER_SECONDS = 0.005
"""How long finished items may lie with their thread: each hand-over wakes the caller."""
_LOOK_SECONDS = 0.02
_BUSY_CORES = 0.5
"""While the threads use less of the processor, more of them are worth their cost: they wait.
On a local disk one thread keeps busy, and more of them only fight over the interpreter lock; a
network share with 2 ms a call needs all of them."""
_LOOK_UP_SECONDS = 0.2
"""How long a wait for a result may keep a request to stop waiting."""


class Cancelled(Exception):  # noqa: N818 - a request that was heard, not an error
    """Somebody asked to stop while a check was running; nothing was touched."""


def parallel(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    threads: int = 32,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[T, R]]:
    """Yield ``(item, work(item))`` as they finish, in no particular order.

    Begins with one thread and takes up to ``threads`` while the answers come slowly. An
    error of ``work`` is raised here and ends the rest. Raises ``FatalError(MACHINE_SHORT)``
    when not one thread can be started, ``Cancelled`` when
    ``cancelled()`` turns true, even while every thread hangs; threads are daemons, so that
    a hanging network mount cannot keep the process from ending.
    """
    pool = _Calls(work, list(items), threads)
    try:
        while not pool.finished:
            for pair in pool.wait():
                yield pair
                if cancelled():
                    raise Cancelled
            if cancelled():
                raise Cancelled
    finally:
        pool.halted.set()


class _Calls(Generic[T, R]):
    """Threads that share one pile of work; grows when it is slow."""

    def __init__(self, work: Callable[[T], R], items: list[T], threads: int) -> None:
        self.halted = threading.Event()
        self._work = work
        self._size = min(_BATCH, max(1, len(items) // threads))
        self._left = iter(items)
        self._taking = threading.Lock()
        self._done: queue.SimpleQueue[list[tuple[T, R]] | BaseException | None]
        self._done = queue.SimpleQueue()
        self._most = min(threads, -(-len(items) // self._size))
        self._started = self._ended = 0
        self._busy: dict[int, float] = {}
        """Processor seconds that each thread has used."""
        self._looked_at, self._busy_then = time.monotonic(), 0.0
        if self._most:
            self._grow()

    @property
    def finished(self) -> bool:
        return self._ended == self._started

    def wait(self) -> list[tuple[T, R]]:
        """Return what has been finished, nothing when that takes long; raises what the work
        raised."""
        if self._started < self._most and self._is_slow():
            self._grow()
        growing = self._started < self._most
        try:
            result = self._done.get(timeout=_HAND_OVER_SECONDS if growing else _LOOK_UP_SECONDS)
        except queue.Empty:
            return []
        if isinstance(result, BaseException):
            raise result
        if result is None:
            self._ended += 1
            return []
        return result

    def _is_slow(self) -> bool:
        now = time.monotonic()
        elapsed = now - self._looked_at
        if elapsed < _LOOK_SECONDS:
            return False
        busy = sum(self._busy.copy().values())
        cores = (busy - self._busy_then) / elapsed
        self._looked_at, self._busy_then = now, busy
        return cores < _BUSY_CORES

    def _grow(self) -> None:
        """Double the threads; with one at least, as many as there can be do the work."""
        more = min(max(1, self._started), self._most - self._started)
        for _ in range(more):
            number = self._started
            try:
                name, first = f"himuro-check-{number}", not self._started
                start_thread(self._run, number, name=name, patient=first)
            except FatalError:
                if not self._started:
                    raise
                self._most = self._started
                return
            self._started += 1

    def _run(self, number: int) -> None:
        finished: list[tuple[T, R]] = []
        since = time.monotonic()
        try:
            while not self.halted.is_set() and (some := self._take()):
                for item in some:
                    finished.append((item, self._work(item)))
                    if time.monotonic() - since >= _HAND_OVER_SECONDS:
                        self._done.put(finished)
                        self._busy[number] = time.thread_time()
                        finished, since = [], time.monotonic()
            self._done.put(finished)
        except BaseException as exc:  # noqa: BLE001 - handed to the caller's thread
            self._done.put(exc)
        self._done.put(None)

    def _take(self) -> list[T]:
        with self._taking:
            return list(islice(self._left, self._size))
