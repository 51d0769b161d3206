"""Step 2 of a restore: readable files are fetched, compared, and given their names.

A file is fetched under a temporary name in the target itself. Only when its size and SHA-256
are those of the archive list, and its modification time is set, it gets the name that people
see; nothing that has a name is ever replaced (``docs/contract.md``, "Invariants", 5).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from core.errors import Code, FatalError, HimuroError, ItemError
from core.files.modification_time import microseconds
from core.resources.shortage import patiently
from core.restore.model import RestoreItem
from core.restore.names import Names
from core.restore.ports import FetchLane, RestoreStore
from core.restore.target import Directory

_BLOCK = 1024 * 1024
GROUP, GROUP_SECONDS = 64, 0.5
"""Files get their names when so many are written, or the first has waited so long."""
_ATTEMPTS = 2
"""How often content that is not the right one is fetched: the network may have altered it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A file that has its name."""

    name: str
    adopted: bool = False
    """True when it lay there already, byte for byte."""


Ended = tuple[RestoreItem, Placed | HimuroError]


class Placer:
    """Fetches and places files for one thread."""

    def __init__(
        self,
        store: RestoreStore,
        directory: Directory,
        names: Names,
        *,
        got: Callable[[int], None],
        cancelled: Callable[[], bool],
    ) -> None:
        """``got`` hears of bytes of large files as they come; ``cancelled``: give up."""
        self._store = store
        self._directory = directory
        self._names = names
        self._got = got
        self._cancelled = cancelled
        self._written: list[tuple[RestoreItem, str]] = []
        """Files that wait for their names, each with its temporary one."""
        self._written_at = 0.0

    def place_all(self, items: Iterable[RestoreItem]) -> Iterator[Ended]:
        """Yield how each item ended, in the order in which they do."""
        lane: FetchLane[RestoreItem] | None = self._store.fetch_lane()
        try:
            for item in items:
                yield from self._begin(item, lane)
            while lane is not None and lane.busy:
                yield from self._ended(lane)
            yield from self._publish_written()
        finally:
            if lane is not None:
                lane.close()

    def _begin(self, item: RestoreItem, lane: FetchLane[RestoreItem] | None) -> Iterator[Ended]:
        if lane is None or item.size > lane.most_bytes:
            # It may take hours; nobody is to wait that long for a small one.
            while lane is not None and lane.busy:
                yield from self._ended(lane)
            yield from self._publish_written()
            yield from self._take(item, None)
            yield from self._publish_written()
            return
        if there := self._find(item):
            yield item, there
            return
        try:
            lane.begin(item.key, item.size, item)
        except HimuroError as exc:
            yield item, exc
        while lane.is_full:
            yield from self._ended(lane)

    def _ended(self, lane: FetchLane[RestoreItem]) -> Iterator[Ended]:
        for item, data in lane.wait():
            if isinstance(data, FatalError):
                yield item, data
            elif data is not None and hashlib.sha256(data).hexdigest() != item.sha256:
                yield from self._take(item, None)  # once more, in the patient way
            else:
                yield from self._take(item, data)
        if self._written and (
            len(self._written) >= GROUP or time.monotonic() - self._written_at >= GROUP_SECONDS
        ):
            yield from self._publish_written()

    def _take(self, item: RestoreItem, data: bytes | None) -> Iterator[Ended]:
        """Write one file; it gets its name together with others."""
        try:
            there = self._find(item) if data is None else None
            if there is None:
                self._written.append((item, patiently(self._write, item, data)))
                if len(self._written) == 1:
                    self._written_at = time.monotonic()
                return
        except HimuroError as exc:
            yield item, exc
            return
        yield item, there

    def _write(self, item: RestoreItem, data: bytes | None) -> str:
        """Write a file under a temporary name and return that; ``data`` is its content, already
        compared, None: to be fetched."""
        if not _is_name(item.name):
            raise ItemError(Code.NAME_NOT_PLACEABLE, item.name)
        temporary = self._names.temporary()
        descriptor = self._directory.create(temporary)
        try:
            try:
                if data is None:
                    self._fetch(item, descriptor)
                else:
                    _write(descriptor, memoryview(data))
                nanoseconds = microseconds(item.modified_at) * 1000
                self._directory.set_time(descriptor, temporary, nanoseconds)
                if not self._directory.syncs_at_once:
                    patiently(os.fsync, descriptor)
            finally:
                os.close(descriptor)
        except OSError as exc:
            self._directory.remove(temporary)
            raise self._directory.explain(exc) from exc
        except BaseException:
            self._directory.remove(temporary)
            raise
        return temporary

    def _publish_written(self) -> Iterator[Ended]:
        """Give names to what lies safely on the disk: a power cut leaves no empty file of a
        right name."""
        written, self._written = self._written, []
        if not written:
            return
        try:
            self._directory.require_in_place()
            self._directory.sync()
        except (OSError, FatalError) as exc:
            cause = self._directory.explain(exc) if isinstance(exc, OSError) else exc
            for item, temporary in written:
                self._directory.remove(temporary)
                yield item, cause
            return
        for item, temporary in written:
            try:
                yield item, Placed(self._publish(temporary, item))
            except HimuroError as exc:
                self._directory.remove(temporary)
                yield item, exc

    def _publish(self, temporary: str, item: RestoreItem) -> str:
        while True:
            name = self._names.claim(item.name)
            if self._directory.publish(temporary, name):
                return name

    def _find(self, item: RestoreItem) -> Placed | None:
        name = self._names.find(item)
        return None if name is None else Placed(name, adopted=True)

    def _fetch(self, item: RestoreItem, descriptor: int) -> None:
        """Write the content into an empty file; raises ``ItemError`` unless it is the right one."""
        for attempt in range(_ATTEMPTS):
            digest = hashlib.sha256()
            size = 0

            def take(block: memoryview, digest: hashlib._Hash = digest) -> None:
                nonlocal size
                if self._cancelled():
                    raise ItemError(Code.STOPPED)
                _write(descriptor, block)
                digest.update(block)
                size += len(block)
                self._got(len(block))

            if attempt:
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
            try:
                self._store.fetch(item.key, item.size, take)
            except ItemError as exc:
                if exc.code is not Code.CONTENT_MISMATCH or attempt + 1 == _ATTEMPTS:
                    raise
                continue
            if size == item.size and digest.hexdigest() == item.sha256:
                return
        raise ItemError(Code.CONTENT_MISMATCH)


def clear_leftovers(directory: Directory, run_ids: set[str]) -> int:
    """Remove temporary files of these runs, which are not alive; returns how many.

    ``run_ids``: the short ids at the end of the names of their folders.
    """
    mine = [name for name, run in directory.leftovers() if run in run_ids]
    for name in mine:
        directory.remove(name)
    return len(mine)


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name)


def _write(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[patiently(os.write, descriptor, data[:_BLOCK]) :]
