"""A double behind ``RestoreStore``, with a clock that the test sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

from core.errors import Code, FatalError, HimuroError, ItemError
from core.restore.model import Answer, ObjectState, Thaw, Tier, copy_expires
from core.restore.ports import FetchLane
from tests.support.fakes import MemoryStore

T = TypeVar("T")

_ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")


@dataclass(frozen=True)
class Copy:
    """A readable copy that was asked for."""

    ready_at: datetime
    expires_at: datetime


class MemoryFetchLane(Generic[T]):
    """A lane of a ``MemoryRestoreStore``: fetches what was begun when somebody waits for it."""

    most_bytes = 64

    def __init__(self, store: MemoryRestoreStore) -> None:
        self._store = store
        self._begun: list[tuple[str, int, T]] = []

    @property
    def busy(self) -> int:
        return len(self._begun)

    @property
    def is_full(self) -> bool:
        return len(self._begun) >= 3

    def begin(self, key: str, size: int, token: T) -> None:
        self._begun.append((key, size, token))

    def wait(self) -> list[tuple[T, bytes | None | FatalError]]:
        if not self._begun:
            return []
        key, size, token = self._begun.pop(0)
        content = bytearray()
        try:
            self._store.fetch(key, size, content.extend)
        except FatalError as exc:
            return [(token, exc)]
        except HimuroError:
            return [(token, None)]
        return [(token, bytes(content))]

    def close(self) -> None:
        self._begun.clear()


class MemoryRestoreStore:
    """Thaws the objects of a ``MemoryStore`` as S3 does, by the clock ``now``.

    ``before`` is called with the name of the call (``check`` ``state`` ``thaw`` ``fetch``) and
    the key, and may raise.
    """

    def __init__(
        self,
        store: MemoryStore | None = None,
        now: datetime = datetime(2026, 11, 23, 9, 30, tzinfo=UTC),
    ) -> None:
        self.objects = (store or MemoryStore()).objects
        self.now = now
        self.copies: dict[str, Copy] = {}
        self.requests: list[tuple[str, Tier, int]] = []
        """Every request for a copy that S3 would see, refused ones included."""
        self.throttled: set[str] = set()
        """Keys whose requests S3 is too busy for."""
        self.altered: dict[str, bytes] = {}
        """What is fetched instead of the content."""
        self.before: Callable[[str, str], None] = lambda _call, _key: None
        self.life: Callable[[], None] = lambda: None
        """Raises when nothing succeeds any more."""

    def check(self) -> None:
        self.before("check", "")

    def require_life(self) -> None:
        self.life()

    def states(
        self, keys: Iterable[str], cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[str, ObjectState | ItemError]]:
        for key in sorted(set(keys)):
            if cancelled():
                return
            try:
                self.before("state", key)
                state: ObjectState | ItemError = self.state(key)
            except ItemError as exc:
                state = exc
            yield key, state

    def state(self, key: str) -> ObjectState:
        there = self.objects.get(key)
        if there is None:
            return ObjectState(Thaw.MISSING)
        size = len(there.data)
        if there.storage_class not in _ARCHIVED:
            return ObjectState(Thaw.READABLE, size)
        copy = self.copies.get(key)
        if copy is None or copy.expires_at <= self.now:
            return ObjectState(Thaw.FROZEN, size)
        if self.now < copy.ready_at:
            return ObjectState(Thaw.THAWING, size)
        return ObjectState(Thaw.READABLE, size, copy.expires_at)

    def thaw(self, key: str, tier: Tier, days: int) -> Answer:
        self.before("thaw", key)
        self.requests.append((key, tier, days))
        state = self.state(key)
        if state.thaw is Thaw.MISSING:
            raise ItemError(Code.OBJECT_MISSING)
        if key in self.throttled:
            raise ItemError(Code.RESTORE_REFUSED, "SlowDown")
        if state.thaw is Thaw.THAWING:
            return Answer.IN_PROGRESS
        expires_at = copy_expires(self.now, days)
        if state.thaw is Thaw.FROZEN:
            self.copies[key] = Copy(self.now + tier.wait, expires_at)
            return Answer.ACCEPTED
        if state.readable_until is None:
            return Answer.NOT_ARCHIVED
        self.copies[key] = replace(self.copies[key], expires_at=expires_at)
        return Answer.EXTENDED

    def fetch(self, key: str, size: int, write: Callable[[memoryview], None]) -> None:
        self.before("fetch", key)
        state = self.state(key)
        if state.thaw is Thaw.MISSING:
            raise ItemError(Code.OBJECT_MISSING)
        if state.thaw is not Thaw.READABLE:
            raise ItemError(Code.NOT_READABLE)
        content = memoryview(self.altered.get(key, self.objects[key].data))
        if len(content) != size:
            raise ItemError(Code.CONTENT_MISMATCH, f"{size} → {len(content)}バイト")
        half = size // 2
        for block in (content[:half], content[half:]):
            if block:
                write(block)

    def fetch_lane(self) -> FetchLane[T] | None:
        return MemoryFetchLane(self)
