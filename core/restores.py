"""Open restores as the pages see them: where their files stand, what placing them would do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from core.lookups import Lookup, Lookups
from core.place_preview import PlacePreview, preview
from core.ports import RestoreStore
from core.record import utc_now
from core.restore_folder import LeftOut
from core.restore_run import OpenRestore
from core.restore_status import RestoreStatus
from core.settings import RESTORE_NEEDS, Settings
from core.target import find_target

FRESH_SECONDS = 60.0
"""For so long what S3 said is believed; thawing takes hours."""


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
        self._statuses: Lookups[RestoreStatus] = Lookups()
        self._previews: Lookups[PlacePreview] = Lookups()

    def status(self, run_id: str, max_age: float = FRESH_SECONDS) -> Lookup[RestoreStatus]:
        """Return where the files of a restore stand; looks again when that is old."""
        return self._statuses.ask(run_id, lambda: self._status(run_id), max_age)

    def preview(self, run_id: str, directory: str) -> Lookup[PlacePreview]:
        """Return what placing into a directory would do; looks again when that is old."""
        return self._previews.ask(
            (run_id, directory), lambda: self._preview(run_id, directory), FRESH_SECONDS
        )

    def forget(self, run_id: str) -> None:
        """Look anew next time: something was done with this restore."""
        self._statuses.forget(run_id)

    def forget_preview(self, run_id: str, directory: str) -> None:
        """The same for what placing would do."""
        self._previews.forget((run_id, directory))

    def left_out(self, run_id: str) -> list[LeftOut]:
        """Return the rows of the list that are not restored; raises ``ListError``."""
        return OpenRestore(self._settings, run_id, self._now).folder.left_out()

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
