"""Small files that only Himuro's own user may read: written whole, never half."""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from core.errors import Code, FatalError, os_reason
from core.shortage import insistently, patiently

_KEY_BYTES = 32

_logger = logging.getLogger(__name__)


def replace_private(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` with mode 0600; a crash leaves the old file or the new one.

    Raises ``FatalError`` when the directory cannot be written.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
        path.parent.mkdir(parents=True, exist_ok=True)
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
