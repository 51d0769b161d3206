"""The content of one file: read once when it fits into memory, twice when it does not.

All threads together hold a bounded number of bytes. What is sent is what was hashed: a part
of a large file is compared with the first reading before it leaves.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from core.archive.ports import Part
from core.errors import Code, ItemError
from core.share.shares import OpenFile

MEMORY_BYTES = 192 * 1024 * 1024
"""File content held in memory at one time by all threads together."""
_BLOCK = 1024 * 1024


class ByteSemaphore:
    """A FIFO semaphore over bytes: threads hold so many at a time, the others wait in their order.

    Parts of large files may wait for S3 for long while they are held. All of them together get
    no more than leaves room for one file that goes whole: such a file never waits for a large one.
    """

    def __init__(self, total: int, parts: int | None = None) -> None:
        """``parts``: the most that parts may hold together; None: two thirds."""
        self._total = self._free = total
        self._most_parts = self._free_parts = total * 2 // 3 if parts is None else parts
        self._changed = threading.Condition()
        self._waiting: list[_Share] = []

    @contextmanager
    def hold(self, size: int, *, part: bool = False) -> Iterator[None]:
        """Wait for ``size`` bytes, or for all there are when it is more than that.

        ``part``: they are one part of a large file. A thread holds one share at a time.
        """
        share = _Share(min(size, self._most_parts if part else self._total), part)
        with self._changed:
            self._waiting.append(share)
            self._grant()
            self._changed.wait_for(lambda: share.granted)
        try:
            yield
        finally:
            with self._changed:
                self._free += share.size
                self._free_parts += share.size * share.part
                self._grant()

    def _grant(self) -> None:
        """Give what can be given. A part that only waits for other parts holds nobody up; whoever
        waits for memory does, or those with less would pass for ever."""
        for share in list(self._waiting):
            if share.part and share.size > self._free_parts:
                continue
            if share.size > self._free:
                break
            self._free -= share.size
            self._free_parts -= share.size * share.part
            self._waiting.remove(share)
            share.granted = True
        self._changed.notify_all()


@dataclass(eq=False, slots=True)
class _Share:
    """Bytes that one thread wants."""

    size: int
    part: bool
    granted: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What was read of a file."""

    status: os.stat_result
    """Size, times and inode at the moment of opening."""
    sha256: str
    data: bytes | None
    """None: too large to be held; ``part_digests`` tell whether it is still the same."""
    part_digests: tuple[bytes, ...] = ()
    part_size: int = 0

    @property
    def size(self) -> int:
        return self.status.st_size


def read(file: OpenFile, part_size: int | None, cancelled: Callable[[], bool]) -> Content:
    """Read a file to its end; raises ``ItemError(CHANGED_WHILE_READING)`` when that moved."""
    status = file.status
    if part_size is None:
        # What is written behind the end meanwhile shows in the next look at the size.
        data = file.read(status.st_size)
        content = Content(status, hashlib.sha256(data).hexdigest(), data)
        read = len(data)
    else:
        sha256, digests, read = _hash(file, part_size, cancelled)
        content = Content(status, sha256, None, digests, part_size)
    if read != status.st_size:
        raise ItemError(Code.CHANGED_WHILE_READING)
    return content


def _hash(
    file: OpenFile, part_size: int, cancelled: Callable[[], bool]
) -> tuple[str, tuple[bytes, ...], int]:
    """Return the SHA-256 of a whole file, the digests of its parts, and the bytes read."""
    whole, parts, read = hashlib.sha256(), [hashlib.sha256()], 0
    while block := file.read(min(_BLOCK, part_size - read % part_size)):
        if cancelled():
            raise ItemError(Code.STOPPED)
        if read and read % part_size == 0:
            parts.append(hashlib.sha256())
        whole.update(block)
        parts[-1].update(block)
        read += len(block)
    return whole.hexdigest(), tuple(part.digest() for part in parts), read


def parts_of(
    file: OpenFile,
    content: Content,
    memory: ByteSemaphore,
    sent: Callable[[int], None],
    cancelled: Callable[[], bool],
) -> Generator[Part, None, None]:
    """Yield the parts of a large file, each the same as when the file was hashed.

    ``memory`` is held from one part to the next one, not between two of them. Raises
    ``ItemError(CHANGED_WHILE_READING)`` for a part that is not the same, before it is sent.
    """
    file.rewind()
    left = content.size
    for digest in content.part_digests:
        size = min(left, content.part_size)
        with memory.hold(size, part=True):
            if cancelled():
                raise ItemError(Code.STOPPED)
            data = file.read(size)
            if hashlib.sha256(data).digest() != digest:
                raise ItemError(Code.CHANGED_WHILE_READING)
            yield Part(data, digest)
            del data
        left -= size
        sent(size)
