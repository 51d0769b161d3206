"""What placing files would do, before the first byte: room, names, what is not ready yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from core.moments import is_modified_at
from core.placing import Names
from core.ports import RestoreStore
from core.restore_model import RestoreItem, Standing
from core.restore_run import OpenRestore
from core.restore_status import READY_STAGES, RestoreStatus
from core.restore_step import owned_names
from core.settings import Settings
from core.target import Directory, Target, check_writable, free_bytes, local_of, require_room
from core.workers import parallel


@dataclass(frozen=True, slots=True)
class PlacePreview:
    """What an operator confirms."""

    target: Target
    status: RestoreStatus
    free_bytes: int
    renamed: tuple[tuple[str, str], ...]
    """UNC path of the original and the name that it gets, because its own one is taken."""
    lost: tuple[Standing, ...]
    """Files that were placed and are not there any more as they were."""

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
    if target.exists:
        check_writable(target)
    status = restore.status(store, cancelled)
    free = free_bytes(target)
    require_room(target, status.size(*READY_STAGES), free)
    ready = [file.item for file in status.files if file.stage in READY_STAGES]
    day = f"{status.at.astimezone(settings.timezone):%Y%m%d}"
    standings = restore.standings()
    lost = tuple(find_lost(settings, standings, cancelled))
    directory = Directory(target) if target.exists else None
    try:
        owned = owned_names(target, standings)
        names = Names(directory, day, restore.folder.run_id, owned)
        renamed = tuple(_renamed(names, ready))
    finally:
        if directory:
            directory.close()
    return PlacePreview(target, status, free, renamed, lost)


def _renamed(names: Names, items: Sequence[RestoreItem]) -> Iterator[tuple[str, str]]:
    for item in items:
        if any(names.adopt(name) for name in names.alike(item)):
            continue  # as it seems, a run that was interrupted has placed it already
        name = names.claim(item.name)
        if name != item.name:
            yield item.path, name


def find_lost(
    settings: Settings, standings: Sequence[Standing], cancelled: Callable[[], bool]
) -> list[Standing]:
    """Return placed files that people have removed or altered since, in their order.

    What cannot be looked at, like a share that is not mounted, does not count as lost.
    """
    placed = [s for s in standings if s.placed]

    def is_lost(number: int) -> bool:
        standing = placed[number]
        return standing.placed is not None and _is_lost(
            settings, standing.item, standing.placed.place
        )

    found = {n for n, lost in parallel(is_lost, range(len(placed)), cancelled=cancelled) if lost}
    return [s for n, s in enumerate(placed) if n in found]


def _is_lost(settings: Settings, item: RestoreItem, place: str) -> bool:
    local = local_of(settings, place)
    if local is None:
        return False
    try:
        status = os.lstat(local)
    except FileNotFoundError:
        return os.path.isdir(os.path.dirname(os.path.dirname(local)))  # noqa: PTH112, PTH120
    except OSError:
        return False
    same = status.st_size == item.size and is_modified_at(status.st_mtime_ns, item.modified_at)
    return not same
