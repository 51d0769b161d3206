"""A pool of worker threads over one pile of items; checks and runs have no other.

One rule for all of them: threads are added while they wait for answers (``PoolScaling``); a pool
works with as many as this machine can start; and only so many items may be begun whose results
nobody has dealt with yet. Beyond that the threads wait, so that a consumer who is slow, or a
commit that hangs, does not fill the memory.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from core.concurrency.scaling import PoolScaling
from core.concurrency.threads import start_thread
from core.errors import FatalError

MAX_UNSETTLED = 1000
"""Items that may have been begun and not yet been dealt with by the consumer. All threads of an
archive run together have 256 on their way to S3; a commit that hangs must not let more objects
come into being than that and what a few batches hold."""
_PREPARED = 100
"""Items that are made ready together."""
REST_SECONDS = 0.05
"""How long a thread without room waits before it asks whether it is to stop."""
_MIB = 1024 * 1024

T = TypeVar("T")


@dataclass(slots=True)
class Tally:
    """What one thread has done; only that thread writes it."""

    files: int = 0
    """Items that have ended."""
    moved: int = 0
    """Bytes of files that went alone; small ones count by number."""
    under_way: int = 0
    """Bytes of the file under way that have come through."""
    busy_seconds: float = 0.0
    """Processor time."""

    def move(self, size: int) -> None:
        """Count bytes of the file under way."""
        self.under_way += size
        self.moved += size

    def end_files(self, number: int = 1) -> None:
        self.files += number
        self.under_way = 0
        self.busy_seconds = time.thread_time()


class WorkerPool(ABC, Generic[T]):
    """Worker threads over items. Every public method is the consumer's to call.

    Subclasses say in ``_work`` what one thread does with what ``_items`` gives it, and how its
    results reach the consumer.
    """

    def __init__(
        self,
        items: Iterator[T],
        total: int,
        *,
        threads: int,
        name: str,
        scaling: PoolScaling,
        batch: int = 1,
    ) -> None:
        """``items`` yields ``total`` of them. A thread asks it, which may take long; what it
        raises ends the pool. ``threads``: the most there may be; none runs before ``begin``.
        ``name``: theirs. ``batch``: how many items one takes at a time, when there are plenty."""
        self._source = items
        self._total = total
        self._threads = min(threads, total)
        self._name = name
        self._scaling = scaling
        self._batch = min(batch, max(1, total // threads))
        self._todo: deque[T] = deque()
        self._preparing = threading.Lock()
        self._changed = threading.Condition(threading.Lock())
        """Guards ``_taken``, ``_settled`` and ``_todo``; notified when there is room again."""
        self._taken = self._settled = 0
        self._halted = threading.Event()
        self._over = threading.Event()
        self._tallies: list[Tally] = []

    def begin(self, threads: int = 1) -> None:
        """Start so many threads; raises ``FatalError(MACHINE_SHORT)`` when not even one can be
        started."""
        self._start(threads)

    def grow(self, now: float) -> None:
        """Start as many threads more as there are, when that is worth a try at this time."""
        if not self._may_grow:
            return
        seconds = sum(tally.busy_seconds for tally in self._tallies)
        done = sum(tally.files + tally.moved / _MIB for tally in self._tallies)
        if self._scaling.is_due(now, seconds, done):
            self._start(len(self._tallies))

    def settled(self, items: int) -> None:
        """Tell how many items have been dealt with, all in all: as many more may be begun."""
        with self._changed:
            self._settled = items
            if self._has_room():
                self._changed.notify_all()

    def dismiss(self) -> None:
        """Let the threads end; what they still hand over is for nobody."""
        self._halted.set()
        self._over.set()
        with self._changed:
            self._changed.notify_all()

    @property
    def _may_grow(self) -> bool:
        return len(self._tallies) < self._threads

    # In the threads

    @abstractmethod
    def _work(self, tally: Tally) -> None:
        """Do the work of one thread until there is none."""

    @abstractmethod
    def _failed(self, exc: BaseException) -> None:
        """Tell the consumer why a thread died; the items it had taken do not come back."""

    def _has_more(self) -> bool:
        """Return whether items are to be begun; while there is no room for them, waits."""
        while not self._stopping() and self._taken < self._total:
            if self._has_room():
                return True
            self._rest()
        return False

    def _has_room(self) -> bool:
        # Only once there is room for many: what a thread has on its way ends with each round.
        return self._taken - self._settled <= MAX_UNSETTLED // 2

    def _rest(self) -> None:
        """Wait a moment for room."""
        with self._changed:
            self._changed.wait_for(lambda: self._over.is_set() or self._has_room(), REST_SECONDS)

    def _items(self) -> Iterator[T]:
        """Yield what is to be done next; ends when there is nothing, or no room for it."""
        while some := self._take():
            yield from some

    def _take(self) -> list[T]:
        """Return the next items, a batch at most; none when there is nothing, or no room."""
        while True:
            with self._changed:
                room = MAX_UNSETTLED - (self._taken - self._settled)
                if self._stopping() or room <= 0:
                    return []
                if some := [
                    self._todo.popleft() for _ in range(min(self._batch, room, len(self._todo)))
                ]:
                    self._taken += len(some)
                    return some
            # Apart from ``_changed``: the consumer must not wait for a database as well.
            with self._preparing:
                if not self._todo:
                    self._todo.extend(islice(self._source, _PREPARED))
                if not self._todo:
                    return []

    def _stopping(self) -> bool:
        return self._halted.is_set()

    def _start(self, more: int) -> None:
        """Start threads; with one at least, the pool works with as many as there can be."""
        begun = len(self._tallies)
        for number in range(begun, min(begun + more, self._threads)):
            tally = Tally()
            try:
                name, first = f"{self._name}-{number}", not self._tallies
                start_thread(self._run, tally, name=name, patient=first)
            except FatalError:
                if not self._tallies:
                    raise
                self._threads = number
                return
            self._tallies.append(tally)

    def _run(self, tally: Tally) -> None:
        try:
            self._work(tally)
        except BaseException as exc:  # noqa: BLE001 - handed to the consumer's thread
            self._failed(exc)
            self._halted.set()
