"""Doubles behind the real protocols. They pass the same contract tests as the real things."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

from core.archive.ports import STORAGE_CLASS, Lane, NewObject, Part, StoredObject
from core.errors import Code, FatalError, HimuroError, ItemError
from core.model import Entry, SearchPage, SearchQuery
from core.paths.normalization import decode_metadata, fold
from core.ports import Hits, Total
from core.s3.http.fast_put import user_metadata

T = TypeVar("T")


class MemoryCatalogue:
    """An archive list in memory. ``before_add`` may raise what a database would."""

    def __init__(self) -> None:
        self.rows: list[Entry] = []
        self._by_key: dict[tuple[str, str], Entry] = {}
        self.before_add: Callable[[Sequence[Entry]], None] = lambda _entries: None
        self._lock = threading.Lock()

    def check(self) -> None:
        return

    def hurry(self, within: float) -> None:
        return

    def origin(self) -> str:
        return ""

    def find(self, search_keys: Iterable[str]) -> Mapping[str, Sequence[Entry]]:
        found: dict[str, list[Entry]] = {}
        wanted = set(search_keys)
        for row in self.rows:
            if row.search_key in wanted:
                found.setdefault(row.search_key, []).append(row)
        return found

    def add(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        self.before_add(entries)
        refused = []
        with self._lock:
            for entry in entries:
                there = self._by_key.get((entry.bucket, entry.key))
                if there is None:
                    stored = replace(entry, id=len(self.rows) + 1)
                    self.rows.append(stored)
                    self._by_key[(entry.bucket, entry.key)] = stored
                elif (there.path, there.sha256, there.size) != (
                    entry.path,
                    entry.sha256,
                    entry.size,
                ):
                    refused.append(entry)
        return refused

    def hits(self, query: SearchQuery) -> Hits:
        found = self.search(query, per_page=max(1, len(self.rows))).entries
        return Hits(len(found), (found[n : n + 2] for n in range(0, len(found), 2)))

    def search(self, query: SearchQuery, *, page: int = 1, per_page: int = 100) -> SearchPage:
        words = [fold(word) for word in query.words.split()]
        directory = fold(query.directory.rstrip("\\")) + "\\" if query.directory else ""
        rows = [
            row
            for row in reversed(self.rows)
            if row.search_key.startswith(directory) and all(w in row.search_key for w in words)
        ]
        return SearchPage(len(rows), tuple(rows[(page - 1) * per_page : page * per_page]))

    def totals(self, timezone: ZoneInfo, *, after: int = 0) -> Iterator[Total]:
        found: dict[tuple[str, date], list[Entry]] = {}
        for row in self.rows[after:]:
            month = row.archived_at.astimezone(timezone).date().replace(day=1)
            found.setdefault((row.directory, month), []).append(row)
        for (directory, month), rows in sorted(found.items()):
            size = sum(row.size for row in rows)
            yield Total(directory, month, len(rows), size, rows[-1].id)

    def count_until(self, serial: int) -> int:
        return min(serial, len(self.rows))


@dataclass(frozen=True)
class MemoryObject:
    """An object as the bucket holds it."""

    data: bytes
    sha256: str
    source_path: str
    storage_class: str = STORAGE_CLASS


class MemoryLane(Generic[T]):
    """A lane of a ``MemoryStore``: creates what was begun when somebody waits for it."""

    most_bytes = 64

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._begun: list[tuple[NewObject, bytes, T]] = []

    @property
    def busy(self) -> int:
        return len(self._begun)

    @property
    def is_full(self) -> bool:
        return len(self._begun) >= 3

    def begin(self, new: NewObject, data: bytes, token: T) -> None:
        self._begun.append((new, data, token))

    def wait(self) -> list[tuple[T, bool | FatalError]]:
        new, data, token = self._begun.pop(0)
        try:
            return [(token, self._store.create(new, data))]
        except FatalError as exc:
            return [(token, exc)]
        except HimuroError:
            return [(token, False)]

    def close(self) -> None:
        self._begun.clear()


class MemoryStore:
    """A bucket in memory that is as strict as S3: it compares checksums and never overwrites.

    ``before`` is called with the name of the call and the key, and may raise.
    """

    def __init__(self, part_bytes: int = 1024) -> None:
        self.objects: dict[str, MemoryObject] = {}
        self.writes: list[str] = []
        self.unfinished: set[str] = set()
        self.part_bytes = part_bytes
        self.before: Callable[[str, str], None] = lambda _call, _key: None
        self.life: Callable[[], None] = lambda: None
        """Raises when nothing succeeds any more."""
        self.after: Callable[[str, str], None] = lambda _call, _key: None
        self._lock = threading.Lock()

    def check(self) -> None:
        self.before("check", "")

    def require_life(self) -> None:
        self.life()

    def part_size(self, size: int) -> int | None:
        return None if size <= self.part_bytes else self.part_bytes

    def create(self, new: NewObject, data: bytes) -> bool:
        self.before("create", new.key)
        created = self._store(new, data)
        self.after("create", new.key)
        return created

    def lane(self) -> Lane[T] | None:
        return MemoryLane(self)

    def create_in_parts(self, new: NewObject, parts: Iterable[Part]) -> bool:
        self.before("create_in_parts", new.key)
        self.unfinished.add(new.key)
        whole = b""
        try:
            for part in parts:
                self.before("part", new.key)
                if hashlib.sha256(part.data).digest() != part.digest:
                    raise ItemError(Code.CHANGED_WHILE_READING)
                whole += part.data
        except Exception:
            self.unfinished.discard(new.key)
            raise
        created = self._store(new, whole)
        self.unfinished.discard(new.key)
        self.after("create_in_parts", new.key)
        return created

    def _store(self, new: NewObject, data: bytes) -> bool:
        if hashlib.sha256(data).hexdigest() != new.sha256:
            raise ItemError(Code.CHANGED_WHILE_READING)
        with self._lock:
            if new.key in self.objects:
                return False
            # As S3 would give it back: empty where it did not fit.
            path = decode_metadata(user_metadata(new).get("source-path", ""))
            self.objects[new.key] = MemoryObject(data, new.sha256, path)
            self.writes.append(new.key)
            return True

    def head(self, key: str) -> StoredObject | None:
        self.before("head", key)
        there = self.objects.get(key)
        if there is None:
            return None
        return StoredObject(len(there.data), there.sha256, there.source_path, there.storage_class)

    def abort_unfinished(self, keys: Iterable[str]) -> int:
        mine = self.unfinished & set(keys)
        self.unfinished -= mine
        return len(mine)
