"""Step 1 of a restore: S3 is asked for readable copies of what is not readable yet.

First what S3 says of each object, then a request only where one is needed: a copy that can be
read for long enough is left as it is, because a request would count its days anew from now.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.clock import utc_now
from core.concurrency.cancellation import StopSignal
from core.concurrency.parallel import Cancelled, parallel
from core.errors import Code, FatalError, ItemError, Severity
from core.model import Progress
from core.ports import ProgressSink, silent
from core.resources.shortage import unexpected
from core.restore.folder import RestoreFolder
from core.restore.model import (
    Answer,
    ObjectState,
    RestoreEntry,
    RestoreOutcome,
    Step,
    Thaw,
    Tier,
    copy_expires,
)
from core.restore.ports import RestoreStore

THREADS = 32
WRITE_SECONDS = 0.3
"""Events are written when the oldest has waited so long."""
FETCH_TIME = timedelta(hours=24)
"""How long a copy has to be readable once the last one has been made."""

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Requested:
    """How a round of requests ended."""

    states: dict[str, ObjectState] = field(default_factory=dict)
    """By key, what S3 said before the requests."""
    thawing: set[str] = field(default_factory=set)
    """Keys of what S3 makes a copy of now."""
    fatal: FatalError | None = None
    stopped: bool = False


class Requests:
    """One round of requests for the files of one restore."""

    def __init__(
        self,
        standings: Sequence[RestoreEntry],
        store: RestoreStore,
        folder: RestoreFolder,
        *,
        tier: Tier,
        days: int,
        stop: StopSignal,
        progress: ProgressSink = silent,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """``standings``: the files to ask for; those that are placed are passed over."""
        self._standings = {s.item.key: s for s in standings if not s.placed}
        self._store = store
        self._folder = folder
        self._tier = tier
        self._days = days
        self._stop = stop
        self._progress = progress
        self._now = now
        self._result = Requested()
        self._events: list[RestoreOutcome] = []
        self._done = self._failed = 0
        self._written_at = time.monotonic()

    def execute(self) -> Requested:
        """Ask for all that is needed. A broken environment is in the result, not raised."""
        try:
            self._look()
            self._ask()
        except Cancelled:
            self._result.stopped = True
        except FatalError as exc:
            self._result.fatal = exc
        except Exception as exc:
            _logger.exception("the requests of run %s failed", self._folder.run_id)
            self._result.fatal = unexpected(exc)
        try:
            self._write()
        except FatalError as exc:
            self._result.fatal = self._result.fatal or exc
        return self._result

    def _cancelled(self) -> bool:
        return self._stop.requested

    def _given_up(self) -> bool:
        self._store.require_life()
        return self._stop.expired

    def _look(self) -> None:
        """Learn what S3 says of every object; settle those that need no request."""
        for key, state in self._store.states(self._standings, self._cancelled):
            if isinstance(state, ItemError):
                self._fail(key, state)
            elif state.thaw is Thaw.MISSING:
                self._fail(key, ItemError(Code.OBJECT_MISSING, key))
            else:
                self._result.states[key] = state
            self._tell("S3の状態を確認しています", key)
        if self._cancelled():
            raise Cancelled

    def _ask(self) -> None:
        wanted = []
        for key, state in self._result.states.items():
            if state.thaw is Thaw.THAWING:
                self._result.thawing.add(key)
                self._note(key, Step.REQUESTED)
            elif self._is_readable_for_long(state):
                self._note(key, Step.READABLE)
            else:
                wanted.append(key)
        self._done = len(self._standings) - len(wanted)
        for key, answer in parallel(
            self._request, wanted, threads=THREADS, cancelled=self._given_up
        ):
            if answer is None:
                self._result.stopped = True
                continue
            if isinstance(answer, ItemError):
                self._fail(key, answer)
            elif answer is Answer.NOT_ARCHIVED:
                self._note(key, Step.READABLE)
            else:
                self._note(key, Step.REQUESTED)
                if answer is not Answer.EXTENDED:
                    self._result.thawing.add(key)
            self._done += 1
            self._tell("取り出しを要求しています", key)

    def _is_readable_for_long(self, state: ObjectState) -> bool:
        if state.thaw is not Thaw.READABLE:
            return False
        until = state.readable_until
        # A request cannot give more than this, so nothing more is wanted either.
        most = copy_expires(self._now(), self._days)
        return until is None or until >= min(self._now() + self._tier.wait + FETCH_TIME, most)

    def _request(self, key: str) -> Answer | ItemError | None:
        """Return what came of asking for one copy; None: nothing is asked any more."""
        if self._stop.requested:
            return None
        try:
            return self._store.thaw(key, self._tier, self._days)
        except ItemError as exc:
            return exc
        except FatalError as exc:
            exc.at = exc.at or key
            raise

    def _note(self, key: str, step: Step) -> None:
        self._events.append(RestoreOutcome(key, step, self._now()))

    def _fail(self, key: str, error: ItemError) -> None:
        self._failed += 1
        self._events.append(RestoreOutcome(key, Step.FAILED, self._now(), error.code, error.detail))

    def _tell(self, phase: str, key: str) -> None:
        now = time.monotonic()
        if now - self._written_at < WRITE_SECONDS:
            return
        self._written_at = now
        self._write()
        item = self._standings[key].item
        looking = not self._done
        self._progress(
            Progress(
                total_files=len(self._standings),
                done_files=len(self._result.states) if looking else self._done,
                failed_files=self._failed,
                current=item.path,
                phase="停止しています" if self._stop.requested else phase,
            )
        )

    def _write(self) -> None:
        events, self._events = self._events, []
        if events:
            self._folder.add_events(events)
            log_failures(self._folder, events, self._standings)


def log_failures(
    folder: RestoreFolder, events: Sequence[RestoreOutcome], standings: Mapping[str, RestoreEntry]
) -> None:
    """Write a line for each failure among events into the logs of a restore."""
    for event in events:
        if event.step is Step.FAILED and event.code:
            text = f"{event.reason} 対処: {event.code.remedy}"
            folder.log(event.at, Severity.ERROR, standings[event.key].item.path, text, event.code)
