"""What all runs have in common: a folder, a record, a lock, a beginning and an end.

The same steps for commands and pages: ``check`` → (the operator confirms the plan) →
``begin`` → ``execute``; or ``refuse``.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from core.clock import utc_now
from core.concurrency.cancellation import StopSignal
from core.config.settings import Settings
from core.errors import FatalError, ListError, Severity
from core.model import MAX_TYPED, ListSource, Problem, RunKind, RunRecord, RunRequest, RunState
from core.paths.normalization import printable, typed
from core.ports import ProgressSink
from core.resources.shortage import unexpected
from core.runs.folder import RunFolder, new_run_id
from core.runs.locks import RunLock, wait_for_turn

_logger = logging.getLogger(__name__)


class AnyPlan(Protocol):
    """What a check found, whatever the run is for."""

    @property
    def items(self) -> Sequence[object]: ...
    @property
    def problems(self) -> Sequence[Problem]: ...
    @property
    def total_bytes(self) -> int: ...


P = TypeVar("P", bound=AnyPlan)
F = TypeVar("F", bound=RunFolder)


class Run(ABC, Generic[P, F]):
    """One new run. Its methods are called in order, by one thread at a time."""

    def __init__(
        self,
        settings: Settings,
        sources: Sequence[ListSource],
        request: RunRequest,
        *,
        kind: RunKind,
        folder: Callable[..., F],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """``folder``: the class of its run folder."""
        self._settings = settings
        self._sources = tuple(sources)
        self._now = now
        created = now()
        run_id = new_run_id(kind, created.astimezone(settings.timezone))
        self.folder: F = folder(settings.runs_dir / run_id, settings.timezone)
        self._lock = RunLock(self.folder.path)
        self.record = RunRecord(
            run_id=run_id,
            kind=kind,
            state=RunState.RUNNING,
            request=_cleaned(request),
            created_at=created,
            inputs=tuple(printable(source.name) for source in sources),
            settings=settings.without_secrets(),
        )

    @abstractmethod
    def check(self, progress: ProgressSink, cancelled: Callable[[], bool]) -> P:
        """Return the plan. Writes nothing. Raises ``FatalError`` and ``Cancelled``."""

    @abstractmethod
    def refusal(self, plan: P) -> str:
        """Return why a plan cannot be run, one Japanese sentence; empty when it can."""

    @abstractmethod
    def _freeze(self, plan: P) -> None:
        """Write the plan into the folder."""

    def refuse(self, plan: P) -> RunRecord:
        """Record that nothing was touched, with the reasons in ``error_log.txt``."""
        return self._record_check(plan, RunState.REFUSED, self.refusal(plan))

    def pass_check(self, plan: P) -> RunRecord:
        """Record a check that was all that was asked for."""
        return self._record_check(plan, RunState.DONE, "")

    def fail(self, error: FatalError) -> RunRecord:
        """Record that the environment did not even allow the check."""
        with self._opened(None):
            self._log_fatal(error)
            return self._end(RunState.ERROR, str(error))

    def begin(self, plan: P) -> RunRecord:
        """Freeze the plan; from here on a crash leaves a run that can be retried.

        After a ``FatalError`` it may be called again: nothing was touched.
        """
        self._lock.acquire()
        begun = False
        try:
            self._create(plan)
            self._freeze(plan)
            self.folder.log_problems(self._now(), plan.problems)
            self._sources = ()  # they lie in the folder
            begun = True
        except FatalError as exc:
            self._take_back(exc)
            raise
        finally:
            if not begun:
                self._lock.release()
        return self.record

    def _take_back(self, error: FatalError) -> None:
        """Let the folder say that nothing was touched, as far as the disk takes it."""
        self.folder.drop_plan()
        try:
            self._end(RunState.ERROR, str(error))
            self._log_fatal(error)
        except FatalError as exc:
            _logger.warning("run %s: %s", self.record.run_id, exc)

    def _record_check(self, plan: P, state: RunState, message: str) -> RunRecord:
        with self._opened(plan):
            self.folder.log_problems(self._now(), plan.problems)
            return self._end(state, message)

    @contextmanager
    def _opened(self, plan: P | None) -> Iterator[None]:
        self._lock.acquire()
        try:
            self._create(plan)
            yield
        finally:
            self._lock.release()

    def _create(self, plan: P | None) -> None:
        self.record = replace(
            self.record,
            state=RunState.RUNNING,
            message="",
            finished_at=None,
            total_files=len(plan.items) if plan else 0,
            total_bytes=plan.total_bytes if plan else 0,
        )
        self.folder.create(self.record, self._sources)

    def _log_fatal(self, error: FatalError) -> None:
        where = error.at or self._settings.bucket or "-"
        self.folder.log(self._now(), Severity.ERROR, where, str(error), error.code)

    def _end(self, state: RunState, message: str) -> RunRecord:
        self.record = replace(self.record, state=state, message=message, finished_at=self._now())
        self.folder.write_record(self.record)
        return self.record


@dataclass(slots=True)
class Turn:
    """Whether a run has its turn, and what broke in it."""

    has_come: bool = False
    """False when a stop was asked for before."""
    fatal: FatalError | None = None

    @contextmanager
    def keeping_errors(self) -> Iterator[None]:
        """Note what is raised in here instead of passing it on."""
        try:
            yield
        except FatalError as exc:
            self.fatal = exc
        except Exception as exc:
            _logger.exception("a run failed")
            self.fatal = unexpected(exc)


@contextmanager
def in_turn(settings: Settings, stop: StopSignal, progress: ProgressSink) -> Iterator[Turn]:
    """Do something once no other run of this installation is busy.

    An error is not raised but told by the turn: the lists of what was not done are still owed.
    """
    turn = Turn()
    with turn.keeping_errors(), ExitStack() as stack:
        with turn.keeping_errors():
            waiting = wait_for_turn(settings.data_dir, stop, progress)
            turn.has_come = stack.enter_context(waiting)
        with turn.keeping_errors():
            yield turn


AnyRun = Run[Any, Any]


def _cleaned(request: RunRequest) -> RunRequest:
    """Return a request as it can be stored; raises ``ListError`` for one that cannot."""
    cleaned = RunRequest(*(typed(getattr(request, f.name)) for f in fields(request)))
    if max(len(cleaned.request_id), len(cleaned.requester)) > MAX_TYPED:
        raise ListError(f"依頼IDと依頼者は{MAX_TYPED}文字までで指定してください。")
    return cleaned
