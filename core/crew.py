"""The threads of a run: they take files, hand over how each ended, and make markers.

Nothing here touches the archive list or the run folder. What a thread finds out it puts into
``Crew.results``, for the one collector that started the crew.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from core.archive import Archiver
from core.errors import Code, FatalError, ItemError
from core.model import ArchiveItem, Entry, Outcome, Result
from core.sending import Sender
from core.stop import StopSignal

MARKS_TOGETHER = 50
"""Markers that one worker makes in a row. Several workers at one directory of a local disk only
wait for each other; on a slow share so many are made within a moment all the same."""
_MIB = 1024 * 1024

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Done:
    """What a worker hands to the collector."""

    item: ArchiveItem
    value: Entry | Outcome | FatalError
    marked: bool = False
    """True when ``value`` is what came of making the marker."""


Mark = tuple[ArchiveItem, Outcome]
"""A marker to be made, and the outcome of its file once it is there."""


@dataclass(slots=True)
class _Tally:
    """What one thread has done; only that thread writes it."""

    files: int = 0
    moved: int = 0
    """Bytes of files that went alone; small ones count by number."""
    under_way: int = 0
    """Bytes of the file under way that have been stored."""
    busy_seconds: float = 0.0
    """Processor time."""


class Crew:
    """Worker threads over the files of one plan. Every method is the collector's to call."""

    def __init__(
        self, items: Sequence[ArchiveItem], archiver: Archiver, stop: StopSignal, threads: int
    ) -> None:
        """``threads``: the most there may be; none runs before ``start``."""
        self._total = len(items)
        self._todo = iter(items)
        self._archiver = archiver
        self._stop = stop
        self._threads = threads
        self._taking = threading.Lock()
        self._taken = 0
        self._marks: queue.SimpleQueue[Sequence[Mark] | None] = queue.SimpleQueue()
        self._halted = threading.Event()
        self._over = threading.Event()
        self._tallies: list[_Tally] = []
        self.results: deque[Done] = deque()
        self.lost: FatalError | None = None
        """Why a thread died; the files it had taken do not come back."""
        self.current = ""
        """Path of the file that was begun last."""

    @property
    def size(self) -> int:
        """How many threads were started."""
        return len(self._tallies)

    @property
    def halted(self) -> bool:
        return self._halted.is_set()

    def start(self, more: int) -> None:
        """Start so many threads more, within the limit."""
        for number in range(self.size, min(self.size + more, self._threads)):
            tally = _Tally()
            self._tallies.append(tally)
            name = f"himuro-archive-{number}"
            threading.Thread(target=self._work, args=(tally,), name=name, daemon=True).start()

    def halt(self) -> None:
        """Let no file be begun any more; those under way and markers go on."""
        self._halted.set()

    def dismiss(self) -> None:
        """Let the threads end; what they still hand over is for nobody."""
        self._halted.set()
        self._over.set()
        for _ in range(self._threads):
            self._marks.put(None)

    def ask_for(self, marks: Sequence[Mark]) -> None:
        """Have markers made; each comes back in ``results``."""
        for start in range(0, len(marks), MARKS_TOGETHER):
            self._marks.put(marks[start : start + MARKS_TOGETHER])

    def is_idle(self, returned: int) -> bool:
        """Return whether no file is under way and none will be begun, when ``returned`` files
        have been seen in ``results``."""
        with self._taking:
            ended = self._taken == self._total or self._stopping()
            return ended and returned == self._taken

    @property
    def bytes_under_way(self) -> int:
        return sum(tally.under_way for tally in self._tallies)

    def work_done(self) -> tuple[float, float]:
        """Return the processor time of all threads, and how much they have done: one for each
        file and for each MiB of those that went alone. Neither ever becomes less."""
        seconds = sum(tally.busy_seconds for tally in self._tallies)
        return seconds, sum(tally.files + tally.moved / _MIB for tally in self._tallies)

    # In the threads

    def _work(self, tally: _Tally) -> None:
        try:
            self._archive(tally)
        except Exception as exc:
            # Nobody may wait for the files that this thread had taken.
            _logger.exception("a worker failed")
            self.lost = FatalError(Code.INTERNAL, type(exc).__name__)
            self._halted.set()

    def _archive(self, tally: _Tally) -> None:
        def sent(size: int) -> None:
            tally.under_way += size
            tally.moved += size

        sender = Sender(
            self._archiver, sent=sent, cancelled=self._cancelled, stopping=self._stopping
        )
        for item, result in sender.store_all(self._items()):
            if isinstance(result, FatalError):
                self._halted.set()
            value = result if isinstance(result, Entry | FatalError) else failure(item, result)
            self.results.append(Done(item, value))
            tally.files += 1
            tally.under_way = 0
            tally.busy_seconds = time.thread_time()
        while (marks := self._marks.get()) is not None:
            self._make(marks)

    def _items(self) -> Iterator[ArchiveItem]:
        """Yield what is to be archived next; markers that wait are made first."""
        while True:
            with suppress(queue.Empty):
                marks = self._marks.get_nowait()
                if marks is None:
                    self._marks.put(None)
                    return
                self._make(marks)
            item = self._take()
            if item is None:
                return
            self.current = item.path
            yield item

    def _take(self) -> ArchiveItem | None:
        with self._taking:
            if self._stopping():
                return None
            item = next(self._todo, None)
            self._taken += item is not None
            return item

    def _make(self, marks: Sequence[Mark]) -> None:
        for item, outcome in marks:
            self.results.append(Done(item, self._mark(item, outcome), marked=True))

    def _mark(self, item: ArchiveItem, outcome: Outcome) -> Outcome | FatalError:
        try:
            self._archiver.mark(item)
        except FatalError as exc:
            self._halted.set()
            return exc
        except Exception as exc:  # noqa: BLE001 - one file's failure must not end the others
            return failure(item, exc)
        return outcome

    def _cancelled(self) -> bool:
        """Tell a file under way to give up: its time is over, or nobody waits for it."""
        return self._stop.expired or self._over.is_set()

    def _stopping(self) -> bool:
        return self._stop.requested or self._halted.is_set()


def failure(item: ArchiveItem, exc: Exception) -> Outcome:
    """Return what an exception means for one file."""
    if isinstance(exc, ItemError):
        return Outcome(item.path, Result.FAILED, code=exc.code, detail=exc.detail)
    _logger.exception("unexpected error at %s", item.path, exc_info=exc)
    return Outcome(item.path, Result.FAILED, code=Code.INTERNAL, detail=type(exc).__name__)
