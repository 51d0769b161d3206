"""A file that is made in the background: what pages see of it, and what is known besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from core.export.queue import Asker
from core.export.writer import Form, Written
from core.model import Entry, SearchQuery


class ExportState(StrEnum):
    """Where a file stands."""

    WAITING = "waiting"
    WORKING = "working"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return self not in (ExportState.WAITING, ExportState.WORKING)


@dataclass(frozen=True, slots=True)
class Export:
    """One file, as it stands in this moment."""

    export_id: str
    """Nobody guesses it: whoever knows it may fetch the file."""
    form: Form
    name: str
    """Under which it is saved."""
    created_at: datetime
    """With time zone, as is ``finished_at``."""
    state: ExportState = ExportState.WAITING
    ahead: int = 0
    """How many come before it while it waits."""
    written: Written | None = None
    """None until the number of hits is known."""
    message: str = ""
    """Japanese: why it failed."""
    finished_at: datetime | None = None


@dataclass(slots=True, eq=False)
class Job:
    """A file of hits while it waits, is made, and is kept for its download."""

    export: Export
    what: SearchQuery | Sequence[Entry]
    path: Path
    asker: Asker
    number: int
    stopped: bool = False
    away_since: datetime | None = None
    left: bool = False
    """Whether it is stopped because nobody is there any more."""
    size: int = 0
    """Bytes on the disk."""
    is_large: bool = False
    """False also as long as nobody knows."""

    def is_older_than(self, age: timedelta, now: datetime) -> bool:
        """Return whether it ended that long ago."""
        ended = self.export.finished_at
        return ended is not None and ended <= now - age
