"""Opening a path of which no part may be a link, whatever somebody puts there meanwhile.

Who may write into a folder of a share may swap it for a link at any moment: looking first and
going by the path afterwards leads to where the link does. Here the kernel takes each part
without following it: all at once (``openat2``, Linux 5.6), elsewhere one by one, each through
the descriptor of the one before.

Windows has no such descriptors. There the directory is looked at before the call and, where
something was opened, after it: nothing is read unnoticed, but what is made may be made behind a
link that was laid in between.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from core.files.exclusive_rename import c_function

BY_DESCRIPTOR = {os.open, os.stat, os.unlink, os.mkdir, os.link} <= os.supports_dir_fd
DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
"""How a directory is opened to be read."""
_PATH = getattr(os, "O_PATH", 0)
PLACE = DIRECTORY | _PATH
"""How it is opened to reach what is in it: that needs no right to read it."""
_NO_LINK, _CLOSED_LATER = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_CLOEXEC", 0)
_OPENAT2, _AT_FDCWD, _NO_SYMLINKS = 437, -100, 0x04
_NOT_HERE = (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.EAGAIN)
"""Older kernels have no such call, and sandboxes that do not know it refuse it."""
_LONGEST = 4096
"""Bytes of a path (``PATH_MAX``); where a server follows links, folders lie in themselves."""
_SYSCALL = c_function("syscall")


class _How(ctypes.Structure):
    """``struct open_how`` of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_unlinked(path: str, flags: int, mode: int = 0) -> int:
    """Open an absolute path and return its descriptor; ``mode`` of a file that is created.

    Raises ``OSError``; with ``ELOOP`` when any part of it is a link, the last one included.
    """
    if not BY_DESCRIPTOR:
        return _open_watched(path, flags, mode)
    descriptor = _openat2(path, flags, mode)
    if descriptor is not None:
        return descriptor
    with place_of(path) as (at, name):
        return _open_part(name, flags, at, mode)


def stat_unlinked(path: str) -> os.stat_result:
    """Return what is known of an absolute path; raises as ``open_unlinked``, except that its
    last part may be a link, whose own status this is then."""
    if not BY_DESCRIPTOR:
        _require_plain(os.path.dirname(path))
        return os.lstat(_long(path))
    if _PATH and (descriptor := _openat2(path, _PATH | _NO_LINK, 0)) is not None:
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)
    with place_of(path) as (at, name):
        return os.stat(name, dir_fd=at, follow_symlinks=False)


def remove_unlinked(path: str) -> None:
    """Remove a file; raises ``OSError`` as ``stat_unlinked``."""
    if not BY_DESCRIPTOR:
        _require_plain(os.path.dirname(path))
        os.unlink(_long(path))
        return
    with place_of(path) as (at, name):
        os.unlink(name, dir_fd=at)


def make_directory(path: str) -> None:
    """Make a directory whose parent is there; raises as ``stat_unlinked``."""
    if not BY_DESCRIPTOR:
        _require_plain(os.path.dirname(path))
        os.mkdir(_long(path))
        return
    with place_of(path) as (at, name):
        os.mkdir(name, dir_fd=at)


@contextmanager
def scan_unlinked(path: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """Give the entries of a directory; raises ``OSError`` as ``open_unlinked``."""
    if not BY_DESCRIPTOR:
        _require_plain(path)
        with os.scandir(_long(path)) as entries:
            yield entries
        return
    descriptor = open_unlinked(path, DIRECTORY)
    try:
        with os.scandir(descriptor) as entries:
            yield entries
    finally:
        os.close(descriptor)


@contextmanager
def place_of(path: str) -> Iterator[tuple[int, str]]:
    """Open the directory that ``path`` lies in, and give its descriptor and the last name."""
    above, _, name = path.rstrip(os.sep).rpartition(os.sep)
    at = _openat2(above or os.sep, PLACE, 0)
    if at is None:
        at = _walk(above)
    try:
        yield at, name or "."
    finally:
        os.close(at)


def _walk(path: str) -> int:
    """Open a directory part by part."""
    if len(os.fsencode(path)) >= _LONGEST:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
    at = os.open(os.sep, PLACE)
    for part in filter(None, path.split(os.sep)):
        try:
            below = _open_part(part, PLACE, at)
        finally:
            os.close(at)
        at = below
    return at


def _open_part(name: str, flags: int, at: int, mode: int = 0) -> int:
    try:
        return os.open(name, flags | _NO_LINK, mode, dir_fd=at)
    except NotADirectoryError as exc:
        if stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from exc
        raise


def _openat2(path: str, flags: int, mode: int) -> int | None:
    """Open a path with ``openat2(RESOLVE_NO_SYMLINKS)``; None where this kernel lacks it.

    Raises ``OSError``, with ``ELOOP`` when any part is a link.
    """
    if _SYSCALL is None:
        return None
    how = _How(flags | _CLOSED_LATER, mode, _NO_SYMLINKS)
    name = ctypes.c_char_p(os.fsencode(path))
    while True:
        descriptor = _SYSCALL(
            ctypes.c_long(_OPENAT2),
            ctypes.c_long(_AT_FDCWD),
            name,
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if descriptor >= 0:
            return descriptor
        code = ctypes.get_errno()
        if code in _NOT_HERE:
            return None
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code), path)


def _open_watched(path: str, flags: int, mode: int) -> int:
    _require_plain(os.path.dirname(path))
    descriptor = os.open(_long(path), flags, mode)
    try:
        _require_plain(path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_plain(path: str) -> None:
    """Raise ``OSError(ELOOP)`` when a path leads elsewhere than it says."""
    if os.path.normcase(os.path.realpath(path)) != os.path.normcase(path):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _long(path: str) -> str:
    r"""Return ``path`` in the form Windows wants beyond 260 characters (``\\?\UNC\``)."""
    if os.name != "nt" or path.startswith("\\\\?\\"):
        return path
    if path.startswith("\\\\"):
        return "\\\\?\\UNC\\" + path[2:]
    return "\\\\?\\" + path
