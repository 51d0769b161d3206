"""Open restores as the pages see them: where their files stand, what placing them would do."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from core.clock import utc_now
from core.concurrency.background import Lookup, Lookups
from core.config.settings import RESTORE_NEEDS, Settings
from core.errors import Code, FatalError, HimuroError, ListError
from core.restore.folder import LeftOut
from core.restore.ports import RestoreStore
from core.restore.preview import PlacePreview, preview
from core.restore.run import OpenRestore, statuses
from core.restore.status import RestoreStatus
from core.restore.target import find_target

FRESH_SECONDS = 60.0
"""For so long what S3 said is believed; thawing takes hours."""
_KEPT_SECONDS = 600.0
"""So long after the last page that showed an answer it is kept."""
_MAX_BYTES = 300 * 1024 * 1024
"""Of all statuses, and of all previews: two of the largest restores, or many of usual size."""
_FILE_BYTES = 750
"""What one file of an answer takes, measured: 149 MB for 200,000."""


MAX_ROWS = 1000
"""Rows left out that a page shows of one restore; the report has all."""
_MAX_RUNS = 20
"""Restores whose rows left out are remembered."""


class _Together:
    """One question for several restores: who comes first asks it, the others wait for that."""

    def __init__(self, ask: Callable[[], dict[str, RestoreStatus | HimuroError]]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._answers: dict[str, RestoreStatus | HimuroError] | None = None
        self._failure: HimuroError | None = None

    def answer(self, run_id: str) -> RestoreStatus:
        """Return the answer about one of them; raises ``HimuroError``."""
        with self._lock:
            if self._answers is None and self._failure is None:
                try:
                    self._answers = self._ask()
                except HimuroError as exc:
                    self._failure = exc
            found = (self._answers or {}).pop(run_id, None) or self._failure
        if isinstance(found, RestoreStatus):
            return found
        # None: somebody has asked for this one in between; the next look is not far.
        raise found or FatalError(Code.S3_UNREACHABLE)


def _mark(path: Path) -> tuple[int, ...]:
    """Return what changes with a file; empty when it cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


class Restores:
    """Answers for the pages, from the background. Any thread may ask."""

    def __init__(
        self,
        settings: Settings,
        open_restore_store: Callable[[Settings], RestoreStore],
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._open_restore_store = open_restore_store
        self._now = now
        self._statuses: Lookups[RestoreStatus] = Lookups(
            size=_size, most_bytes=_MAX_BYTES, kept=_KEPT_SECONDS
        )
        self._previews: Lookups[PlacePreview] = Lookups(
            size=lambda seen: _size(seen.status), most_bytes=_MAX_BYTES, kept=_KEPT_SECONDS
        )
        self._lock = threading.Lock()
        self._left_out: OrderedDict[str, tuple[tuple[int, ...], list[LeftOut]]] = OrderedDict()

    def status(self, run_id: str, max_age: float = FRESH_SECONDS) -> Lookup[RestoreStatus]:
        """Return where the files of a restore stand; looks again when that is old."""
        return self._statuses.ask(run_id, lambda: self._status(run_id), max_age)

    def preview(self, run_id: str, directory: str) -> Lookup[PlacePreview]:
        """Return what placing into a directory would do; looks again when that is old."""
        return self._previews.ask(
            (run_id, directory), lambda: self._preview(run_id, directory), FRESH_SECONDS
        )

    def statuses(self, run_ids: Sequence[str]) -> dict[str, Lookup[RestoreStatus]]:
        """Return the same for several restores: what is not known goes to S3 as one question."""
        due = [run_id for run_id in run_ids if self._statuses.is_due(run_id, FRESH_SECONDS)]
        together = _Together(partial(self._look_at, due))
        return {
            run_id: self._statuses.ask(run_id, partial(together.answer, run_id), FRESH_SECONDS)
            for run_id in run_ids
        }

    def forget(self, run_id: str) -> None:
        """Look anew next time: something was done with this restore."""
        self._statuses.forget(run_id)

    def forget_preview(self, run_id: str, directory: str) -> None:
        """Find out anew, next time, what placing into a directory would do."""
        self._previews.forget((run_id, directory))

    def left_out(self, run_id: str) -> list[LeftOut]:
        """Return the first rows of the list that are not restored; raises ``ListError``.

        They are read again only when the folder of the run has grown.
        """
        mark = _mark(self._settings.runs_dir / run_id / "outcomes.csv")
        with self._lock:
            known = self._left_out.get(run_id)
            if known is None or known[0] != mark or not mark:
                restore = OpenRestore(self._settings, run_id, self._now)
                known = mark, restore.folder.left_out()[:MAX_ROWS]
                self._left_out[run_id] = known
            self._left_out.move_to_end(run_id)
            while len(self._left_out) > _MAX_RUNS:
                self._left_out.popitem(last=False)
            return known[1]

    def _look_at(self, run_ids: Sequence[str]) -> dict[str, RestoreStatus | HimuroError]:
        answers: dict[str, RestoreStatus | HimuroError] = {}
        restores = []
        for run_id in run_ids:
            try:
                restores.append(OpenRestore(self._settings, run_id, self._now))
            except ListError as exc:
                answers[run_id] = exc
        for restore, status in statuses(restores, self._store(), now=self._now):
            answers[restore.record.run_id] = status
        return answers

    def _status(self, run_id: str) -> RestoreStatus:
        return OpenRestore(self._settings, run_id, self._now).status(self._store())

    def _preview(self, run_id: str, directory: str) -> PlacePreview:
        restore = OpenRestore(self._settings, run_id, self._now)
        target = find_target(self._settings, directory)
        return preview(self._settings, restore, target, self._store())

    def _store(self) -> RestoreStore:
        self._settings.require(RESTORE_NEEDS)
        store = self._open_restore_store(self._settings)
        store.check()
        return store


def _size(status: RestoreStatus) -> int:
    return _FILE_BYTES * len(status.files)
