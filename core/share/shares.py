"""The shares of the file server, mounted on this machine: UNC paths and what lies there.

All calls to the share go through ``FileSystem``, so that tests can slow or break them.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import lru_cache
from types import MappingProxyType

from core.config.settings import ShareSetting
from core.errors import Code, FatalError, ItemError, os_reason
from core.files.nofollow import open_unlinked, remove_unlinked, scan_unlinked, stat_unlinked
from core.paths.normalization import identity, split_unc
from core.resources.shortage import is_shortage, patiently, unexpected

_WINDOWS = os.name == "nt"
_MAX_NAME = 255
"""Longest name: UTF-16 units on NTFS, bytes in UTF-8 on Linux."""
_MAX_BYTES_A_LETTER = 4
"""In UTF-8; in UTF-16 a letter has two units at most."""


_PROBE = re.compile(r"\.himuro-doctor-[0-9a-f]{16}")


def is_probe(name: str) -> bool:
    """Return whether a file is one that a check-up tries (``core/share/write_probe.py``)."""
    return _PROBE.fullmatch(name) is not None


LEFTOVER = re.compile(r"\.himuro-(?P<run>[0-9a-f]{4,16})-[0-9]{1,9}\.tmp")
"""A restored file that is not finished, and the end of the id of the run that it belongs to."""


def is_leftover(name: str) -> bool:
    """Return whether a file is one that a restore has not finished, or left when it died."""
    return LEFTOVER.fullmatch(name) is not None


class Kind(Enum):
    """What a directory entry is, without following links."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"


class FileSystem:
    """The calls that Himuro makes to a share. Each is one round trip on a network mount.

    No part of a path below a directory that is ``confine``d is followed when it is a link, of
    other paths the last one is not: ``OSError(ELOOP)``.
    """

    _roots: Mapping[str, str] = MappingProxyType({})
    """Directories and where they lie, all links followed; the longest first."""

    def confine(self, directory: str) -> str:
        """Follow links up to ``directory``, now, and none below it any more; return where it
        lies. To be called before other threads use this."""
        real = self.resolve(directory)
        roots = {**self._roots, directory.rstrip(os.sep): real.rstrip(os.sep)}
        self._roots = dict(sorted(roots.items(), key=lambda root: len(root[0]), reverse=True))
        return real

    def list(self, directory: str) -> list[tuple[str, Kind]]:
        """Return names and kinds of everything in ``directory``."""
        with scan_unlinked(self._real(directory)) as entries:
            return [(entry.name, _kind(entry)) for entry in entries]

    def stat(self, path: str) -> os.stat_result:
        """Return what is known of a path; of a link itself where its last part is one."""
        return stat_unlinked(self._real(path))

    def open(self, path: str) -> int:
        """Open for reading, without waiting on pipes and devices; returns a descriptor."""
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        return open_unlinked(self._real(path), flags)

    def create_empty(self, path: str) -> None:
        """Create an empty file; ``FileExistsError`` when anything has that name."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        os.close(open_unlinked(self._real(path), flags, 0o664))

    def remove(self, path: str) -> None:
        """Remove a file; only a check-up does, and only what it made itself."""
        remove_unlinked(self._real(path))

    def resolve(self, path: str) -> str:
        """Return the path with all links followed."""
        return os.path.realpath(path)

    def _real(self, path: str) -> str:
        """Return ``path`` without the links that may be followed."""
        for directory, real in self._roots.items():
            if path.startswith(directory + os.sep):
                return real + path[len(directory) :]
            if path == directory:
                return real or os.sep
        above, name = os.path.split(path)
        return os.path.join(os.path.realpath(above), name)


class PatientFileSystem(FileSystem):
    """Repeats the calls to another file system while this machine lacks descriptors or memory
    for them, and then raises ``FatalError(MACHINE_SHORT)``.
    """

    def __init__(self, fs: FileSystem) -> None:
        self._fs = fs

    def confine(self, directory: str) -> str:
        return patiently(self._fs.confine, directory)

    def list(self, directory: str) -> list[tuple[str, Kind]]:
        return patiently(self._fs.list, directory)

    def stat(self, path: str) -> os.stat_result:
        return patiently(self._fs.stat, path)

    def open(self, path: str) -> int:
        return patiently(self._fs.open, path)

    def create_empty(self, path: str) -> None:
        patiently(self._fs.create_empty, path)

    def remove(self, path: str) -> None:
        patiently(self._fs.remove, path)

    def resolve(self, path: str) -> str:
        return patiently(self._fs.resolve, path)


class OpenFile:
    """A regular file of a share, open for reading.

    A descriptor and one ``fstat``: a file object would make three calls more, and 20,000
    files a list make each of them felt.
    """

    __slots__ = ("_descriptor", "status")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.status = os.fstat(descriptor)
        """Size, times and inode at the moment of opening."""

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes from where the last read ended; fewer at the end."""
        data = patiently(os.read, self._descriptor, size)
        while len(data) < size and data and (more := self._more(size - len(data))):
            data += more
        return data

    def _more(self, size: int) -> bytes:
        return patiently(os.read, self._descriptor, size)

    def rewind(self) -> None:
        os.lseek(self._descriptor, 0, os.SEEK_SET)

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _kind(entry: os.DirEntry[str]) -> Kind:
    if entry.is_symlink():
        return Kind.LINK
    if _WINDOWS:
        attributes = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0)
        if attributes & getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0):
            return Kind.LINK
    if entry.is_dir(follow_symlinks=False):
        return Kind.DIRECTORY
    return Kind.FILE if entry.is_file(follow_symlinks=False) else Kind.OTHER


class Shares:
    """The configured shares. Stateless apart from the configuration; safe in any thread.

    Whatever they are asked waits while this machine is too short to ask, and then raises
    ``FatalError(MACHINE_SHORT)``.
    """

    def __init__(
        self,
        shares: Iterable[ShareSetting],
        fs: FileSystem | None = None,
        *,
        patient: bool = True,
    ) -> None:
        """``patient``: False for a check-up, which tells of the shortage at once."""
        fs = fs or FileSystem()
        self.fs = PatientFileSystem(fs) if patient else fs
        self._shares = [(identity(s.unc) + "\\", s) for s in shares]
        self._share_of = lru_cache(maxsize=4096)(self._find_share)
        self._roots = {s.unc: self.fs.confine(str(s.directory)) for _, s in self._shares}

    def _find_share(self, directory: str) -> ShareSetting | None:
        located = self.locate(directory)
        return located[0] if located else None

    def locate(self, path: str) -> tuple[ShareSetting, tuple[str, ...]] | None:
        """Return the share that ``path`` lies in and the parts below it; None when in none."""
        compared = identity(path) + "\\"
        for prefix, share in self._shares:
            if compared.startswith(prefix):
                return share, split_unc(path)[len(split_unc(share.unc)) :]
        return None

    def is_mounted(self, share: ShareSetting) -> bool:
        """Return whether the share answers.

        An empty root counts as absent: that is what a mount point looks like while nothing
        is mounted on it, and an empty share has nothing to archive.
        """
        try:
            # What a check-up tries there in this moment does not make it a share.
            return any(not is_probe(name) for name, _ in self.fs.list(str(share.directory)))
        except OSError as exc:
            if is_shortage(exc):
                raise unexpected(exc) from exc
            return False

    def require_mounted(self, shares: Iterable[ShareSetting]) -> None:
        """Raise ``FatalError(SHARE_NOT_MOUNTED)`` that names every share that is absent."""
        absent = [s for s in shares if not self.is_mounted(s)]
        if absent:
            names = "、".join(f"{s.unc} → {s.directory}" for s in absent)
            raise FatalError(Code.SHARE_NOT_MOUNTED, names)

    def real_place(self, share: ShareSetting, local: str) -> str | None:
        """Return the path below the share's directory that ``local`` is with all links followed;
        None when they lead out of the share."""
        root = self._roots[share.unc].rstrip(os.sep)
        real = self.fs.resolve(local)
        if not (real + os.sep).startswith(root + os.sep):
            return None
        return (str(share.directory).rstrip(os.sep) + real[len(root) :]) or os.sep

    def written(self, share: ShareSetting, local: str) -> str:
        """Return the UNC path of a path below the share's directory."""
        below = local[len(str(share.directory).rstrip(os.sep)) :]
        return share.unc + below.replace(os.sep, "\\")

    def open(self, path: str, local: str) -> OpenFile:
        """Open a file of a share for reading.

        Raises ``ItemError`` when it is missing, unreadable, no regular file, or when any part
        of its path is a link; ``FatalError`` when the share itself is gone.
        """
        share = self._share_of(path.rpartition("\\")[0])
        if share is None:
            raise ItemError(Code.PATH_OUTSIDE_SHARES)
        return self.open_in(share, local)

    def open_in(self, share: ShareSetting, local: str) -> OpenFile:
        """Open a file whose share is known for reading; ``open`` names the errors."""
        try:
            descriptor = self.fs.open(local)
        except OSError as exc:
            raise self.explain(exc, share) from exc
        try:
            file = OpenFile(descriptor)
            if not stat.S_ISREG(file.status.st_mode):
                raise ItemError(Code.NOT_A_FILE)
        except BaseException:
            os.close(descriptor)
            raise
        return file

    def explain(self, exc: OSError, share: ShareSetting) -> ItemError:
        """Return the failure of one file; raises ``FatalError`` when the share is gone, or when
        nobody could tell."""
        if is_shortage(exc):
            raise unexpected(exc) from exc
        self.require_mounted([share])
        if exc.errno in (errno.ENOENT, errno.ENOTDIR):
            return ItemError(Code.SOURCE_NOT_FOUND)
        if exc.errno in (errno.EISDIR, errno.ENXIO):
            return ItemError(Code.NOT_A_FILE)
        if exc.errno == errno.ELOOP:
            return ItemError(Code.LINK_NOT_FOLLOWED)
        return ItemError(Code.SOURCE_UNREADABLE, os_reason(exc))


def name_fits(name: str) -> bool:
    """Return whether a file of this name can exist on NTFS and on this machine."""
    if len(name) * _MAX_BYTES_A_LETTER <= _MAX_NAME:
        return True
    units = len(name.encode("utf-16-le", "surrogatepass")) // 2
    size = units if _WINDOWS else len(os.fsencode(name))
    return units <= _MAX_NAME and size <= _MAX_NAME
