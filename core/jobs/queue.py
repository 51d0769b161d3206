"""Runs in the background of this process: one at a time, the others wait.

What the pages see are snapshots. The truth is in the run folders and in the database: a
process that dies loses the queue, and its runs become ``interrupted`` at the next start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from core.archive.ports import ObjectStore
from core.archive.run import ArchiveRun
from core.clock import utc_now
from core.concurrency.cancellation import DRAIN_SECONDS, StopSignal
from core.concurrency.threads import start_thread
from core.config.settings import Settings
from core.errors import HimuroError, ListError
from core.jobs.pending_checks import ITEM_BYTES, Draft, Drafts
from core.jobs.pending_checks import DraftState as DraftState
from core.jobs.recovery import recover
from core.model import HiddenRows, ListSource, Progress, RunKind, RunRecord, RunRequest
from core.ports import Catalogue, ProgressSink
from core.resources.memory_budget import ConsoleMemory, Reservation
from core.resources.shortage import patiently
from core.restore.model import Tier
from core.restore.ports import RestoreStore
from core.restore.run import OpenRestore, RestoreRun
from core.restore.target import find_target
from core.runs import history
from core.runs.base import AnyRun
from core.runs.index import Listing, RunIndex

_MAX_FILES = 1_000_000
"""Of all runs that wait: each keeps its plan in memory, 800 bytes a file."""
LISTS_SECONDS = 10.0
"""How long a run may take after that to write its lists."""

Work = Callable[[StopSignal, ProgressSink], RunRecord]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobView:
    """A run that is going on or waits for its turn."""

    run_id: str
    kind: str
    request: RunRequest
    sources: tuple[str, ...]
    progress: Progress
    queued: bool
    """True while another run has its turn."""
    stopping: bool
    created_at: datetime
    """With time zone, as is the next."""
    started_at: datetime | None
    """None while queued."""


class _Recorded(Protocol):
    @property
    def record(self) -> RunRecord: ...


class _Job:
    def __init__(
        self,
        run: _Recorded,
        sources: tuple[str, ...],
        work: Work,
        progress: Progress,
        *,
        hold: Reservation,
    ) -> None:
        """``work`` carries the run out; ``progress``: what is known before that; ``hold``: the
        memory of its plan."""
        self.hold = hold
        self.run = run
        self.sources = sources
        self.work = work
        self.stop = StopSignal()
        self.taken = False
        """True once a thread carries it out or ends it; no other may touch the run then."""
        self.progress = progress

    def view(self) -> JobView:
        record = self.run.record
        return JobView(
            run_id=record.run_id,
            kind=record.kind,
            request=record.request,
            sources=self.sources,
            progress=self.progress,
            queued=record.started_at is None,
            stopping=self.stop.requested,
            created_at=record.created_at,
            started_at=record.started_at,
        )


class Jobs:
    """The one queue of this process. All methods may be called from any thread."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        open_store: Callable[[Settings], ObjectStore],
        open_restore_store: Callable[[Settings], RestoreStore],
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._open_store = open_store
        self.open_restore_store = open_restore_store
        self._now = now
        self._index = RunIndex(settings)
        self.memory = ConsoleMemory(settings.memory_bytes)
        """What everything in this console asks before it holds bytes for somebody."""
        self._drafts = Drafts(
            settings, catalogue, open_store, open_restore_store, self.memory.checks, now=now
        )
        self._wake = threading.Condition(threading.RLock())
        self._queue: list[_Job] = []
        self._being_begun = 0
        self._closing = False
        self._worker: threading.Thread | None = None

    # Life

    def open(self) -> None:
        """Close the books of runs that died with an earlier process, and begin to work.

        Raises ``FatalError(MACHINE_SHORT)`` when there is no thread for it; it may be called
        again.
        """
        for record in recover(self._settings, self._now):
            _logger.warning("run %s was interrupted", record.run_id)
        with self._wake:
            if self._worker is None:
                self._worker = start_thread(self._serve, name="himuro-jobs")

    def close(self, within: float = DRAIN_SECONDS) -> None:
        """Stop everything; files under way have ``within`` seconds. Blocks until it is done,
        but no longer than that and what the lists take."""
        deadline = time.monotonic() + within + LISTS_SECONDS
        self._catalogue.hurry(within)
        self._drafts.close()
        with self._wake:
            self._closing = True
            for job in self._queue:
                job.stop.request(within)
            waiting = self._waiting()
            for job in waiting:
                job.taken = True
            self._wake.notify_all()
        for job in waiting:
            self._carry_out(job)
        with self._wake:
            self._wake.wait_for(
                lambda: not (self._queue or self._being_begun),
                max(0.0, deadline - time.monotonic()),
            )
        if self._worker is not None:
            self._worker.join(max(0.0, deadline - time.monotonic()))

    # Checks

    def check(self, sources: Sequence[ListSource], request: RunRequest) -> str:
        """Begin to check lists in the background and return the draft's id."""
        return self._drafts.check(sources, request)

    def check_restore(self, sources: Sequence[ListSource], request: RunRequest) -> str:
        """Begin to check restore lists in the background and return the draft's id."""
        return self._drafts.check_restore(sources, request)

    def check_again(self, draft_id: str, hidden_rows: HiddenRows, started_by: str) -> str:
        """Begin to check the lists of a refused check once more, now that it is decided what
        becomes of rows that Excel does not show; returns the new draft's id.

        Raises ``ListError`` when the lists are not there any more.
        """
        draft = self.draft(draft_id)
        sources = history.inputs_of(self._settings, draft.run_id) if draft else []
        if draft is None or not sources:
            raise ListError("一覧が残っていません。もう一度アップロードしてください")
        request = replace(draft.request, started_by=started_by)
        check = self._drafts.check_restore if draft.kind == RunKind.RESTORE else self._drafts.check
        again = check(sources, request, hidden_rows)
        self.discard(draft_id)
        return again

    def retry(self, run_id: str, started_by: str) -> str:
        """Begin to check the error file list of a run, for the same request.

        Raises ``ListError`` when the run has none.
        """
        record = self.record(run_id)
        path = self.file(run_id, "failed_uploads.txt")
        if record is None or path is None:
            raise ListError("この実行にはエラーファイル一覧がありません")
        source = ListSource(f"{run_id}_failed_uploads.txt", patiently(path.read_bytes))
        return self.check([source], replace(record.request, started_by=started_by))

    def draft(self, draft_id: str) -> Draft | None:
        return self._drafts.draft(draft_id)

    def discard(self, draft_id: str) -> None:
        """Forget a check; one that still goes on ends soon. Runs are not affected."""
        self._drafts.discard(draft_id)

    # Runs

    def start(self, draft_id: str) -> str:
        """Queue the run of a checked list and return its id; a second call returns the same.

        Raises ``ListError`` when the check is unknown, unfinished or refused, ``FatalError``
        when the run folder cannot be written; then it may be called again.
        """

        def work_of(run: AnyRun) -> Work:
            if not isinstance(run, ArchiveRun):
                raise ListError("復元の一覧です。復元のページから実行してください")
            return partial(run.execute, lambda: self._open_store(self._settings))

        return self._start(draft_id, work_of)

    def start_restore(self, draft_id: str, tier: Tier, days: int) -> str:
        """Queue the requests of a checked restore list and return the run's id; a second call
        returns it again. ``start`` names the errors."""

        def work_of(run: AnyRun) -> Work:
            if not isinstance(run, RestoreRun):
                raise ListError("アーカイブの一覧です。アーカイブのページから実行してください")
            run.choose(tier, days)
            return partial(run.execute, self._restore_store)

        return self._start(draft_id, work_of)

    def request_again(self, run_id: str, started_by: str) -> None:
        """Queue new requests for the files of a restore that are not readable any more.

        Raises ``ListError`` when there is no such restore or it is busy, ``FatalError`` when
        its folder cannot be written.
        """
        restore = OpenRestore(self._settings, run_id, self._now)
        self._take_up(restore, started_by, partial(restore.request, self._restore_store))

    def place(self, run_id: str, directory: str, again: Collection[str], started_by: str) -> None:
        """Queue the placing of what is readable into a directory.

        ``again``: keys of files that were placed and are to be placed once more. Raises
        ``ListError`` when there is no such restore or directory, or it is busy, ``FatalError``
        when its folder cannot be written.
        """
        target = find_target(self._settings, directory)
        restore = OpenRestore(self._settings, run_id, self._now)

        def work(stop: StopSignal, progress: ProgressSink) -> RunRecord:
            return restore.place(self._restore_store, target, stop, progress, again=again)

        self._take_up(restore, started_by, work)

    def _restore_store(self) -> RestoreStore:
        return self.open_restore_store(self._settings)

    def _start(self, draft_id: str, work_of: Callable[[AnyRun], Work]) -> str:
        with self._drafts.starting(draft_id) as pending:
            draft = pending.draft
            if draft.state is DraftState.READY and draft.run_id:
                return draft.run_id
            run, hold = pending.owned()
            work, plan = work_of(run), draft.plan
            # What it writes takes seconds for a large plan: nobody is to wait for that.
            with self._beginning(len(plan.items) if plan else 0):
                record = run.begin(plan)
                progress = Progress(total_files=record.total_files, total_bytes=record.total_bytes)
                self._add(_Job(run, draft.sources, work, progress, hold=hold))
                pending.became(record.run_id)
            return record.run_id

    def _take_up(self, restore: OpenRestore, started_by: str, work: Work) -> None:
        files = restore.record.total_files - restore.record.placed_files
        with self._beginning(files):
            hold = self.memory.checks.reserve(ITEM_BYTES * files)
            added = False
            try:
                record = restore.begin(started_by)
                progress = Progress(
                    total_files=record.total_files - record.placed_files,
                    total_bytes=record.total_bytes - record.placed_bytes,
                )
                self._add(_Job(restore, record.inputs, work, progress, hold=hold))
                added = True
            finally:
                if not added:
                    hold.release()

    @contextmanager
    def _beginning(self, files: int) -> Iterator[None]:
        """Let nobody call the queue closed while a run is being begun.

        Raises ``ListError`` when it is closing, or holds as many files as it may.
        """
        with self._wake:
            if self._closing:
                raise ListError("停止中のため実行できません。再起動後にもう一度実行してください")
            waiting = sum(job.progress.total_files for job in self._queue)
            if self._queue and waiting + files > _MAX_FILES:
                raise ListError(
                    "順番を待っている実行のファイルが多すぎます。"
                    "実行中のものが終わってから、もう一度実行してください"
                )
            self._being_begun += 1
        try:
            yield
        finally:
            with self._wake:
                self._being_begun -= 1
                self._wake.notify_all()

    def _add(self, job: _Job) -> None:
        with self._wake:
            closing = self._closing
            if closing:  # meanwhile; it only ends
                job.stop.request(0)
                job.taken = True
            self._queue.append(job)
            self._wake.notify_all()
        if closing:
            self._carry_out(job)

    def active(self) -> tuple[JobView, ...]:
        """Return the run that has its turn, then those that wait, in their order."""
        with self._wake:
            return tuple(job.view() for job in self._queue)

    def stop(self, run_id: str) -> None:
        """Ask a run to stop: files under way finish, the rest goes to the error file list.

        A run that only waits has ended when this returns.
        """
        with self._wake:
            job = next((job for job in self._queue if job.run.record.run_id == run_id), None)
            if job is None:
                return
            job.stop.request()
            if job.taken:
                return
            job.taken = True
        self._carry_out(job)

    def _serve(self) -> None:
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        """Carry out the next run; in a call of its own, so that a run that has ended is not
        kept until another one comes."""
        job = self._take()
        if job is not None:
            self._carry_out(job)
        return job is not None

    def _take(self) -> _Job | None:
        """Wait for the next run and take it; None when the queue is being closed."""
        with self._wake:
            self._wake.wait_for(lambda: self._closing or self._waiting())
            if self._closing:
                return None
            job = self._waiting()[0]
            job.taken = True
            return job

    def _waiting(self) -> list[_Job]:
        return [job for job in self._queue if not job.taken]

    def _carry_out(self, job: _Job) -> None:
        """Execute a run that this thread has taken; one that was stopped before only ends."""
        try:
            self._execute(job)
        except HimuroError as exc:
            # Its folder says "running" and its lock is free: the next start ends it.
            _logger.error("run %s: %s", job.run.record.run_id, exc)  # noqa: TRY400
        except Exception:
            _logger.exception("run %s failed", job.run.record.run_id)
        finally:
            with self._wake:
                self._queue.remove(job)
                job.hold.release()
                self._wake.notify_all()

    def _execute(self, job: _Job) -> None:
        def progress(progress: Progress) -> None:
            if not progress.total_files:
                progress = replace(job.progress, phase=progress.phase)
            job.progress = progress

        job.work(job.stop, progress)

    # The past

    def records(self, limit: int) -> tuple[RunRecord, ...]:
        """Return the newest runs first, also those of other processes."""
        return tuple(history.records(self._settings, limit))

    def newest(self, limit: int, wanted: Callable[[str], bool]) -> list[RunRecord]:
        """Return the newest runs of the kinds that are ``wanted``; reads no others."""
        return history.newest(self._settings, limit, wanted)

    def record(self, run_id: str) -> RunRecord | None:
        return history.record_of(self._settings, run_id)

    def file(self, run_id: str, name: str) -> Path | None:
        """Return a file of a run folder; None when it is absent or not one of its files."""
        return history.file_of(self._settings, run_id, name)

    def listing(self) -> Listing:
        """Return all past runs, damaged ones too; raises ``FatalError`` as ``RunIndex``."""
        return self._index.listing()

    def past(self, run_id: str) -> history.PastRun | None:
        """Return one run, damaged or not; None when there is nothing of that name."""
        return history.run_of(self._settings, run_id)

    def files(self, run_id: str) -> list[tuple[Path, int]]:
        """Return the files of a run folder that may be downloaded, with their bytes."""
        return history.files_of(self._settings, run_id)
