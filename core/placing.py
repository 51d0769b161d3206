"""Step 2 of a restore: readable files are fetched, compared, and given their names.

A file is fetched under a temporary name in the target itself. Only when its size and SHA-256
are those of the archive list, and its modification time is set, it gets the name that people
see; nothing that has a name is ever replaced (contract, invariant 5).
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from core.errors import Code, FatalError, HimuroError, ItemError
from core.moments import is_modified_at, microseconds
from core.names import identity
from core.ports import FetchLane, RestoreStore
from core.restore_model import RestoreItem
from core.target import Directory, candidates, split_name, temporary_name, with_addition

_BLOCK = 1024 * 1024
GROUP, GROUP_SECONDS = 64, 0.5
"""Files get their names when so many are written, or the first has waited so long."""
_ADDITIONS = tuple(f"_{'0' * 8}{counter}" for counter in ("", "_2", "_22", "_222"))
"""As long as what ``candidates`` adds."""
_ATTEMPTS = 2
"""How often content that is not the right one is fetched: the network may have altered it."""


class Names:
    """Which names of a target are taken, and by whom; safe in any thread."""

    def __init__(
        self, directory: Directory | None, day: str, run_id: str, owned: Iterable[str] = ()
    ) -> None:
        """``directory``: None for one that is not there yet. ``day``: ``yyyymmdd``, put into a
        name that is taken already. ``owned``: names that other files of this run have got
        before."""
        self._directory = directory
        self._day = day
        self._run_id = run_id
        self._lock = threading.Lock()
        self._count = 0
        names = directory.names() if directory else []
        self._taken = {identity(name) for name in names}
        self._owned = {identity(name) for name in owned}
        self._alike: dict[str, list[str]] = {}
        """Names that a file may have got from an earlier run, by what they were made from."""
        for name in names:
            for original in {identity(name), identity(_made_from(name))}:
                self._alike.setdefault(original, []).append(name)

    def temporary(self) -> str:
        """Return a name for a file that is not finished; one that could not be removed stays."""
        with self._lock:
            self._count += 1
            while identity(name := temporary_name(self._run_id, self._count)) in self._taken:
                self._count += 1
            return name

    def claim(self, name: str) -> str:
        """Return a name for a file of this name that nobody has, and take it."""
        with self._lock:
            for candidate in candidates(name, self._day):
                if identity(candidate) not in self._taken:
                    self._taken.add(identity(candidate))
                    return candidate
        raise AssertionError("candidates never end")

    def alike(self, item: RestoreItem) -> Iterator[str]:
        """Yield names in the target that this file may have got before, of its size and time."""
        originals = {identity(item.name)}
        # What was added to a long name has cut its stem.
        for addition in _ADDITIONS:
            originals.add(identity(_made_from(with_addition(item.name, addition))))
        for name in (found for original in originals for found in self._alike.get(original, ())):
            status = self._directory.stat(name) if self._directory else None
            if (
                status is not None
                and stat.S_ISREG(status.st_mode)
                and status.st_size == item.size
                and is_modified_at(status.st_mtime_ns, item.modified_at)
            ):
                yield name

    def adopt(self, name: str) -> bool:
        """Take what is there already for one file; False when another one has it."""
        with self._lock:
            free = identity(name) not in self._owned
            self._owned.add(identity(name))
            return free


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
                self._written.append((item, self._write(item, data)))
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
                    os.fsync(descriptor)
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
        """Return the file when a run that died had placed it and could not say so any more."""
        for name in self._names.alike(item):
            if self._hash(name) == item.sha256 and self._names.adopt(name):
                return Placed(name, adopted=True)
        return None

    def _hash(self, name: str) -> str:
        try:
            descriptor = self._directory.open_file(name)
        except OSError:
            return ""
        try:
            with os.fdopen(descriptor, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""

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


def _made_from(name: str) -> str:
    """Return the name that ``candidates`` may have made this one from."""
    stem, suffix = split_name(name)
    head, _, tail = stem.rpartition("_")
    if head and tail.isdecimal() and len(tail) < 8:
        head, _, tail = head.rpartition("_")
    return head + suffix if head and tail.isdecimal() and len(tail) == 8 else name


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name)


def _write(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data[:_BLOCK]) :]
