"""Calls that wait on the network, made by a pool of threads, as one iterator."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from core.concurrency.scaling import PoolScaling
from core.concurrency.worker_pool import Tally, WorkerPool

T = TypeVar("T")
R = TypeVar("R")

_BATCH = 8
"""Items that a thread takes at a time, when there are plenty: each taking costs a lock."""
_HAND_OVER_SECONDS = 0.005
"""How long finished items may lie with their thread: each hand-over wakes the caller."""
_LOOK_SECONDS = 0.02
"""Between two looks whether more threads are worth their cost: people wait for a check."""
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

    Begins with one thread and takes up to ``threads`` while the answers come slowly. At most
    ``MAX_UNSETTLED`` items have been begun that were not yielded yet. An error of ``work`` is
    raised here and ends the rest. Raises ``FatalError(MACHINE_SHORT)`` when not one thread can
    be started, ``Cancelled`` when ``cancelled()`` turns true, even while every thread hangs;
    threads are daemons, so that a hanging network mount cannot keep the process from ending.
    """
    pool = _Calls(work, list(items), threads)
    yielded = 0
    try:
        pool.begin()
        while not pool.is_done(yielded):
            for pair in pool.wait():
                yield pair
                yielded += 1
                if cancelled():
                    raise Cancelled
            pool.settled(yielded)
            if cancelled():
                raise Cancelled
    finally:
        pool.dismiss()


class _Calls(WorkerPool[T], Generic[T, R]):
    """Hands over what ``work`` returned of each item, some at a time."""

    def __init__(self, work: Callable[[T], R], items: list[T], threads: int) -> None:
        scaling = PoolScaling(_LOOK_SECONDS, worth=0)
        super().__init__(
            iter(items),
            len(items),
            threads=threads,
            name="himuro-check",
            scaling=scaling,
            batch=_BATCH,
        )
        self._call = work
        self._results: queue.SimpleQueue[list[tuple[T, R]] | BaseException] = queue.SimpleQueue()

    def is_done(self, yielded: int) -> bool:
        return yielded == self._total

    def wait(self) -> list[tuple[T, R]]:
        """Return what has been finished, nothing when that takes long; raises what the work
        raised."""
        self.grow(time.monotonic())
        timeout = _HAND_OVER_SECONDS if self._may_grow else _LOOK_UP_SECONDS
        try:
            result = self._results.get(timeout=timeout)
        except queue.Empty:
            return []
        if isinstance(result, BaseException):
            raise result
        return result

    # In the threads

    def _work(self, tally: Tally) -> None:
        while self._has_more():
            finished: list[tuple[T, R]] = []
            since = time.monotonic()
            for item in self._items():
                finished.append((item, self._call(item)))
                if time.monotonic() - since >= _HAND_OVER_SECONDS:
                    self._hand_over(tally, finished)
                    finished, since = [], time.monotonic()
            self._hand_over(tally, finished)

    def _hand_over(self, tally: Tally, finished: list[tuple[T, R]]) -> None:
        tally.end_files(len(finished))
        self._results.put(finished)

    def _failed(self, exc: BaseException) -> None:
        self._results.put(exc)
