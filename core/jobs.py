"""Checks and runs in the background of this process: one run at a time, the others wait.

What the pages see are snapshots. The truth is in the run folders and in the database: a
process that dies loses the queue, and its runs become ``interrupted`` at the next start.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from core import history
from core.check import refusal
from core.errors import Code, FatalError, HimuroError, ListError, sentence
from core.model import ListSource, Plan, Progress, RunRecord, RunRequest
from core.ports import Catalogue, ObjectStore
from core.run import ArchiveRun, recover, utc_now
from core.runner import StopSignal
from core.settings import JOB_NEEDS, Settings
from core.workers import Cancelled

DRAIN_SECONDS = 20.0
"""How long files under way may go on when the container is told to stop."""
_MOST_DRAFTS = 20

_logger = logging.getLogger(__name__)


class DraftState(StrEnum):
    """Where a check stands."""

    CHECKING = "checking"
    READY = "ready"
    REFUSED = "refused"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Draft:
    """A list that was uploaded and is being checked, or waits for the operator's word."""

    draft_id: str
    state: DraftState
    request: RunRequest
    sources: tuple[str, ...]
    """Names of the lists."""
    created_at: datetime
    """With time zone."""
    progress: Progress = Progress()
    plan: Plan | None = None
    """Set when ``READY`` or ``REFUSED``."""
    message: str = ""
    """Japanese: why it was refused or what is broken."""
    run_id: str = ""
    """The run that it became, also a refused one; empty before."""


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


class _Job:
    def __init__(self, run: ArchiveRun, sources: tuple[str, ...], plan: Plan) -> None:
        self.run = run
        self.sources = sources
        self.stop = StopSignal()
        self.progress = Progress(total_files=len(plan.items), total_bytes=plan.total_bytes)

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
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._open_store = open_store
        self._now = now
        self._lock = threading.RLock()
        self._drafts: OrderedDict[str, Draft] = OrderedDict()
        self._runs: dict[str, ArchiveRun] = {}
        self._discarded: set[str] = set()
        self._queue: list[_Job] = []
        self._wake = threading.Condition(self._lock)
        self._closing = False
        self._worker: threading.Thread | None = None

    # Life

    def open(self) -> None:
        """Close the books of runs that died with an earlier process, and begin to work."""
        for record in recover(self._settings, self._now):
            _logger.warning("run %s was interrupted", record.run_id)
        with self._lock:
            if self._worker is None:
                self._worker = threading.Thread(target=self._serve, name="himuro-jobs", daemon=True)
                self._worker.start()

    def close(self, within: float = DRAIN_SECONDS) -> None:
        """Stop everything; files under way have ``within`` seconds. Blocks until it is done."""
        with self._wake:
            self._closing = True
            for job in self._queue:
                job.stop.request(within)
            worker = self._worker
            self._wake.notify_all()
        if worker is not None:
            worker.join(within + 10)

    # Checks

    def check(self, sources: Sequence[ListSource], request: RunRequest) -> str:
        """Begin to check lists in the background and return the draft's id."""
        run = ArchiveRun(self._settings, self._catalogue, sources, request, now=self._now)
        draft_id = secrets.token_urlsafe(12)
        names = tuple(source.name for source in sources)
        draft = Draft(draft_id, DraftState.CHECKING, request, names, self._now())
        with self._lock:
            self._drafts[draft_id] = draft
            self._runs[draft_id] = run
            while len(self._drafts) > _MOST_DRAFTS:
                oldest = next(iter(self._drafts))
                self.discard(oldest)
        threading.Thread(
            target=self._check, args=(draft_id, run), name=f"himuro-draft-{draft_id}", daemon=True
        ).start()
        return draft_id

    def retry(self, run_id: str, started_by: str) -> str:
        """Begin to check the error file list of a run, for the same request.

        Raises ``ListError`` when the run has none.
        """
        record = self.record(run_id)
        path = self.file(run_id, "failed_uploads.txt")
        if record is None or path is None:
            raise ListError("この実行にはエラーファイル一覧がありません")
        source = ListSource(f"{run_id}_failed_uploads.txt", path.read_bytes())
        return self.check([source], replace(record.request, started_by=started_by))

    def draft(self, draft_id: str) -> Draft | None:
        with self._lock:
            return self._drafts.get(draft_id)

    def discard(self, draft_id: str) -> None:
        """Forget a check; one that still goes on ends soon. Runs are not affected."""
        with self._lock:
            self._drafts.pop(draft_id, None)
            self._runs.pop(draft_id, None)
            self._discarded.add(draft_id)

    def _check(self, draft_id: str, run: ArchiveRun) -> None:
        def progress(progress: Progress) -> None:
            self._update(draft_id, progress=progress)

        def cancelled() -> bool:
            return draft_id in self._discarded or self._closing

        try:
            self._settings.require(JOB_NEEDS)
            self._open_store(self._settings).check()
            plan = run.check(progress, cancelled)
            message = refusal(plan)
            if message:
                run_id = run.refuse(plan).run_id
                self._update(
                    draft_id, state=DraftState.REFUSED, plan=plan, message=message, run_id=run_id
                )
            else:
                self._update(draft_id, state=DraftState.READY, plan=plan)
        except Cancelled:
            return
        except FatalError as exc:
            self._fail_draft(draft_id, str(exc), self._record_failure(run, exc))
        except HimuroError as exc:
            self._fail_draft(draft_id, str(exc), "")
        except Exception:
            _logger.exception("check %s failed", draft_id)
            self._fail_draft(draft_id, f"{sentence(Code.INTERNAL)}。{Code.INTERNAL.remedy}", "")

    def _record_failure(self, run: ArchiveRun, error: FatalError) -> str:
        try:
            return run.fail(error).run_id
        except FatalError as exc:
            _logger.error("the failure of %s cannot be recorded: %s", run.record.run_id, exc)  # noqa: TRY400
            return ""

    def _fail_draft(self, draft_id: str, message: str, run_id: str) -> None:
        self._update(draft_id, state=DraftState.ERROR, message=message, run_id=run_id)

    def _update(self, draft_id: str, **changes: object) -> None:
        with self._lock:
            if draft_id in self._drafts:
                self._drafts[draft_id] = replace(self._drafts[draft_id], **changes)  # type: ignore[arg-type]

    # Runs

    def start(self, draft_id: str) -> str:
        """Queue the run of a checked list and return its id; a second call returns the same.

        Raises ``ListError`` when the check is unknown, unfinished or refused, ``FatalError``
        when the run folder cannot be written.
        """
        with self._wake:
            draft = self._drafts.get(draft_id)
            if draft is None:
                raise ListError(
                    "確認の結果が見つかりません。一覧をもう一度アップロードしてください"
                )
            if draft.run_id and draft.state is DraftState.READY:
                return draft.run_id
            if draft.state is not DraftState.READY or draft.plan is None:
                raise ListError("確認が終わっていないか、誤りがあるため実行できません")
            if self._closing:
                raise ListError("停止中のため実行できません。再起動後にもう一度実行してください")
            run = self._runs[draft_id]
            run_id = run.begin(draft.plan).run_id
            self._update(draft_id, run_id=run_id)
            self._queue.append(_Job(run, draft.sources, draft.plan))
            self._wake.notify_all()
            return run_id

    def active(self) -> tuple[JobView, ...]:
        """Return the run that has its turn, then those that wait, in their order."""
        with self._lock:
            return tuple(job.view() for job in self._queue)

    def stop(self, run_id: str) -> None:
        """Ask a run to stop: files under way finish, the rest goes to the error file list."""
        with self._lock:
            for job in self._queue:
                if job.run.record.run_id == run_id:
                    job.stop.request()

    def _serve(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                job = self._queue[0]
            try:
                self._execute(job)
            except HimuroError as exc:
                # Its folder says "running" and its lock is free: the next start ends it.
                _logger.error("run %s: %s", job.run.record.run_id, exc)  # noqa: TRY400
            except Exception:
                _logger.exception("run %s failed", job.run.record.run_id)
            with self._lock:
                self._queue.remove(job)

    def _execute(self, job: _Job) -> None:
        def progress(progress: Progress) -> None:
            if not progress.total_files:
                progress = replace(job.progress, phase=progress.phase)
            job.progress = progress

        job.run.execute(lambda: self._open_store(self._settings), job.stop, progress)

    # The past

    def records(self, limit: int) -> tuple[RunRecord, ...]:
        """Return the newest runs first, also those of other processes."""
        return tuple(history.records(self._settings, limit))

    def record(self, run_id: str) -> RunRecord | None:
        return history.record_of(self._settings, run_id)

    def file(self, run_id: str, name: str) -> Path | None:
        """Return a file of a run folder; None when it is absent or no contract file."""
        return history.file_of(self._settings, run_id, name)
