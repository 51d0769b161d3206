"""What an archive run needs of an object store, as a protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from core.errors import FatalError

T = TypeVar("T")


STORAGE_CLASS = "DEEP_ARCHIVE"
"""Given on the put itself (``docs/contract.md``, "S3 objects")."""


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
        """Store a new object from parts of ``part_size(new.size)`` bytes, each of which S3
        compares on receipt; returns what ``create`` does.

        An error raised by ``parts`` gives the unfinished upload up and goes on to the caller.
        """

    def head(self, key: str) -> StoredObject | None:
        """Return what is stored under ``key``; None when nothing is."""

    def abort_unfinished(self, keys: Iterable[str]) -> int:
        """Give up multipart uploads that a dead run left for ``keys``; returns how many."""
