"""Giving a finished file its name without ever replacing anything (``docs/contract.md``,
"Invariants", 5).

Which call does that is decided by the file system, not by the system. ``renameat2`` with
``RENAME_NOREPLACE`` is exclusive where this kernel alone changes the directory. Over a network
it is not: the kernel's CIFS client looks whether the name is free and then sends a rename that
replaces (87 of 300 aimed races replaced another client's file: ``docs/facts.md``, "CIFS"). A
second name, ``link``, is made by the server, which refuses one that is taken, like the exclusive
creation of a file.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from core.files.mounts import Mount

LOCAL = frozenset(
    ("bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "msdos", "nilfs2")
    + ("ntfs3", "overlay", "ramfs", "reiserfs", "tmpfs", "udf", "vfat", "xfs", "zfs")
)
"""File systems whose directories nobody but this kernel changes."""
NO_SECOND_NAME = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""How ``link`` fails where a file can have one name only."""
_NOT_HERE = (errno.ENOSYS, errno.EINVAL)
_AT_FDCWD, _NOREPLACE = -100, 1


def c_function(name: str) -> Callable[..., int] | None:
    """Return a function of Linux that Python does not offer; None where there is none."""
    if sys.platform != "linux":
        return None
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError):
        return None
    return function


_RENAMEAT2 = c_function("renameat2")


def renames_exclusively(mount: Mount | None) -> bool:
    """Return whether a rename that is told not to replace does not, on this file system."""
    return mount is not None and mount.kind in LOCAL


def give_name(old: str, new: str, at: int | None, *, exclusive_rename: bool) -> None:
    """Let the file ``old`` be called ``new``; raises ``FileExistsError`` when anything is.

    ``at``: descriptor of their directory; None: they are paths. Raises another ``OSError``
    when it cannot be done: with one of ``NO_SECOND_NAME`` not on this file system.
    A process that is killed here may leave both names; the content is under the new one then.
    """
    if os.name == "nt":
        os.rename(old, new)  # noqa: PTH104 - refuses a name that is taken
        return
    if exclusive_rename and _renamed(old, new, at):
        return
    try:
        os.link(old, new, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
    except OSError:
        # Over a network an answer may be lost, and the call that is sent again is refused.
        if not _is_one_file(old, new, at):
            raise
    # The file has its name. What cannot be removed is cleared away with other leftovers.
    with suppress(OSError):
        os.unlink(old, dir_fd=at)


def _renamed(old: str, new: str, at: int | None) -> bool:
    """Rename without replacing; False where this kernel or this file system cannot."""
    if _RENAMEAT2 is None:
        return False
    where = _AT_FDCWD if at is None else at
    if _RENAMEAT2(where, os.fsencode(old), where, os.fsencode(new), _NOREPLACE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_HERE:
        return False
    raise OSError(code, os.strerror(code), new)


def _is_one_file(one: str, other: str, at: int | None) -> bool:
    """Return whether two names are those of one file, as surely as a server tells."""
    try:
        first, second = (os.stat(name, dir_fd=at, follow_symlinks=False) for name in (one, other))
    except OSError:
        return False
    alike = (first.st_size, first.st_mtime_ns) == (second.st_size, second.st_mtime_ns)
    # Servers that do not number their files have the same number for all of them.
    return os.path.samestat(first, second) and first.st_ino != 0 and alike
