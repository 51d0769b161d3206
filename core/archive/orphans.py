"""Objects that an interrupted run left of files which have changed since.

They cannot be adopted, and nothing is ever deleted: the run stores the file under its next key
and its log names them.
"""

from __future__ import annotations

import threading
from collections import deque
from datetime import UTC, datetime

from core.errors import Code, sentence
from core.model import ArchiveItem
from core.runs.folder import RunFolder

MOST = 1000
"""Waiting for the log at a time; of what is beyond, which a disk that takes nothing causes, only
the number is kept."""


class Unlisted:
    """Filled by the threads of a run, emptied by its collector."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[ArchiveItem, str]] = deque()
        self._more = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: ArchiveItem, key: str) -> None:
        """Remember an object by its key, with the file that it was stored for."""
        with self._lock:
            if len(self._waiting) < MOST:
                self._waiting.append((item, key))
            else:
                self._more += 1

    def note(self, folder: RunFolder) -> None:
        """Log what is known, each once; raises ``FatalError`` when the disk does not take it,
        and keeps it for the next time."""
        while self._waiting:
            item, key = self._waiting[0]
            _log(folder, item.path, key)
            self._waiting.popleft()
        with self._lock:
            more = self._more
        if more:
            _log(folder, folder.run_id, f"ここに書ききれなかったものが、ほかに{more:,}件")
            with self._lock:
                self._more -= more


def _log(folder: RunFolder, path: str, detail: str) -> None:
    code = Code.OBJECT_UNLISTED
    text = f"{sentence(code, detail)} 対処: {code.remedy}"
    folder.log(datetime.now(UTC), code.severity, path, text, code)
