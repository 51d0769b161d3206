"""Values of a restore: what is brought back, what S3 says of it, where each file stands.

As in ``core/model.py`` all of them are immutable, and all times have a time zone.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum

from core.errors import Code, sentence
from core.model import DetectedList, Entry, Problem


class Tier(StrEnum):
    """How fast S3 makes a readable copy. Deep Archive has no Expedited (``docs/facts.md``, "S3 and
    Deep Archive")."""

    BULK = "Bulk"
    STANDARD = "Standard"

    @property
    def wait(self) -> timedelta:
        """How long it takes at most."""
        return timedelta(hours=48 if self is Tier.BULK else 12)


class Thaw(StrEnum):
    """What S3 says about the readability of one object."""

    MISSING = "missing"
    """There is no such object."""
    FROZEN = "frozen"
    """Archived, and no readable copy: never asked for, or expired."""
    THAWING = "thawing"
    READABLE = "readable"


@dataclass(frozen=True, slots=True)
class ObjectState:
    """What S3 says about one object."""

    thaw: Thaw
    size: int = 0
    """Bytes."""
    readable_until: datetime | None = None
    """When the copy of a ``READABLE`` object expires; None: it is not archived at all."""


class Answer(StrEnum):
    """What came of asking S3 for a readable copy."""

    ACCEPTED = "accepted"
    EXTENDED = "extended"
    """There was one already; it is kept for the days asked for, counted from now."""
    IN_PROGRESS = "in_progress"
    """It had been asked for before."""
    NOT_ARCHIVED = "not_archived"
    """The object can be read as it is."""


@dataclass(frozen=True, slots=True)
class RestoreItem:
    """One archived file that is to be brought back."""

    directory: str
    """UNC; one text for all files of a directory, because a plan may hold 200,000 files."""
    name: str
    """The original's."""
    key_directory: str
    """What its S3 key begins with, up to the last slash; one text for all files of a directory."""
    key_name: str
    """The rest of its key; empty when that is its name."""
    size: int
    """Bytes, of the row in the archive list, as are the next three."""
    digest: bytes
    """The SHA-256, 32 bytes."""
    modified_at: datetime
    archived_at: datetime

    @property
    def path(self) -> str:
        """The original's UNC path."""
        return f"{self.directory}\\{self.name}"

    @property
    def key(self) -> str:
        return self.key_directory + (self.key_name or self.name)

    @property
    def sha256(self) -> str:
        """64 hexadecimal digits."""
        return self.digest.hex()

    @classmethod
    def made(
        cls,
        path: str,
        key: str,
        size: int,
        sha256: str,
        modified_at: datetime,
        archived_at: datetime,
    ) -> RestoreItem:
        """Return the item of a UNC path and the row that it has in the archive list."""
        directory, _, name = path.rpartition("\\")
        head, slash, tail = key.rpartition("/")
        return cls(
            sys.intern(directory),
            name,
            sys.intern(head + slash),
            "" if tail == name else tail,
            size,
            bytes.fromhex(sha256),
            modified_at,
            archived_at,
        )

    @classmethod
    def of(cls, entry: Entry) -> RestoreItem:
        return cls.made(
            entry.path,
            entry.key,
            entry.size,
            entry.sha256,
            entry.modified_at,
            entry.archived_at,
        )


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore will ask for, shown to the operator and executed unchanged."""

    items: tuple[RestoreItem, ...]
    problems: tuple[Problem, ...]
    detected: tuple[DetectedList, ...] = ()

    @property
    def refused(self) -> bool:
        """Rows that are left out do not stop the others (``docs/contract.md``, "Decisions")."""
        return not self.items or self.undecided

    @property
    def undecided(self) -> bool:
        """True while the operator has to say what becomes of rows that Excel does not show."""
        return any(problem.code is Code.ROWS_HIDDEN for problem in self.problems)

    @property
    def left_out(self) -> int:
        """Rows that are not restored."""
        return sum(problem.is_error for problem in self.problems)

    @property
    def total_bytes(self) -> int:
        return sum(item.size for item in self.items)


class Step(StrEnum):
    """What happened to a file of a restore; the words stand in ``outcomes.csv``."""

    REQUESTED = "requested"
    """S3 makes or made a readable copy."""
    READABLE = "readable"
    """There was nothing to ask for: it is not archived, or readable for long enough."""
    PLACED = "placed"
    FAILED = "failed"
    LOST = "lost"
    """It was placed, is not there any more as it was, and is to be placed again."""
    LEFT_OUT = "left_out"
    """A row of the list that names nothing that can be restored; it has no key."""


@dataclass(frozen=True, slots=True)
class RestoreOutcome:
    """One event in the life of a file of a restore."""

    key: str
    step: Step
    at: datetime
    code: Code | None = None
    """Why it failed; None otherwise."""
    detail: str = ""
    place: str = ""
    """Where the file was placed, as people spell it; of a row left out what is written."""

    @property
    def reason(self) -> str:
        return sentence(self.code, self.detail) if self.code else ""


@dataclass(frozen=True, slots=True)
class RestoreEntry:
    """All that a run folder knows about one file of a restore."""

    item: RestoreItem
    requested_at: datetime | None = None
    """When S3 was last asked for it with success; None: never, or it needed no asking."""
    readable_at: datetime | None = None
    """When it was last found to be readable without asking; None: never since a request."""
    placed: RestoreOutcome | None = None
    failed: RestoreOutcome | None = None
    """The failure after which nothing has succeeded; None otherwise."""


class Stage(StrEnum):
    """Where a file of a restore stands, for people."""

    UNREQUESTED = "unrequested"
    REQUESTED = "requested"
    """Asked for, and S3 does not show it yet."""
    THAWING = "thawing"
    READY = "ready"
    EXPIRING = "expiring"
    """Ready, but not for long any more."""
    EXPIRED = "expired"
    PLACED = "placed"
    FAILED = "failed"


STAGE_WORDS = {
    Stage.UNREQUESTED: "未要求",
    Stage.REQUESTED: "要求済み",
    Stage.THAWING: "取り出し準備中",
    Stage.READY: "取り出し可能",
    Stage.EXPIRING: "まもなく期限切れ",
    Stage.EXPIRED: "期限切れ",
    Stage.PLACED: "配置済み",
    Stage.FAILED: "失敗",
}

EXPIRING = timedelta(hours=24)
"""A copy that can be read no longer than this is said to expire soon."""


def stage(standing: RestoreEntry, state: ObjectState | None, days: int, now: datetime) -> Stage:
    """Return where a file stands; ``state`` is what S3 says, None when it was not asked.

    ``days``: how long a copy was asked to stay readable.
    """
    if standing.placed:
        return Stage.PLACED
    if state is None:
        return Stage.FAILED if standing.failed else _unasked(standing)
    if state.thaw is Thaw.MISSING:
        return Stage.FAILED
    if state.thaw is Thaw.READABLE:
        until = state.readable_until
        if until is None or until - now > EXPIRING:
            return Stage.READY
        return Stage.EXPIRING if until > now else Stage.EXPIRED
    if state.thaw is Thaw.THAWING:
        return Stage.THAWING
    if standing.requested_at is None:
        # Readable then and frozen now: the copy of another request, whose days are over.
        seen = Stage.EXPIRED if standing.readable_at else Stage.UNREQUESTED
        return Stage.FAILED if standing.failed else seen
    # Before the end of the copy that was asked for, S3 does not show the request yet.
    asked = now < copy_expires(standing.requested_at, days)
    return Stage.REQUESTED if asked else Stage.EXPIRED


def _unasked(standing: RestoreEntry) -> Stage:
    if standing.requested_at:
        return Stage.REQUESTED
    return Stage.READY if standing.readable_at else Stage.UNREQUESTED


def copy_expires(requested_at: datetime, days: int) -> datetime:
    """Return until when a copy that was asked for at some time can be read.

    S3 adds the days to the time of the request and rounds up to the next midnight of UTC
    (``docs/facts.md``, "S3 and Deep Archive"): the wait is part of them.
    """
    end = (requested_at + timedelta(days=days)).astimezone(UTC)
    midnight = datetime.combine(end.date(), time(), UTC)
    return midnight if midnight == end else midnight + timedelta(days=1)


def least_days(tier: Tier) -> int:
    """Return how many days leave any time to fetch a copy."""
    return tier.wait // timedelta(days=1) + 1
