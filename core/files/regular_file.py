"""Files of a run folder, opened only when they are files.

A folder may hold whatever a hand or a broken disk left in it: a link that leads elsewhere, a
pipe that never answers, a directory.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from core.resources.shortage import patiently

# Windows has neither; there a link needs rights that nobody has by accident.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def open_plain(path: Path) -> BinaryIO:
    """Open a regular file for reading; the caller closes it.

    Raises ``OSError`` for anything else, links included, and never waits for a pipe;
    ``FatalError(MACHINE_SHORT)`` when this machine has no descriptor for it in time.
    """
    handle = patiently(os.open, path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def plain_status(path: Path) -> os.stat_result | None:
    """Return the status of a regular file; None for anything else, links included."""
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None
