"""Checks in the background: lists that were uploaded and wait for the operator's word."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from core.archive_run import ArchiveRun
from core.errors import FatalError, HimuroError, ListError, unexpected
from core.model import HiddenRows, ListSource, Plan, Progress, RunRequest
from core.ports import Catalogue, ObjectStore, RestoreStore
from core.record import utc_now
from core.restore_model import RestorePlan, Tier, least_days
from core.restore_run import RestoreRun
from core.run import AnyRun
from core.settings import JOB_NEEDS, RESTORE_NEEDS, Settings
from core.threads import start_thread
from core.workers import Cancelled

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
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._open_store = open_store
        self._open_restore_store = open_restore_store
        self._now = now
        self._lock = threading.RLock()
        self._drafts: OrderedDict[str, Draft] = OrderedDict()
        self._runs: dict[str, AnyRun] = {}
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
            while len(self._drafts) > _MOST_DRAFTS:
                oldest = next(iter(self._drafts))
                self.discard(oldest)
        try:
            start_thread(self._check, draft_id, run, require, name=f"himuro-draft-{draft_id}")
        except FatalError as exc:
            self._fail_draft(draft_id, str(exc), self._record_failure(run, exc))
        return draft_id

    def draft(self, draft_id: str) -> Draft | None:
        with self._lock:
            return self._drafts.get(draft_id)

    def discard(self, draft_id: str) -> None:
        """Forget a check; one that still goes on ends soon. Runs are not affected."""
        with self._lock:
            self._drafts.pop(draft_id, None)
            self._runs.pop(draft_id, None)

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
            else:
                self._update(draft_id, state=DraftState.READY, plan=plan)
        except Cancelled:
            return
        except FatalError as exc:
            self._fail_draft(draft_id, str(exc), self._record_failure(run, exc))
        except HimuroError as exc:
            self._fail_draft(draft_id, str(exc), "")
        except Exception as exc:
            _logger.exception("check %s failed", draft_id)
            self._fail_draft(draft_id, str(unexpected(exc)), "")

    def _record_failure(self, run: AnyRun, error: FatalError) -> str:
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

    def confirmed(self, draft_id: str) -> tuple[Draft, AnyRun]:
        """Return a draft that may be run, with its plan, and the run that it becomes.

        Raises ``ListError`` when the check is unknown, unfinished or refused.
        """
        with self._lock:
            draft = self._drafts.get(draft_id)
            if draft is None:
                raise ListError(
                    "確認の結果が見つかりません。一覧をもう一度アップロードしてください"
                )
            if draft.state is not DraftState.READY or draft.plan is None:
                raise ListError("確認が終わっていないか、誤りがあるため実行できません")
            return draft, self._runs[draft_id]

    def became(self, draft_id: str, run_id: str) -> None:
        """Note which run a draft has become."""
        self._update(draft_id, run_id=run_id)
