"""What placing files would do, before the first byte: room, names, what is not ready yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from core.concurrency.parallel import parallel
from core.config.settings import Settings
from core.errors import Code, FatalError
from core.files.modification_time import is_modified_at
from core.resources.shortage import patiently
from core.restore.model import RestoreEntry, RestoreItem
from core.restore.names import Names
from core.restore.ports import RestoreStore
from core.restore.run import OpenRestore
from core.restore.status import READY_STAGES, RestoreStatus
from core.restore.step import owned_names
from core.restore.target import (
    Directory,
    Target,
    check_writable,
    free_bytes,
    local_of,
    require_mounted,
    require_room,
)


@dataclass(frozen=True, slots=True)
class PlacePreview:
    """What an operator confirms."""

    target: Target
    status: RestoreStatus
    free_bytes: int
    renamed: tuple[tuple[str, str], ...]
    """UNC path of the original and the name that it gets, because its own one is taken."""
    lost: tuple[RestoreEntry, ...]
    """Files that were placed and are not there any more as they were."""
    unseen: tuple[RestoreEntry, ...] = ()
    """Files that were placed where nobody can look now: nothing is known of them."""

    @property
    def ready(self) -> int:
        return self.status.count(*READY_STAGES)

    @property
    def ready_bytes(self) -> int:
        return self.status.size(*READY_STAGES)


def preview(
    settings: Settings,
    restore: OpenRestore,
    target: Target,
    store: RestoreStore,
    cancelled: Callable[[], bool] = lambda: False,
) -> PlacePreview:
    """Return what placing would do now; changes nothing.

    Raises ``ListError`` when the target takes no files, ``FatalError`` when it has no room
    or S3 does not answer.
    """
    require_mounted(settings, target.typed, target.local, restore.record.target_mount)
    if target.exists:
        check_writable(target)
    status = restore.status(store, cancelled)
    free = free_bytes(target)
    require_room(target, status.size(*READY_STAGES), free)
    ready = [file.item for file in status.files if file.stage in READY_STAGES]
    day = f"{status.at.astimezone(settings.timezone):%Y%m%d}"
    standings = restore.standings()
    lost, unseen = look_at_placed(settings, restore, cancelled)
    directory = Directory(target) if target.exists else None
    try:
        if directory:
            directory.require_names()
        owned = owned_names(target, standings)
        names = Names(directory, day, restore.folder.run_id, owned)
        renamed = tuple(_renamed(names, ready))
    finally:
        if directory:
            directory.close()
    return PlacePreview(target, status, free, renamed, lost, unseen)


def _renamed(names: Names, items: Sequence[RestoreItem]) -> Iterator[tuple[str, str]]:
    for item in items:
        if names.seem_there(item):
            continue  # as it seems, a run that was interrupted has placed it already
        name = names.claim(item.name)
        if name != item.name:
            yield item.path, name


def look_at_placed(
    settings: Settings, restore: OpenRestore, cancelled: Callable[[], bool]
) -> tuple[tuple[RestoreEntry, ...], tuple[RestoreEntry, ...]]:
    """Return placed files that people have removed or altered since, and those that cannot be
    looked at now, like on a share that is not mounted; both in their order."""
    placed = [s for s in restore.standings() if s.placed]
    look = _Look(settings, restore.record.target_mount)
    found = dict(parallel(look.at, placed, cancelled=cancelled))
    lost = tuple(s for s in placed if found.get(s) is _Found.LOST)
    return lost, tuple(s for s in placed if found.get(s) is _Found.OUT_OF_REACH)


class _Found(Enum):
    THERE = "there"
    LOST = "lost"
    OUT_OF_REACH = "out of reach"


class _Look:
    """Looks at placed files; each directory is judged once. Safe in any thread."""

    def __init__(self, settings: Settings, before: str) -> None:
        self._settings = settings
        self._before = before
        self._in_reach = lru_cache(maxsize=4096)(self._is_in_reach)

    def at(self, standing: RestoreEntry) -> _Found:
        place = standing.placed.place if standing.placed else ""
        local = local_of(self._settings, place)
        if local is None or not self._in_reach(os.path.dirname(local)):  # noqa: PTH120
            return _Found.OUT_OF_REACH
        try:
            status = patiently(os.lstat, local)
        except (FileNotFoundError, NotADirectoryError):
            return _Found.LOST
        except OSError:
            return _Found.OUT_OF_REACH
        item = standing.item
        same = status.st_size == item.size and is_modified_at(status.st_mtime_ns, item.modified_at)
        return _Found.THERE if same else _Found.LOST

    def _is_in_reach(self, directory: str) -> bool:
        real = os.path.realpath(directory)
        try:
            require_mounted(self._settings, directory, real, self._before)
        except FatalError as exc:
            if exc.code is Code.MACHINE_SHORT:
                raise  # nobody could look
            return False
        return True
