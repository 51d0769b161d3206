"""What only Himuro's own user may read, whatever the umask: all that lies in the data directory.

Not for shares and restore targets: what is put there is for other people.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import Code, FatalError, os_reason
from core.resources.shortage import insistently, patiently

_KEY_BYTES = 32
_OURS = re.compile(
    r"runs|exports|locks|[a-z]+\.(key|json|lock)|[a-z-]+\.log(\.[0-9]+)?"
    r"|catalogue\.db(-wal|-shm|-journal)?"
)
"""What Himuro makes in a data directory; other things there may be for other people."""

_logger = logging.getLogger(__name__)


def make_private_directory(path: Path) -> None:
    """Make a directory and what is missing above it, each with mode 0700.

    One that is there stays as it is. Raises ``OSError``.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        # Somebody else may be making it as well; a file of its name is found by the next call.
        with suppress(FileExistsError):
            directory.mkdir(0o700)
    if missing and not missing[0].is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(missing[0]))


def open_private(path: Path, mode: str, **options: Any) -> Any:
    """Open a file as ``open`` does; one that is made gets mode 0600. Raises ``OSError``."""
    return open(path, mode, opener=_opener, **options)  # noqa: PTH123, SIM115 - Path has no opener


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def tighten(directory: Path) -> None:
    """Take what an earlier version left open in a data directory away from other users.

    Run folders and the like are closed as a whole. What belongs to somebody else, and the
    directory itself, which may have been shared on purpose, are told in the log.
    """
    if os.name != "posix":
        return
    try:
        with patiently(os.scandir, directory) as entries:
            found = [e for e in entries if _OURS.fullmatch(e.name) and not e.is_symlink()]
    except FileNotFoundError:
        return
    except OSError as exc:
        _logger.warning("%s cannot be looked at: %s", directory, exc)
        return
    for entry in found:
        mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
        if mode & 0o077:
            try:
                Path(entry.path).chmod(mode & 0o700)
            except OSError as exc:
                _logger.warning("%s can be read by other users: %s", entry.path, exc)
    if stat.S_IMODE(directory.stat().st_mode) & 0o007:
        _logger.warning(
            "%s can be entered by other users of this machine (chmod 700 closes it)", directory
        )


def replace_private(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` with mode 0600; a crash leaves the old file or the new one.

    Raises ``FatalError`` when the directory cannot be written.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        make_private_directory(path.parent)
        try:
            _write_new(draft, content)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as exc:
        raise FatalError(Code.DATA_DIR_UNWRITABLE, f"{path}: {os_reason(exc)}") from exc


def secret_key(path: Path) -> bytes:
    """Return the key in ``path``, made at the first call ever; every later call gets the same.

    A file that is too short to be a key is replaced: whoever could have truncated it would
    know the key. Raises ``FatalError`` when it can be neither read nor written.
    """
    try:
        key = patiently(path.read_bytes)
    except FileNotFoundError:
        return _first_key(path)
    except OSError as exc:
        raise FatalError(Code.DATA_DIR_UNWRITABLE, f"{path}: {os_reason(exc)}") from exc
    if len(key) < _KEY_BYTES:
        _logger.warning("%s is damaged and is replaced: everybody has to sign in again", path)
        key = secrets.token_bytes(_KEY_BYTES)
        replace_private(path, key)
    elif readable_by_others(path):
        _logger.warning("%s can be read by other users of this machine (chmod 600)", path)
    return key


def _first_key(path: Path) -> bytes:
    """Make the key; when another process is faster, return its key."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        make_private_directory(path.parent)
        try:
            _write_new(draft, secrets.token_bytes(_KEY_BYTES))
            with suppress(FileExistsError):
                path.hardlink_to(draft)
        finally:
            draft.unlink(missing_ok=True)
        return patiently(path.read_bytes)
    except OSError as exc:
        raise FatalError(Code.DATA_DIR_UNWRITABLE, f"{path}: {os_reason(exc)}") from exc


def create_private(path: Path) -> BinaryIO:
    """Open a new file with mode 0600 for writing; raises ``OSError``, also when it is there."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    number = insistently(os.open, path, flags, 0o600)
    return os.fdopen(number, "wb")


def _write_new(path: Path, content: bytes) -> None:
    with create_private(path) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def readable_by_others(path: Path) -> bool:
    """Return whether users outside the file's group may read it; always False on Windows."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o007)
    except OSError:
        return False
