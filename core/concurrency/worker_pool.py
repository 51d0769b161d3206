"""The threads of a run: they take items, one after another, and hand over how each ended.

Nothing here touches the archive list or the run folder. What a thread finds out it puts into
``WorkerPool.results``, for the one collector that started the pool.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar

from core.concurrency.cancellation import StopSignal
from core.concurrency.scaling import PoolScaling
from core.concurrency.threads import start_thread
from core.errors import FatalError
from core.resources.shortage import unexpected

THREADS, FIRST_THREADS = 16, 1
LARGE_BYTES = 1024 * 1024
"""Files of this size on average wait for the network, never for the interpreter: all threads
begin at once, because what so few files an instant tell about growth is chance."""
FATAL_DRAIN_SECONDS = 30.0
"""How long files that are under way may go on after the environment broke."""
STALLED_DRAIN_SECONDS = 5.0
"""The same when nothing has succeeded for so long that nothing will."""
MAX_UNSETTLED = 1000
"""Items that may have been begun and not yet been brought to their end by the collector. All
threads together have 256 on their way to S3; a commit that hangs must not let more objects
come into being than that and what a few batches hold."""
_PREPARED = 100
"""Items that are made ready together."""
REST_SECONDS = 0.05
"""How long a thread without room looks for nothing."""
GIVE_UP_SECONDS = 2.0
"""How long a file that was told to give up may take to clear up behind it."""
_MIB = 1024 * 1024

_logger = logging.getLogger(__name__)


class _Item(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...


I = TypeVar("I", bound=_Item)  # noqa: E741
D = TypeVar("D")


@dataclass(slots=True)
class Tally:
    """What one thread has done; only that thread writes it."""

    files: int = 0
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

    def end_file(self) -> None:
        self.files += 1
        self.under_way = 0
        self.busy_seconds = time.thread_time()


class WorkerPool(ABC, Generic[I, D]):
    """Worker threads over the items of one run. Every public method is the collector's to call.

    Subclasses say in ``_work`` what one thread does with what ``_items`` gives it.
    """

    def __init__(
        self,
        items: Sequence[I],
        stop: StopSignal,
        threads: int,
        name: str,
        prepared: Iterator[I] | None = None,
    ) -> None:
        """``threads``: the most there may be; none runs before ``begin``. ``name``: theirs.

        ``prepared`` yields the items once more, made ready for the work. A thread asks it, which
        may take long; a ``FatalError`` of it ends the run.
        """
        self._all = items
        self._prepared = prepared or iter(items)
        self._todo: deque[I] = deque()
        self._preparing = threading.Lock()
        self._stop = stop
        self._threads = threads
        self._name = name
        self._taking = threading.Lock()
        self._taken = self._settled = 0
        self._halted = threading.Event()
        self._over = threading.Event()
        self._tallies: list[Tally] = []
        self._growth = PoolScaling()
        self._drain = FATAL_DRAIN_SECONDS
        self._abandon_at: float | None = None
        self.results: deque[D] = deque()
        self.lost: FatalError | None = None
        """Why a thread died; the items it had taken do not come back."""
        self.current = ""
        """Path of the item that was begun last."""

    def begin(self) -> None:
        """Start one thread; for large files all of them.

        Raises ``FatalError(MACHINE_SHORT)`` when not even one can be started.
        """
        large = sum(item.size for item in self._all) > LARGE_BYTES * len(self._all)
        self._start(self._threads if large else FIRST_THREADS)

    def grow(self, now: float) -> None:
        """Start as many threads more as there are, when that is worth a try at this time."""
        seconds = sum(tally.busy_seconds for tally in self._tallies)
        done = sum(tally.files + tally.moved / _MIB for tally in self._tallies)
        if self._growth.is_due(now, seconds, done):
            self._start(len(self._tallies))

    def settled(self, items: int) -> None:
        """Tell how many items have been brought to their end, all in all: as many more may be
        begun."""
        self._settled = items

    def halt(self, drain: float | None = None) -> None:
        """Let no item be begun any more; those under way go on for ``drain`` seconds."""
        if drain is not None:
            self._drain = drain
        self._halted.set()

    def dismiss(self) -> None:
        """Let the threads end; what they still hand over is for nobody."""
        self._halted.set()
        self._over.set()

    def is_idle(self, returned: int) -> bool:
        """Return whether no item is under way and none will be begun, when ``returned`` items
        have been seen in ``results``."""
        with self._taking:
            ended = self._taken == len(self._all) or self._stopping()
            return ended and returned == self._taken

    def is_abandoned(self, now: float) -> bool:
        """Return whether threads that do not come back are no longer waited for."""
        if self._stop.expired:
            limit = now + GIVE_UP_SECONDS
        elif self._halted.is_set():
            limit = now + self._drain
        else:
            return False
        self._abandon_at = min(limit, self._abandon_at or limit)
        return now >= self._abandon_at

    @property
    def bytes_under_way(self) -> int:
        return sum(tally.under_way for tally in self._tallies)

    # In the threads

    @abstractmethod
    def _work(self, tally: Tally) -> None:
        """Do the work of one thread until there is none."""

    def _has_more(self) -> bool:
        """Return whether items are to be begun; while there is no room for them, waits."""
        while not self._stopping() and self._taken < len(self._all):
            # Only once there is room for many: what a thread has on its way ends with each round.
            if self._taken - self._settled <= MAX_UNSETTLED // 2:
                return True
            self._rest()
        return False

    def _rest(self) -> None:
        """Wait a moment."""
        self._over.wait(REST_SECONDS)

    def _items(self) -> Iterator[I]:
        """Yield what is to be done next; ends when there is nothing, or no room for it."""
        while (item := self._take()) is not None:
            yield item

    def _take(self) -> I | None:
        while True:
            with self._taking:
                if self._stopping() or self._taken - self._settled >= MAX_UNSETTLED:
                    return None
                if self._todo:
                    item = self._todo.popleft()
                    self._taken += 1
                    self.current = item.path
                    return item
            # Apart from ``_taking``: the collector must not wait for a database as well.
            with self._preparing:
                if not self._todo:
                    self._todo.extend(islice(self._prepared, _PREPARED))
                if not self._todo:
                    return None

    def _cancelled(self) -> bool:
        """Tell a file under way to give up: its time is over, or nobody waits for it."""
        return self._stop.expired or self._over.is_set()

    def _stopping(self) -> bool:
        return self._stop.requested or self._halted.is_set()

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
        except FatalError as exc:
            self.lost = exc
            self._halted.set()
        except Exception as exc:
            # Nobody may wait for the items that this thread had taken.
            _logger.exception("a worker failed")
            self.lost = unexpected(exc)
            self._halted.set()
