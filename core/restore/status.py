"""Where the files of a restore stand now: what its folder knows and what S3 says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from core.errors import Code, ItemError
from core.model import RunKind, RunRecord, RunState
from core.restore.model import ObjectState, RestoreEntry, RestoreItem, Stage, Thaw, stage
from core.restore.ports import RestoreStore

OPEN_STAGES = (Stage.REQUESTED, Stage.THAWING)
"""What becomes readable by itself, later."""
READY_STAGES = (Stage.READY, Stage.EXPIRING)
STUCK_STAGES = (Stage.UNREQUESTED, Stage.EXPIRED, Stage.FAILED)
"""What does not become readable by itself."""


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One file of a restore."""

    item: RestoreItem
    stage: Stage
    readable_until: datetime | None = None
    """When its copy expires, with time zone; None: it does not, or there is none."""
    place: str = ""
    """Where it was placed."""
    reason: str = ""
    """Japanese: why it failed."""


@dataclass(frozen=True, slots=True)
class RestoreStatus:
    """All files of a restore at one time."""

    at: datetime
    files: tuple[FileStatus, ...]

    def count(self, *stages: Stage) -> int:
        return sum(file.stage in stages for file in self.files)

    def size(self, *stages: Stage) -> int:
        """Return the bytes of the files in these stages."""
        return sum(file.item.size for file in self.files if file.stage in stages)

    @property
    def counts(self) -> Mapping[Stage, int]:
        return Counter(file.stage for file in self.files)

    @property
    def stages(self) -> dict[str, Stage]:
        """By key."""
        return {file.item.key: file.stage for file in self.files}

    @property
    def first_expiry(self) -> datetime | None:
        """When the first copy of a file that is not placed yet expires."""
        times = [
            file.readable_until
            for file in self.files
            if file.stage in READY_STAGES and file.readable_until
        ]
        return min(times, default=None)


State = ObjectState | ItemError
States = Mapping[str, State]


def look(
    standings: Sequence[RestoreEntry],
    store: RestoreStore,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, ObjectState | ItemError]:
    """Ask S3 about every file that is not placed, in bulk. Raises ``FatalError``."""
    return dict(store.states([s.item.key for s in standings if not s.placed], cancelled))


def status_of(
    standings: Sequence[RestoreEntry], states: States, days: int, now: datetime
) -> RestoreStatus:
    """Return where every file stands, from what S3 was last heard to say."""
    return RestoreStatus(now, tuple(_file(s, states, days, now) for s in standings))


def _file(standing: RestoreEntry, states: States, days: int, now: datetime) -> FileStatus:
    item = standing.item
    state = states.get(item.key)
    if isinstance(state, ItemError):
        return FileStatus(item, Stage.FAILED, reason=str(state))
    found = stage(standing, state, days, now)
    place = standing.placed.place if standing.placed else ""
    missing = state is not None and state.thaw is Thaw.MISSING
    # Of what is on its way it no longer matters that asking once failed.
    failed = standing.failed if found not in OPEN_STAGES else None
    reason = Code.OBJECT_MISSING.what if missing else failed.reason if failed else ""
    until = state.readable_until if state and found in READY_STAGES else None
    return FileStatus(item, found, until, place, reason)


def never_requested(number: int) -> str:
    """Return what is said of so many files that were never asked for; empty for none."""
    return f"{number:,}件はまだ要求していません" if number else ""


def is_open(record: RunRecord) -> bool:
    """Return whether a run is a restore that has files to be placed, as far as is known."""
    going_on = record.state not in (RunState.DONE, RunState.REFUSED, RunState.FAILED_FILES)
    return record.kind == RunKind.RESTORE and going_on and record.placed_files < record.total_files


def summed_up(record: RunRecord, status: RestoreStatus) -> RunRecord:
    """Return ``record`` with the numbers of where its files stand."""
    return replace(
        record,
        total_files=len(status.files),
        total_bytes=sum(file.item.size for file in status.files),
        placed_files=status.count(Stage.PLACED),
        placed_bytes=status.size(Stage.PLACED),
        thawing_files=status.count(*OPEN_STAGES),
        unrequested_files=status.count(Stage.UNREQUESTED),
        failed_files=status.count(Stage.FAILED, Stage.EXPIRED),
    )
