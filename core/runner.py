"""Runs a plan: workers upload and mark, one collector registers, writes and decides.

Workers return values; only the collector (the thread that calls ``execute``) touches the
archive list, the run folder and the progress. A file's failure is a value; what concerns
every file stops the run (contract, invariant 7).
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
from datetime import UTC, datetime

from core.archive import Archiver
from core.errors import Code, FatalError, HimuroError, ItemError, Severity, sentence
from core.growth import Growth
from core.model import ArchiveItem, Entry, Outcome, Plan, Progress, Result
from core.ports import Catalogue, ObjectStore, ProgressSink, silent
from core.runfolder import RunFolder
from core.stop import StopSignal

THREADS, FIRST_THREADS = 16, 2
BATCH_ROWS = 200
BATCH_SECONDS = 0.3
"""Rows are committed when so many have come together or the oldest has waited so long."""
POLL_SECONDS, LAST_POLL_SECONDS = 0.02, 0.002
"""Between two looks at what has ended; the second once nothing is on its way to S3 any more."""
MARKS_TOGETHER = 50
"""Markers that one worker makes in a row. Several workers at one directory of a local disk only
wait for each other; on a slow share so many are made within a moment all the same."""
FATAL_DRAIN_SECONDS = 30.0
"""How long files that are under way may go on after the environment broke."""
GIVE_UP_SECONDS = 2.0
"""How long a file that was told to give up may take to withdraw its parts."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended."""

    outcomes: dict[str, Outcome]
    """By path; files that were not begun are missing."""
    fatal: FatalError | None
    """What stopped the run early."""
    stopped: bool
    """True when a stop was asked for before everything was done."""


_Mark = tuple[ArchiveItem, Outcome]
"""A marker to be made, and the outcome of its file once it is there."""


@dataclass(frozen=True, slots=True)
class _Done:
    """What a worker hands to the collector."""

    item: ArchiveItem
    value: Entry | Outcome | FatalError
    marked: bool = False


class ArchiveRunner:
    """One execution of one plan."""

    def __init__(
        self,
        plan: Plan,
        archiver: Archiver,
        catalogue: Catalogue,
        folder: RunFolder,
        *,
        stop: StopSignal,
        progress: ProgressSink = silent,
        threads: int = THREADS,
    ) -> None:
        self._plan = plan
        self._archiver = archiver
        self._catalogue = catalogue
        self._folder = folder
        self._stop = stop
        self._progress = progress
        self._threads = threads
        self._todo = iter(plan.items)
        self._total_bytes = plan.total_bytes
        self._taking = threading.Lock()
        self._taken = 0
        self._results: deque[_Done] = deque()
        self._marks: queue.SimpleQueue[Sequence[_Mark] | None] = queue.SimpleQueue()
        self._to_mark: list[_Mark] = []
        self._finished: list[Outcome] = []
        self._halted = threading.Event()
        self._over = threading.Event()
        self._current = ""
        self._in_flight: dict[int, int] = {}
        self._busy_seconds: dict[int, float] = {}
        self._growth = Growth()
        self._lost: FatalError | None = None
        self._outcomes: dict[str, Outcome] = {}
        self._done_bytes = 0
        self._failed = 0
        self._fatal: FatalError | None = None
        self._abandon_at: float | None = None

    def execute(self) -> RunResult:
        """Archive every file of the plan and return how each ended.

        Never raises for a broken environment: that is in the result, so that the lists of
        what was not done can still be written.
        """
        self._start(FIRST_THREADS)
        try:
            self._collect()
        except Exception as exc:
            # The lists of what was not done are still owed, so it ends like any broken run.
            _logger.exception("the collector of run %s failed", self._folder.run_id)
            self._break(FatalError(Code.INTERNAL, type(exc).__name__), "")
        finally:
            self._halted.set()
            self._over.set()
            for _ in range(self._threads):
                self._marks.put(None)
        self._report()
        unsettled = len(self._plan.items) - sum(o.settled for o in self._outcomes.values())
        stopped = self._stop.requested and unsettled > 0
        return RunResult(self._outcomes, self._fatal, stopped)

    # Workers

    def _start(self, more: int) -> None:
        begun = len(self._in_flight)
        for number in range(begun, min(begun + more, self._threads)):
            self._in_flight[number] = 0
            name = f"himuro-archive-{number}"
            threading.Thread(target=self._work, args=(number,), name=name, daemon=True).start()

    def _work(self, number: int) -> None:
        try:
            self._archive(number)
        except Exception as exc:
            # Nobody may wait for the files that this thread had taken.
            _logger.exception("a worker of run %s failed", self._folder.run_id)
            self._lost = FatalError(Code.INTERNAL, type(exc).__name__)
            self._halted.set()

    def _archive(self, number: int) -> None:
        def sent(size: int) -> None:
            self._in_flight[number] += size

        ended = self._archiver.store_all(
            self._items(), sent=sent, cancelled=self._cancelled, stopping=self._stopping
        )
        for item, result in ended:
            if isinstance(result, FatalError):
                self._halted.set()
            if isinstance(result, Entry | FatalError):
                self._results.append(_Done(item, result))
            else:
                self._results.append(_Done(item, _failure(item, result)))
            self._in_flight[number] = 0
            self._busy_seconds[number] = time.thread_time()
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
            self._current = item.path
            yield item

    def _make(self, marks: Sequence[_Mark]) -> None:
        for item, outcome in marks:
            self._results.append(_Done(item, self._mark(item, outcome), marked=True))

    def _take(self) -> ArchiveItem | None:
        with self._taking:
            if self._stopping():
                return None
            item = next(self._todo, None)
            self._taken += item is not None
            return item

    def _mark(self, item: ArchiveItem, outcome: Outcome) -> Outcome | FatalError:
        try:
            self._archiver.mark(item)
        except FatalError as exc:
            self._halted.set()
            return exc
        except Exception as exc:  # noqa: BLE001 - one file's failure must not end the others
            return _failure(item, exc)
        return outcome

    def _cancelled(self) -> bool:
        """Tell a file under way to give up: its time is over, or nobody waits for it."""
        return self._stop.expired or self._over.is_set()

    def _stopping(self) -> bool:
        return self._stop.requested or self._halted.is_set()

    # The collector

    def _collect(self) -> None:
        batch: list[_Done] = []
        since = reported = time.monotonic()
        returned = marking = 0
        while not self._abandoned():
            while self._results:
                done = self._results.popleft()
                returned += not done.marked
                marking -= done.marked
                if isinstance(done.value, Entry) and done.value is not done.item.newest:
                    since = since if batch else time.monotonic()
                    batch.append(done)
                else:
                    self._settle(done)
            now = time.monotonic()
            idle = self._all_returned(returned)
            if batch and (len(batch) >= BATCH_ROWS or idle or now - since >= BATCH_SECONDS):
                self._register(batch)
                batch = []
            if self._lost:
                self._break(self._lost, "")
            marking += self._ask_for_marks()
            self._write_outcomes()
            self._note_unlisted()
            if now - reported >= BATCH_SECONDS:
                reported = now
                self._report()
            if not idle and self._growth.is_due(now, *self._work_done(returned)):
                self._start(len(self._in_flight))
            if idle and not batch and not marking:
                return
            # A look every now and then costs far less than being woken for every file: each
            # waking is a fight over the interpreter lock with the workers.
            time.sleep(LAST_POLL_SECONDS if idle else POLL_SECONDS)
        if batch:
            self._register(batch)
            self._write_outcomes()

    def _work_done(self, returned: int) -> tuple[float, float]:
        """Return the processor time of the workers, and how much they have done: one for each
        file and for each MiB."""
        done = self._done_bytes + sum(self._in_flight.copy().values())
        return sum(self._busy_seconds.copy().values()), returned + done / 1024**2

    def _ask_for_marks(self) -> int:
        """Hand the workers what is to be marked; returns how many markers that is."""
        marks, self._to_mark = self._to_mark, []
        for start in range(0, len(marks), MARKS_TOGETHER):
            self._marks.put(marks[start : start + MARKS_TOGETHER])
        return len(marks)

    def _all_returned(self, returned: int) -> bool:
        """Return whether no file is under way and none will be begun."""
        with self._taking:
            ended = self._taken == len(self._plan.items) or self._stopping()
            return ended and returned == self._taken

    def _abandoned(self) -> bool:
        """Return whether workers that do not come back are no longer waited for."""
        now = time.monotonic()
        if self._stop.expired:
            limit = now + GIVE_UP_SECONDS
        elif self._halted.is_set():
            limit = now + FATAL_DRAIN_SECONDS
        else:
            return False
        self._abandon_at = min(limit, self._abandon_at or limit)
        return now >= self._abandon_at

    def _settle(self, done: _Done) -> None:
        """Take in what is not to be registered."""
        value = done.value
        if isinstance(value, FatalError):
            self._break(value, done.item.path)
        elif isinstance(value, Entry):
            unchanged = Outcome(
                done.item.path, Result.UNCHANGED, value.size, value.key, value.sha256
            )
            self._to_mark.append((done.item, unchanged))
        else:
            self._finish(value)

    def _register(self, batch: list[_Done]) -> None:
        """Commit rows; what is registered is to be marked next."""
        rows = [(d.item, d.value) for d in batch if isinstance(d.value, Entry)]
        try:
            taken = {(e.bucket, e.key) for e in self._catalogue.add([row for _, row in rows])}
        except FatalError as exc:
            self._break(exc, "")
            for item, _ in rows:
                self._finish(Outcome(item.path, Result.FAILED, code=Code.NOT_REGISTERED))
            return
        for item, row in rows:
            if (row.bucket, row.key) in taken:
                failed = Outcome(item.path, Result.FAILED, code=Code.KEY_OCCUPIED, detail=row.key)
                self._finish(failed)
            else:
                archived = Outcome(item.path, Result.ARCHIVED, row.size, row.key, row.sha256)
                self._to_mark.append((item, archived))

    def _finish(self, outcome: Outcome) -> None:
        self._outcomes[outcome.path] = outcome
        self._finished.append(outcome)
        self._done_bytes += outcome.size
        self._failed += not outcome.settled

    def _write_outcomes(self) -> None:
        """Write what has finished since the last time."""
        finished, self._finished = self._finished, []
        if not finished:
            return
        try:
            self._folder.add_outcomes(finished)
            for outcome in finished:
                if outcome.code and outcome.code is not Code.STOPPED:
                    text = f"{outcome.reason} 対処: {outcome.code.remedy}"
                    now = datetime.now(UTC)
                    self._folder.log(now, Severity.ERROR, outcome.path, text, outcome.code)
        except FatalError as exc:
            self._break(exc, "")

    def _note_unlisted(self) -> None:
        while self._archiver.unlisted:
            item, key = self._archiver.unlisted.popleft()
            code = Code.OBJECT_UNLISTED
            text = f"{sentence(code, key)} 対処: {code.remedy}"
            self._folder.log(datetime.now(UTC), code.severity, item.path, text, code)

    def _break(self, error: FatalError, path: str) -> None:
        """Note why the run stops; the first reason is the one that counts."""
        self._halted.set()
        if self._fatal is None:
            self._fatal = error
            _logger.info("run %s stops at %s: %s", self._folder.run_id, path or "-", error)

    def _report(self) -> None:
        """Tell how far it is. A screen that breaks must not cost the run its end."""
        try:
            self._progress(self._so_far())
        except Exception:
            _logger.exception("the progress of run %s cannot be shown", self._folder.run_id)
            self._progress = silent

    def _so_far(self) -> Progress:
        return Progress(
            total_files=len(self._plan.items),
            total_bytes=self._total_bytes,
            done_files=len(self._outcomes),
            done_bytes=self._done_bytes + sum(self._in_flight.copy().values()),
            failed_files=self._failed,
            current=self._current,
            phase="停止しています" if self._stop.requested else "アーカイブしています",
        )


def _failure(item: ArchiveItem, exc: Exception) -> Outcome:
    if isinstance(exc, ItemError):
        return Outcome(item.path, Result.FAILED, code=exc.code, detail=exc.detail)
    _logger.exception("unexpected error at %s", item.path, exc_info=exc)
    return Outcome(item.path, Result.FAILED, code=Code.INTERNAL, detail=type(exc).__name__)


def clear_leftovers(plan: Plan, archiver: Archiver, store: ObjectStore) -> HimuroError | None:
    """Give up parts that a killed run left for files of this plan; S3 bills them for ever.

    Returns what prevented it: the run itself can go on without.
    """
    large = [item for item in plan.items if store.part_size(item.size)]
    if not large:
        return None
    try:
        store.abort_unfinished({key for item in large for key in archiver.likely_keys(item)})
    except HimuroError as exc:
        return exc
    return None
