"""Several files as one zip, made while it is sent: memory does not grow with their size."""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Iterable, Iterator
from datetime import datetime, tzinfo
from pathlib import Path

from core.files.regular_file import open_plain

_CHUNK = 256 * 1024
_TIMES = (0.316e9, 4.35e9)
"""Seconds since 1970 between which a zip can hold times, in every time zone: 1980 to 2107."""

_logger = logging.getLogger(__name__)


class _Outlet:
    """What ``zipfile`` writes to. It cannot seek, so sizes follow each file's content."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        return

    def close(self) -> None:
        return

    def take(self) -> bytes:
        content = b"".join(self._parts)
        self._parts.clear()
        return content


def zip_blocks(files: Iterable[Path], folder: str, timezone: tzinfo) -> Iterator[bytes]:
    """Yield a zip that holds ``files`` in one folder, their times in ``timezone``.

    Each is as long as it was when it was opened. One that cannot be opened, or is no regular
    file, is left out; one that fails while it is read ends the stream with its ``OSError``.
    """
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path in files:
            for _ in _add(bundle, path, folder, timezone):
                if block := outlet.take():
                    yield block
    yield outlet.take()


def is_empty_zip(block: bytes) -> bool:
    """Return whether the first block is that of a zip of which no file could be opened."""
    return block.startswith(b"PK\x05\x06")


def _add(bundle: zipfile.ZipFile, path: Path, folder: str, timezone: tzinfo) -> Iterator[None]:
    """Write one file in steps."""
    try:
        source = open_plain(path)
    except OSError as exc:
        _logger.warning("%s is left out of a zip: %s", path, exc)
        return
    with source:
        status = os.fstat(source.fileno())
        size = status.st_size
        moment = min(max(status.st_mtime, _TIMES[0]), _TIMES[1])
        changed = datetime.fromtimestamp(moment, timezone).timetuple()[:6]
        info = zipfile.ZipInfo(f"{folder}/{path.name}", changed)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o100644 << 16
        info.file_size = size  # decides whether the entry needs 64-bit sizes
        with bundle.open(info, "w") as target:
            while size > 0 and (block := source.read(min(_CHUNK, size))):
                size -= len(block)
                target.write(block)
                yield
