"""The threads of an archive run: they store files, and make markers once rows are committed."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from core.archive.archiver import Archiver
from core.archive.generations import with_history
from core.archive.sender import Sender
from core.concurrency.cancellation import StopSignal
from core.concurrency.worker_pool import REST_SECONDS, Tally
from core.errors import FatalError, ItemError
from core.model import ArchiveItem, Entry, Outcome, Result
from core.ports import Catalogue
from core.resources.shortage import patiently, unexpected
from core.runs.workers import RunWorkers

MARKS_TOGETHER = 50
"""Markers that one worker makes in a row. Several workers at one directory of a local disk only
wait for each other; on a slow share so many are made within a moment all the same."""

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


class ArchiveWorkers(RunWorkers[ArchiveItem, Done]):
    """Worker threads over the files of one plan. A halted pool still makes markers."""

    def __init__(
        self,
        items: Sequence[ArchiveItem],
        archiver: Archiver,
        catalogue: Catalogue,
        stop: StopSignal,
        threads: int,
    ) -> None:
        prepared = with_history(items, catalogue)
        super().__init__(items, stop, threads, "himuro-archive", prepared)
        self._archiver = archiver
        self._marks: queue.SimpleQueue[Sequence[Mark] | None] = queue.SimpleQueue()

    def dismiss(self) -> None:
        super().dismiss()
        for _ in range(self._threads):
            self._marks.put(None)

    def ask_for(self, marks: Sequence[Mark]) -> None:
        """Have markers made; each comes back in ``results``."""
        for start in range(0, len(marks), MARKS_TOGETHER):
            self._marks.put(marks[start : start + MARKS_TOGETHER])

    # In the threads

    def _work(self, tally: Tally) -> None:
        sender = Sender(
            self._archiver, sent=tally.move, cancelled=self._cancelled, stopping=self._stopping
        )
        while self._has_more():
            for item, result in sender.store_all(self._items()):
                if isinstance(result, FatalError):
                    self._halted.set()
                value = result if isinstance(result, Entry | FatalError) else failure(item, result)
                self.results.append(Done(item, value))
                tally.end_files()
        while (marks := self._marks.get()) is not None:
            self._make(marks)

    def _items(self) -> Iterator[ArchiveItem]:
        """Yield what is to be archived next; markers that wait are made first."""
        while True:
            with suppress(queue.Empty):
                self._make_or_return(self._marks.get_nowait())
            if not (some := self._take()):
                return
            yield from some

    def _rest(self) -> None:
        """Make markers meanwhile: they are what makes room."""
        with suppress(queue.Empty):
            self._make_or_return(self._marks.get(timeout=REST_SECONDS))

    def _make_or_return(self, marks: Sequence[Mark] | None) -> None:
        """Make markers; the sign that there will be no more goes back for whoever waits for it."""
        if marks is None:
            self._marks.put(None)
        else:
            self._make(marks)

    def _make(self, marks: Sequence[Mark]) -> None:
        for item, outcome in marks:
            self.results.append(Done(item, self._mark(item, outcome), marked=True))

    def _mark(self, item: ArchiveItem, outcome: Outcome) -> Outcome | FatalError:
        try:
            patiently(self._archiver.mark, item)
        except FatalError as exc:
            self._halted.set()
            return exc
        except Exception as exc:  # noqa: BLE001 - one file's failure must not end the others
            return failure(item, exc)
        return outcome


def failure(item: ArchiveItem, exc: Exception) -> Outcome:
    """Return what an exception means for one file."""
    if isinstance(exc, ItemError):
        return Outcome(item.path, Result.FAILED, code=exc.code, detail=exc.detail)
    _logger.exception("unexpected error at %s", item.path, exc_info=exc)
    meaning = unexpected(exc)
    return Outcome(item.path, Result.FAILED, code=meaning.code, detail=meaning.detail)
