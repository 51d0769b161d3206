"""What ``core`` needs from outside, as protocols: the archive list and the object store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar
from zoneinfo import ZoneInfo

from core.errors import FatalError, ItemError
from core.findings import Finding
from core.folders import Total
from core.model import Entry, Progress, SearchPage, SearchQuery
from core.restore_model import Answer, ObjectState, Tier

STORAGE_CLASS = "DEEP_ARCHIVE"
"""Given on the put itself (contract, "S3 objects")."""

T = TypeVar("T")

ProgressSink = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """The default progress sink: nobody watches."""


class Catalogue(Protocol):
    """The archive list. Every call is one short transaction and may be made from any thread.

    All of them raise ``FatalError(DATABASE_UNAVAILABLE)`` when the database does not answer
    and ``FatalError(DATABASE_SCHEMA)`` when ``init-db`` is owed.
    """

    def check(self) -> None:
        """Answer whether the database can be used, within about two seconds."""

    def hurry(self, within: float) -> None:
        """Let no call wait for the database longer than ``within`` seconds from now, those
        under way included: the process is ending. May be called from a signal handler."""

    def origin(self) -> str:
        """Return what is another text once another archive list has taken this one's place.

        Raises ``FatalError(DATABASE_REPLACED)`` when there is none at all any more.
        """

    def find(self, search_keys: Iterable[str]) -> Mapping[str, Sequence[Entry]]:
        """Return all rows with one of these ``検索キー`` as they were stored, grouped by it.

        Different files may share a search key: the caller compares the paths.
        """

    def add(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Store rows in one transaction and return those whose bucket and key were taken.

        A row that is already there with the same path, SHA-256 and size counts as stored:
        a second call with the same entries changes nothing and returns nothing. Rows that no
        database can hold (NUL, lone surrogates in a path) are returned as well.
        """

    def search(self, query: SearchQuery, *, page: int = 1, per_page: int = 100) -> SearchPage:
        """Return one page of hits; ``page`` counts from 1.

        ``total`` is greater than what ends with this page just when there are further hits.
        """

    def totals(self, timezone: ZoneInfo, *, after: int = 0) -> Iterator[Total]:
        """Yield the sums of rows with serial keys above ``after``, sorted by directory.

        For each directory, spelling by spelling, one for each month of the time zone in which
        something was archived. The transaction lasts until the last one is taken.
        """

    def count_until(self, serial: int) -> int:
        """Return the number of rows with serial keys up to this one.

        It grows when a transaction ends later than others that began after it.
        """

    def hits(self, query: SearchQuery) -> Hits:
        """Return every hit of one moment, each once, in the order that was asked for.

        What is stored afterwards changes nothing about them. The batches are one short
        transaction each, so that they may be taken as slowly as somebody likes, and left.
        They raise what all calls raise.
        """


@dataclass(frozen=True, slots=True)
class Hits:
    """All hits of a search."""

    total: int
    batches: Iterator[Sequence[Entry]]
    """Some thousands of them at a time; to be read once."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What S3 knows about an object."""

    size: int
    sha256: str
    """From the user metadata; empty when the object is not ours."""
    source_path: str
    """Decoded from the user metadata; empty when it did not fit or is not ours."""
    storage_class: str


@dataclass(frozen=True, slots=True)
class NewObject:
    """What is to be known of an object before its first byte is sent."""

    key: str
    size: int
    """Bytes of the whole content."""
    sha256: str
    """Hexadecimal, of the whole content."""
    source_path: str
    """UNC path of the original."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an object that is too large for a single request."""

    data: bytes
    digest: bytes
    """SHA-256 of ``data``."""


class Lane(Protocol[T]):
    """Several small objects created at once by one thread, which closes it in the end."""

    most_bytes: int
    """Of one object."""

    @property
    def busy(self) -> int:
        """How many objects ``wait`` still owes an answer."""

    @property
    def is_full(self) -> bool:
        """True while ``wait`` has to be called before the next object."""

    def begin(self, new: NewObject, data: bytes, token: T) -> None:
        """Begin to create an object; ``wait`` will return its ``token``."""

    def wait(self) -> Sequence[tuple[T, bool | FatalError]]:
        """Return what has ended, at least one while any is busy.

        True: it is created, which is proven. False: nothing is known; ``ObjectStore.create``
        finds out.
        """

    def close(self) -> None:
        """Let go of the connections."""


class ObjectStore(Protocol):
    """Where the objects live. Calls retry transient errors themselves.

    They raise ``ItemError(UPLOAD_FAILED)`` when only this object is concerned and
    ``FatalError`` when the next object would fail as well.
    """

    def check(self) -> None:
        """Raise ``FatalError`` unless the bucket answers; without credentials at once."""

    def require_life(self) -> None:
        """Raise ``FatalError(S3_STALLED)`` when calls have waited too long without a success.

        Asked while others wait in their calls; sends nothing.
        """

    def part_size(self, size: int) -> int | None:
        """Return the part size in bytes for an object of ``size``; None: a single request."""

    def create(self, new: NewObject, data: bytes) -> bool:
        """Store a new object in Deep Archive; True only where S3's answer proves it.

        False: the key exists already, or the answer proves nothing; ``head`` tells. Never
        overwrites. S3 compares what it received with ``new.sha256``.
        """

    def lane(self) -> Lane[T] | None:
        """Return a way to create small objects for one thread; None when there is none."""

    def create_in_parts(self, new: NewObject, parts: Iterable[Part]) -> bool:
        """The same from parts of ``part_size(new.size)`` bytes, each compared on receipt.

        An error raised by ``parts`` gives the unfinished upload up and goes on to the caller.
        """

    def head(self, key: str) -> StoredObject | None:
        """Return what is stored under ``key``; None when nothing is."""

    def abort_unfinished(self, keys: Iterable[str]) -> int:
        """Give up multipart uploads that a dead run left for ``keys``; returns how many."""


class FetchLane(Protocol[T]):
    """The content of several small objects fetched at once by one thread, which closes it."""

    most_bytes: int
    """Of one object."""

    @property
    def busy(self) -> int:
        """How many objects ``wait`` still owes an answer."""

    @property
    def is_full(self) -> bool:
        """True while ``wait`` has to be called before the next object."""

    def begin(self, key: str, size: int, token: T) -> None:
        """Begin to fetch an object of ``size`` bytes; ``wait`` will return its ``token``."""

    def wait(self) -> Sequence[tuple[T, bytes | None | FatalError]]:
        """Return what has ended, at least one while any is busy.

        Bytes: so many as were asked for; whether they are the right ones is for the caller.
        None: nothing is known; ``RestoreStore.fetch`` finds out.
        """

    def close(self) -> None:
        """Let go of the connections."""


class RestoreStore(Protocol):
    """Where archived objects are thawed and fetched. Safe in any thread.

    Calls retry transient errors themselves. They raise ``ItemError`` when only this object is
    concerned and ``FatalError`` when the next object would fail as well.
    """

    def check(self) -> None:
        """Raise ``FatalError`` unless the bucket answers; without credentials at once."""

    def require_life(self) -> None:
        """Raise ``FatalError(S3_STALLED)`` when calls have waited too long without a success.

        Asked while others wait in their calls; sends nothing.
        """

    def states(
        self, keys: Iterable[str], cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[str, ObjectState | ItemError]]:
        """Yield what S3 says about each of these keys, once, in any order.

        From listings where that is cheaper than one HEAD for each, several calls at a time.
        When ``cancelled`` answers true it ends early. Raises ``FatalError``.
        """

    def thaw(self, key: str, tier: Tier, days: int) -> Answer:
        """Ask for a copy that is readable for ``days`` days from now.

        Raises ``ItemError(OBJECT_MISSING)`` or ``ItemError(RESTORE_REFUSED)``.
        """

    def fetch(self, key: str, size: int, write: Callable[[memoryview], None]) -> None:
        """Hand the content over in order, in blocks; what breaks is taken up where it broke.

        Raises ``ItemError``: ``NOT_READABLE`` (no readable copy now), ``OBJECT_MISSING``,
        ``CONTENT_MISMATCH`` (not ``size`` bytes, or replaced meanwhile) or ``DOWNLOAD_FAILED``.
        An error raised by ``write`` goes on to the caller.
        """

    def fetch_lane(self) -> FetchLane[T] | None:
        """Return a way to fetch small objects for one thread; None when there is none."""


class DatabaseHealth(Protocol):
    """What a check-up asks the database."""

    def examine(self) -> Iterator[Finding]:
        """Yield the findings ``database…`` as they are known; changes nothing.

        Raises ``HimuroError`` when the database cannot be asked at all.
        """


class BucketHealth(Protocol):
    """What a check-up asks S3. Nothing is left behind in the bucket.

    Each raises ``HimuroError`` when S3 cannot be asked at all.
    """

    def reach(self) -> Iterator[Finding]:
        """Yield ``s3``, ``s3-region`` and ``clock``; the others are worth asking when ``s3``
        is not ``FAILED``."""

    def permissions(self) -> Iterator[Finding]:
        """Yield a finding for each action that jobs need, and ``s3-unfinished``."""

    def protection(self) -> Iterator[Finding]:
        """Yield what the bucket's settings mean for archived objects. A setting that may not
        be read is a warning: jobs do not need it."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whom a check-up asks outside of this machine's files."""

    database: DatabaseHealth
    bucket: BucketHealth
