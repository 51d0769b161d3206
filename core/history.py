"""Past runs, read from their folders."""

from __future__ import annotations

import re
from pathlib import Path

from core.model import RunRecord
from core.runfolder import CONTRACT_FILES, RunFolder
from core.settings import Settings

_RUN_ID = re.compile(r"\d{8}-\d{6}-[a-z]+-[0-9a-f]{4,16}")


def is_run_id(name: str) -> bool:
    """Return whether a name is one that run folders have."""
    return _RUN_ID.fullmatch(name) is not None


def records(settings: Settings, limit: int | None = None) -> list[RunRecord]:
    """Return the newest runs first; folders without a readable ``run.json`` are left out."""
    found: list[RunRecord] = []
    if not settings.runs_dir.is_dir():
        return found
    names = (path.name for path in settings.runs_dir.iterdir())
    for name in sorted((n for n in names if _RUN_ID.fullmatch(n)), reverse=True):
        if limit is not None and len(found) >= limit:
            break
        record = record_of(settings, name)
        if record is not None:
            found.append(record)
    return found


def record_of(settings: Settings, run_id: str) -> RunRecord | None:
    """Return one run; None when there is none of that name or its record is damaged."""
    if not _RUN_ID.fullmatch(run_id):
        return None
    return RunFolder(settings.runs_dir / run_id, settings.timezone).read_record()


def file_of(settings: Settings, run_id: str, name: str) -> Path | None:
    """Return a file of a run; None for anything but the contract's names."""
    if not _RUN_ID.fullmatch(run_id) or name not in CONTRACT_FILES:
        return None
    path = settings.runs_dir / run_id / name
    return path if path.is_file() else None
