"""Checks in the background: lists that were uploaded and wait for the operator's word."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from core.archive.ports import ObjectStore
from core.archive.run import ArchiveRun
from core.clock import utc_now
from core.concurrency.parallel import Cancelled
from core.concurrency.threads import start_thread
from core.config.settings import JOB_NEEDS, RESTORE_NEEDS, Settings
from core.errors import FatalError, HimuroError, ListError
from core.model import HiddenRows, ListSource, Plan, Progress, RunKind, RunRequest
from core.ports import Catalogue
from core.resources.memory_budget import MIB, MemoryBudget, MemoryBudgetError, Reservation
from core.resources.shortage import unexpected
from core.restore.model import RestorePlan, Tier, least_days
from core.restore.ports import RestoreStore
from core.restore.run import RestoreRun
from core.runs.base import AnyPlan, AnyRun

_MAX_DRAFTS = 20
_MAX_BYTES = 512 * 1024 * 1024
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
    kind: str = RunKind.ARCHIVE
    progress: Progress = Progress()
    plan: Plan | RestorePlan | None = None
    """Set when ``READY`` or ``REFUSED``; of a restore a ``RestorePlan``."""
    message: str = ""
    """Japanese: why it was refused or what is broken."""
    run_id: str = ""
    """The run that it became, also a refused one; empty before."""


class PendingList:
    """A list from its upload until its run has begun, with all that is held for it.

    Changed by whoever has the lock of ``Drafts``, or is beginning its run.
    """

    def __init__(self, draft: Draft, run: AnyRun, hold: Reservation) -> None:
        self.draft = draft
        self.seen = draft.created_at
        """When it was looked at for the last time."""
        self.starting = False
        """True while its run is being begun."""
        self._run: AnyRun | None = run
        self._hold: Reservation | None = hold

    @property
    def is_checking(self) -> bool:
        return self.draft.state is DraftState.CHECKING

    @property
    def held_bytes(self) -> int:
        return self._hold.size if self._hold else 0

    def owned(self) -> tuple[AnyRun, Reservation]:
        """Return the run that the list is to become, which has the uploaded bytes, and the
        reservation of memory for both.

        Raises ``ListError`` for one that cannot become a run.
        """
        if self.draft.state is not DraftState.READY or not (self._run and self._hold):
            raise ListError("確認が終わっていないか、誤りがあるため実行できません")
        return self._run, self._hold

    def update(self, **changes: object) -> None:
        self.draft = replace(self.draft, **changes)  # type: ignore[arg-type]

    def end_check(self, plan: AnyPlan, *, refused: bool) -> None:
        """Hold no more than what a check takes when it has ended: its plan, and the list of one
        that may become a run."""
        if self._hold is None:
            return
        kept = ITEM_BYTES * (len(plan.items) + len(plan.problems))
        if refused:
            self._run = None
        else:
            kept += self._hold.size - CHECK_BYTES
        # Never more than before: so it is granted.
        self._hold.resize(min(kept, self._hold.size))

    def became(self, run_id: str) -> None:
        """Note the run that has begun: it gives the memory back, and everything about it stands
        in its folder."""
        self.update(run_id=run_id, plan=None)
        self._run = self._hold = None

    def let_go(self) -> None:
        """Give back everything that is held; nothing is when it became a run."""
        self._run = None
        if self._hold:
            self._hold.release()
        self._hold = None


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
        self._lists: OrderedDict[str, PendingList] = OrderedDict()
        """By the draft's id, the oldest first."""
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
        """Begin to check restore lists in the background, with the usual tier and days, and return
        the draft's id."""
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
        draft = Draft(
            secrets.token_urlsafe(12),
            DraftState.CHECKING,
            run.record.request,
            tuple(source.name for source in sources),
            self._now(),
            kind=run.record.kind,
        )
        pending = PendingList(draft, run, hold)
        with self._lock:
            self._lists[draft.draft_id] = pending
            self._make_room()
        try:
            name = f"himuro-draft-{draft.draft_id}"
            start_thread(self._check, pending, run, require, name=name)
        except FatalError as exc:
            self._fail(pending, str(exc), self._record_failure(run, exc))
        return draft.draft_id

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
                        draft_id
                        for draft_id, pending in self._lists.items()
                        if pending.held_bytes and not pending.is_checking and pending.seen < unseen
                    )
                    oldest = next(idle, None)
                    if oldest is None:
                        raise
                    self.discard(oldest)

    def draft(self, draft_id: str) -> Draft | None:
        with self._lock:
            pending = self._lists.get(draft_id)
            if pending is None:
                return None
            pending.seen = self._now()
            return pending.draft

    def discard(self, draft_id: str) -> None:
        """Forget a check; one that still goes on ends soon. Runs are not affected."""
        with self._lock:
            pending = self._lists.pop(draft_id, None)
            if pending and not pending.is_checking:
                self._let_go_of_unknown(pending)

    def _let_go_of_unknown(self, pending: PendingList) -> None:
        """Give back what is held for a list that was discarded. Whoever works on it has it until
        that ends, and comes here then."""
        with self._lock:
            known = self._lists.get(pending.draft.draft_id) is pending
            if not known and not pending.starting:
                pending.let_go()

    def _make_room(self) -> None:
        """Discard what nobody has given a word about for long, and the oldest when there is too
        much; the newest stays, however large."""
        outdated = self._now() - _KEPT
        for draft_id, pending in list(self._lists.items()):
            if pending.draft.created_at < outdated and not pending.is_checking:
                self.discard(draft_id)
        while len(self._lists) > 1 and (
            len(self._lists) > _MAX_DRAFTS or self._ended_bytes() > _MAX_BYTES
        ):
            self.discard(next(iter(self._lists)))

    def _ended_bytes(self) -> int:
        """Return what all checks that have ended hold."""
        return sum(p.held_bytes for p in self._lists.values() if not p.is_checking)

    def _check(self, pending: PendingList, run: AnyRun, require: Callable[[], None]) -> None:
        def progress(progress: Progress) -> None:
            with self._lock:
                pending.update(progress=progress)

        def cancelled() -> bool:
            return pending.draft.draft_id not in self._lists or self._closing

        try:
            require()
            plan = run.check(progress, cancelled)
            if message := run.refusal(plan):
                run_id = run.refuse(plan).run_id
                self._end(pending, plan, state=DraftState.REFUSED, message=message, run_id=run_id)
            else:
                self._end(pending, plan, state=DraftState.READY)
        except Cancelled:
            return
        except FatalError as exc:
            self._fail(pending, str(exc), self._record_failure(run, exc))
        except HimuroError as exc:
            self._fail(pending, str(exc), "")
        except Exception as exc:
            _logger.exception("check %s failed", pending.draft.draft_id)
            self._fail(pending, str(unexpected(exc)), "")
        finally:
            self._let_go_of_unknown(pending)

    def _record_failure(self, run: AnyRun, error: FatalError) -> str:
        try:
            return run.fail(error).run_id
        except FatalError as exc:
            _logger.error("the failure of %s cannot be recorded: %s", run.record.run_id, exc)  # noqa: TRY400
            return ""

    def _end(self, pending: PendingList, plan: AnyPlan, **changes: object) -> None:
        with self._lock:
            pending.update(plan=plan, **changes)
            pending.end_check(plan, refused=pending.draft.state is DraftState.REFUSED)
            self._make_room()

    def _fail(self, pending: PendingList, message: str, run_id: str) -> None:
        with self._lock:
            pending.update(state=DraftState.ERROR, message=message, run_id=run_id)
            pending.let_go()

    @contextmanager
    def starting(self, draft_id: str) -> Iterator[PendingList]:
        """Have a checked list to oneself while its run is begun; ``became`` ends it.

        Waits while somebody else has it: then it may have become a run. One that has not may be
        begun again. Raises ``ListError`` when the check is unknown.
        """
        with self._lock:
            pending = self._lists.get(draft_id)
            if pending is None:
                raise ListError(
                    "確認の結果が見つかりません。一覧をもう一度アップロードしてください"
                )
            self._lock.wait_for(lambda: not pending.starting)
            pending.starting = True
        try:
            yield pending
        finally:
            with self._lock:
                pending.starting = False
                self._let_go_of_unknown(pending)
                self._lock.notify_all()
