"""Which names of a target are taken, and which files in it a restore has placed already.

Everything is done once for each file that lies there, whatever number of files have its name:
its status, the hash of its content, and the search for the next free name.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BufferedReader

from core.files.modification_time import is_modified_at, kept, microseconds
from core.paths.normalization import identity
from core.resources.shortage import patiently
from core.restore.model import RestoreItem
from core.restore.target import Directory, candidate, split_name, temporary_name, with_addition

_ADDITIONS = tuple(f"_{'0' * 8}{counter}" for counter in ("", "_2", "_22", "_222"))
"""Of the length of what ``candidate`` adds to a name that is taken."""


@dataclass(slots=True)
class _Alike:
    """Files in the target of one name, size and time; ``lock`` for all that is in it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    unread: list[str] = field(default_factory=list)
    read: dict[str, list[str]] = field(default_factory=dict)
    """By the SHA-256 of their content; files that have an owner are not among them."""


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
        self._next: dict[str, int] = {}
        """The number of the candidate that is tried next, by the first of them."""
        self._owned = {identity(name) for name in owned}
        self._made: dict[str, list[str]] = {}
        """Names that a file may have got from an earlier run, by what they were made from."""
        for name in names:
            if identity(name) not in self._owned:
                for original in {identity(name), identity(_made_from(name))}:
                    self._made.setdefault(original, []).append(name)
        self._alike: dict[str, dict[tuple[int, int], _Alike]] = {}
        """Names that a file may have got, once the server was asked about them: by what they were
        made from, then by size and modification time in microseconds."""
        # Looking asks the server: who claims a name does not wait for that.
        self._looking = threading.Lock()

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
            if self._take(name):
                return name
            series = identity(candidate(name, self._day, 1))
            while True:
                number = self._next.get(series, 1)
                self._next[series] = number + 1
                if self._take(found := candidate(name, self._day, number)):
                    return found

    def _take(self, name: str) -> bool:
        compared = identity(name)
        free = compared not in self._taken
        self._taken.add(compared)
        return free

    def find(self, item: RestoreItem) -> str | None:
        """Return the name of a file with this content that nobody has, and give it to ``item``:
        a run that died had placed it and could not say so any more."""
        for alike in self._groups(item):
            with alike.lock:
                while True:
                    names = alike.read.get(item.sha256, [])
                    while names:
                        name = names.pop()
                        if self._is_like(name, item) and self._adopt(name):
                            return name
                    if not alike.unread:
                        break
                    name = alike.unread.pop()
                    if not self._is_owned(name):
                        alike.read.setdefault(self.hash_of(name), []).append(name)
        return None

    def seem_there(self, item: RestoreItem) -> bool:
        """Return whether a file of the same size and time was placed before, without reading any.

        One object of this class is asked either this or for the content, never both.
        """
        for alike in self._groups(item):
            with alike.lock:
                while alike.unread:
                    if self._adopt(alike.unread.pop()):
                        return True
        return False

    def hash_of(self, name: str) -> str:
        """Return the SHA-256 of a file as it is now; empty when it cannot be read."""
        if self._directory is None:
            return ""
        try:
            with os.fdopen(self._directory.open_file(name), "rb") as file:
                return patiently(_digest, file)
        except OSError:
            return ""

    def _adopt(self, name: str) -> bool:
        """Take what is there already for one file; False when another one has it."""
        with self._lock:
            free = identity(name) not in self._owned
            self._owned.add(identity(name))
            return free

    def _is_owned(self, name: str) -> bool:
        with self._lock:
            return identity(name) in self._owned

    def _is_like(self, name: str, item: RestoreItem) -> bool:
        status = self._directory.stat(name) if self._directory else None
        return (
            status is not None
            and status.st_size == item.size
            and is_modified_at(status.st_mtime_ns, item.modified_at)
        )

    def _groups(self, item: RestoreItem) -> Iterator[_Alike]:
        """Yield files that this one may have been placed as before, of its size and time."""
        originals = {identity(item.name)}
        # What was added to a long name has cut its stem.
        for addition in _ADDITIONS:
            originals.add(identity(_made_from(with_addition(item.name, addition))))
        wanted = (item.size, microseconds(item.modified_at))
        for original in sorted(originals):
            with self._looking:
                if original in self._made:
                    self._alike[original] = self._looked_at(self._made.pop(original))
                alike = self._alike.get(original, {}).get(wanted)
            if alike is not None:
                yield alike

    def _looked_at(self, names: Iterable[str]) -> dict[tuple[int, int], _Alike]:
        found: dict[tuple[int, int], _Alike] = {}
        for name in names:
            status = self._directory.stat(name) if self._directory else None
            if status is not None and stat.S_ISREG(status.st_mode):
                key = (status.st_size, kept(status.st_mtime_ns))
                found.setdefault(key, _Alike()).unread.append(name)
        return found


def _digest(file: BufferedReader) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _made_from(name: str) -> str:
    """Return the name that ``candidate`` may have made this one from."""
    stem, suffix = split_name(name)
    head, _, tail = stem.rpartition("_")
    if head and tail.isdecimal() and len(tail) < 8:
        head, _, tail = head.rpartition("_")
    return head + suffix if head and tail.isdecimal() and len(tail) == 8 else name
