"""What a restore needs of an object store, as a protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from core.errors import FatalError, ItemError
from core.restore.model import Answer, ObjectState, Tier

T = TypeVar("T")


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
