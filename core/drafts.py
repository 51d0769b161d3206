"""Checks in the background: lists that were uploaded and wait for the operator's word."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from core.archive_run import ArchiveRun
from core.errors import FatalError, HimuroError, ListError
from core.memory_budget import MIB, MemoryBudget, MemoryBudgetError, Reservation
from core.model import HiddenRows, ListSource, Plan, Progress, RunRequest
from core.ports import Catalogue, ObjectStore, RestoreStore
from core.record import utc_now
from core.restore_model import RestorePlan, Tier, least_days
from core.restore_run import RestoreRun
from core.run import AnyPlan, AnyRun
from core.settings import JOB_NEEDS, RESTORE_NEEDS, Settings
from core.shortage import unexpected
from core.threads import start_thread
from core.workers import Cancelled

_MOST_DRAFTS = 20
_MOST_BYTES = 512 * 1024 * 1024
"""Of all checks together, as ``_size`` estimates them: three of the largest lists."""
CHECK_BYTES = 256 * MIB
"""That a check takes at most while it goes on, its lists apart: measured, of 200,000 files that
exist. A list without any that does takes less than half."""
ITEM_BYTES = 800
"""A file of a plan in memory, measured; a problem takes as much."""
_UNSEEN = timedelta(minutes=10)
"""After which a check that nobody looks at gives way to another one that needs its memory."""
_KEPT = timedelta(hours=24)
"""How long a check waits for the operator's word."""

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
    kind: str = "archive"
    progress: Progress = Progress()
    plan: Plan | RestorePlan | None = None
    """Set when ``READY`` or ``REFUSED``; of a restore a ``RestorePlan``."""
    message: str = ""
    """Japanese: why it was refused or what is broken."""
    run_id: str = ""
    """The run that it became, also a refused one; empty before."""


class Drafts:
    """The checks of this process, each in a thread of its own. Any thread may call it."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        open_store: Callable[[Settings], ObjectStore],
        open_restore_store: Callable[[Settings], RestoreStore],
        memory: MemoryBudget,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._open_store = open_store
        self._open_restore_store = open_restore_store
        self._memory = memory
        self._now = now
        self._lock = threading.Condition(threading.RLock())
        self._drafts: OrderedDict[str, Draft] = OrderedDict()
        self._runs: dict[str, AnyRun] = {}
        """Those that are being checked or wait for a word; what has begun is no longer ours."""
        self._holds: dict[str, Reservation] = {}
        self._seen: dict[str, datetime] = {}
        """When each was looked at for the last time."""
        self._starting: set[str] = set()
        """Drafts whose run is being begun."""
        self._closing = False

    def close(self) -> None:
        """Let every check end soon; waits for none, since one on a dead share may hang."""
        self._closing = True

    def check(
        self,
        sources: Sequence[ListSource],
        request: RunRequest,
        hidden_rows: HiddenRows = HiddenRows.ASK,
    ) -> str:
        """Begin to check lists in the background and return the draft's id."""
        run = ArchiveRun(
            self._settings,
            self._catalogue,
            sources,
            request,
            hidden_rows=hidden_rows,
            now=self._now,
        )
        return self._begin(run, sources, self._ready_to_archive)

    def check_restore(
        self,
        sources: Sequence[ListSource],
        request: RunRequest,
        hidden_rows: HiddenRows = HiddenRows.ASK,
    ) -> str:
        """The same for restore lists, with the usual tier and days."""
        # The operator chooses when the plan is there; days that fit both tiers do for now.
        days = max(self._settings.restore_days, least_days(Tier.BULK))
        run = RestoreRun(
            self._settings,
            self._catalogue,
            sources,
            request,
            days=days,
            hidden_rows=hidden_rows,
            now=self._now,
        )
        return self._begin(run, sources, self._ready_to_restore)

    def _ready_to_archive(self) -> None:
        self._settings.require(JOB_NEEDS)
        self._open_store(self._settings).check()

    def _ready_to_restore(self) -> None:
        self._settings.require(RESTORE_NEEDS)
        self._open_restore_store(self._settings).check()

    def _begin(
        self, run: AnyRun, sources: Sequence[ListSource], require: Callable[[], None]
    ) -> str:
        hold = self._reserve(CHECK_BYTES + sum(len(source.content) for source in sources))
        draft_id = secrets.token_urlsafe(12)
        names = tuple(source.name for source in sources)
        draft = Draft(
            draft_id,
            DraftState.CHECKING,
            run.record.request,
            names,
            self._now(),
            kind=run.record.kind,
        )
        with self._lock:
            self._drafts[draft_id] = draft
            self._runs[draft_id] = run
            self._holds[draft_id] = hold
            self._seen[draft_id] = draft.created_at
            self._make_room()
        try:
            start_thread(self._check, draft_id, run, require, name=f"himuro-draft-{draft_id}")
        except FatalError as exc:
            self._fail_draft(draft_id, str(exc), self._record_failure(run, exc))
        return draft_id

    def _reserve(self, size: int) -> Reservation:
        """Return memory for a check. What nobody has looked at lately gives way, the oldest
        first; raises ``MemoryBudgetError`` when that does not bring enough."""
        with self._lock:
            while True:
                try:
                    return self._memory.reserve(size)
                except MemoryBudgetError:
                    unseen = self._now() - _UNSEEN
                    idle = (
                        draft.draft_id
                        for draft in self._drafts.values()
                        if self._holds.get(draft.draft_id)
                        and draft.state is not DraftState.CHECKING
                        and self._seen[draft.draft_id] < unseen
                    )
                    oldest = next(idle, None)
                    if oldest is None:
                        raise
                    self.discard(oldest)

    def draft(self, draft_id: str) -> Draft | None:
        with self._lock:
            if draft_id in self._drafts:
                self._seen[draft_id] = self._now()
            return self._drafts.get(draft_id)

    def discard(self, draft_id: str) -> None:
        """Forget a check; one that still goes on ends soon. Runs are not affected."""
        with self._lock:
            draft = self._drafts.pop(draft_id, None)
            self._seen.pop(draft_id, None)
            # Who works on it has its memory until that ends.
            working = draft is not None and draft.state is DraftState.CHECKING
            if not working and draft_id not in self._starting:
                self._let_go(draft_id)

    def _make_room(self) -> None:
        """Discard what nobody has given a word about for long, and the oldest when there is too
        much; the newest stays, however large."""
        outdated = self._now() - _KEPT
        for draft in list(self._drafts.values()):
            if draft.created_at < outdated and draft.state is not DraftState.CHECKING:
                self.discard(draft.draft_id)
        while len(self._drafts) > 1 and (
            len(self._drafts) > _MOST_DRAFTS or self._weight() > _MOST_BYTES
        ):
            self.discard(next(iter(self._drafts)))

    def _weight(self) -> int:
        """Return the bytes of all checks that have ended."""
        return sum(
            hold.size
            for draft_id, hold in self._holds.items()
            if draft_id in self._drafts and self._drafts[draft_id].state is not DraftState.CHECKING
        )

    def _check(self, draft_id: str, run: AnyRun, require: Callable[[], None]) -> None:
        def progress(progress: Progress) -> None:
            self._update(draft_id, progress=progress)

        def cancelled() -> bool:
            return draft_id not in self._drafts or self._closing

        try:
            require()
            plan = run.check(progress, cancelled)
            message = run.refusal(plan)
            if message:
                run_id = run.refuse(plan).run_id
                self._update(
                    draft_id, state=DraftState.REFUSED, plan=plan, message=message, run_id=run_id
                )
                self._weigh(draft_id, plan, ended=True)
            else:
                self._update(draft_id, state=DraftState.READY, plan=plan)
                self._weigh(draft_id, plan, ended=False)
        except Cancelled:
            return
        except FatalError as exc:
            self._fail_draft(draft_id, str(exc), self._record_failure(run, exc))
        except HimuroError as exc:
            self._fail_draft(draft_id, str(exc), "")
        except Exception as exc:
            _logger.exception("check %s failed", draft_id)
            self._fail_draft(draft_id, str(unexpected(exc)), "")
        finally:
            with self._lock:
                if draft_id not in self._drafts:  # it was discarded meanwhile
                    self._let_go(draft_id)

    def _record_failure(self, run: AnyRun, error: FatalError) -> str:
        try:
            return run.fail(error).run_id
        except FatalError as exc:
            _logger.error("the failure of %s cannot be recorded: %s", run.record.run_id, exc)  # noqa: TRY400
            return ""

    def _fail_draft(self, draft_id: str, message: str, run_id: str) -> None:
        self._update(draft_id, state=DraftState.ERROR, message=message, run_id=run_id)
        with self._lock:
            self._let_go(draft_id)

    def _weigh(self, draft_id: str, plan: AnyPlan, *, ended: bool) -> None:
        """Note how much memory a check holds, and let others go when that is too much."""
        with self._lock:
            if draft_id not in self._drafts:
                return
            kept = ITEM_BYTES * (len(plan.items) + len(plan.problems))
            if ended:
                self._runs.pop(draft_id, None)
            else:
                kept += self._holds[draft_id].size - CHECK_BYTES
            # Never more than before: so it is granted.
            self._holds[draft_id].resize(min(kept, self._holds[draft_id].size))
            self._make_room()

    def _let_go(self, draft_id: str) -> None:
        """Drop the run of a draft, and with it the uploaded bytes."""
        self._runs.pop(draft_id, None)
        if hold := self._holds.pop(draft_id, None):
            hold.release()

    def _update(self, draft_id: str, **changes: object) -> None:
        with self._lock:
            if draft_id in self._drafts:
                self._drafts[draft_id] = replace(self._drafts[draft_id], **changes)  # type: ignore[arg-type]

    def take(self, draft_id: str) -> str | tuple[Draft, AnyRun, Reservation]:
        """Return a draft that may be run, with its plan, the run that it becomes and the memory
        that both have; they are the caller's until ``became``. Or the id of the run that it has
        become already: while somebody else has it, waits for that.

        Raises ``ListError`` when the check is unknown, unfinished or refused.
        """
        with self._lock:
            self._lock.wait_for(lambda: draft_id not in self._starting)
            draft = self._drafts.get(draft_id)
            if draft is None:
                raise ListError(
                    "確認の結果が見つかりません。一覧をもう一度アップロードしてください"
                )
            if draft.state is DraftState.READY and draft.run_id:
                return draft.run_id
            if draft.state is not DraftState.READY or draft.plan is None:
                raise ListError("確認が終わっていないか、誤りがあるため実行できません")
            self._starting.add(draft_id)
            return draft, self._runs[draft_id], self._holds[draft_id]

    def became(self, draft_id: str, run_id: str) -> None:
        """Note which run a draft has become; empty: none, and it may be taken again.

        From then on everything about the run stands in its folder.
        """
        with self._lock:
            self._starting.discard(draft_id)
            if run_id:
                self._update(draft_id, run_id=run_id, plan=None)
                self._runs.pop(draft_id, None)
                self._holds.pop(draft_id, None)  # the run gives it back
            elif draft_id not in self._drafts:
                self._let_go(draft_id)
            self._lock.notify_all()
