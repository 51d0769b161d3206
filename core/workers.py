"""Threads for work that waits on the network: one helper, so that nothing else starts any."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


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

    An error of ``work`` is raised here and ends the rest. Raises ``Cancelled`` when
    ``cancelled()`` turns true. Threads are daemons: a hanging network mount cannot keep the
    process from ending.
    """
    todo = iter(list(items))
    lock = threading.Lock()
    done: queue.SimpleQueue[tuple[T, R] | BaseException | None] = queue.SimpleQueue()
    halted = threading.Event()

    def take() -> list[T]:
        with lock:
            return list(islice(todo, 8))

    def run() -> None:
        try:
            while not halted.is_set() and (batch := take()):
                for item in batch:
                    done.put((item, work(item)))
        except BaseException as exc:  # noqa: BLE001 - handed to the caller's thread
            done.put(exc)
        done.put(None)

    for number in range(threads):
        threading.Thread(target=run, name=f"himuro-check-{number}", daemon=True).start()
    try:
        running = threads
        while running:
            result = done.get()
            if result is None:
                running -= 1
            elif isinstance(result, BaseException):
                raise result
            else:
                yield result
            if cancelled():
                raise Cancelled
    finally:
        halted.set()
