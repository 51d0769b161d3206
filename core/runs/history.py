"""Past runs, read from their folders, whatever has become of them."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from core.config.settings import Settings
from core.errors import Code, FatalError, os_reason
from core.files.regular_file import plain_status
from core.model import ListSource, RunRecord
from core.paths.normalization import fold
from core.resources.shortage import patiently
from core.runs.folder import CONTRACT_FILES, RunFolder

DAMAGED = "damaged"
"""What ``PastRun.state`` says of a folder whose record cannot be read."""

_RUN_ID = re.compile(r"(?P<time>\d{8}-\d{6})-(?P<kind>[a-z]+(?:-[a-z]+)*)-[0-9a-f]{4,16}", re.ASCII)
_INPUT = re.compile(r"input(?:-(?P<number>[1-9][0-9]{0,4}))?\.[^\W_]{1,10}")
"""What ``RunFolder.create`` calls the uploaded lists."""
_BIRTH_SECONDS = 60
"""A folder this young that has a lock and no record yet is being made."""


@dataclass(frozen=True, slots=True)
class PastRun:
    """One run folder: its record, or why there is none to be had."""

    run_id: str
    """The folder's name."""
    kind: str
    created_at: datetime | None
    """With time zone; of a damaged one as its name says. None: not even that is a time."""
    record: RunRecord | None
    """Without its settings, which nobody looks for among thousands. None when damaged."""
    damage: str = ""
    """Japanese: what is wrong with the folder; empty when nothing is."""
    people: str = ""
    """Requester and who started it, in the form in which people search (``fold``)."""
    haystack: str = ""
    """Whatever a free text may be found in, folded as well."""

    @property
    def state(self) -> str:
        """The state's word in ``run.json``, or ``damaged``."""
        return self.record.state.value if self.record else DAMAGED


def past_runs(settings: Settings) -> Iterator[PastRun]:
    """Yield every run, newest first, each read when it is asked for.

    Raises ``FatalError`` when the folder of the runs cannot be listed; what is in them
    raises nothing.
    """
    for name in sorted(run_names(settings.runs_dir)[0], reverse=True):
        run = read_run(settings, name)
        if run is not None:
            yield run


def is_run_id(name: str) -> bool:
    """Return whether a name is one that run folders have."""
    return _RUN_ID.fullmatch(name) is not None


def newest(settings: Settings, limit: int, wanted: Callable[[str], bool]) -> list[RunRecord]:
    """Return the newest runs of the kinds that are ``wanted``; damaged ones are left out.

    The kind stands in a folder's name: of thousands of runs only those few are read. Raises
    ``FatalError`` as ``past_runs`` does.
    """
    found: list[RunRecord] = []
    for name in sorted(run_names(settings.runs_dir)[0], reverse=True):
        match = _RUN_ID.fullmatch(name)
        if len(found) >= limit:
            break
        if match and wanted(match["kind"]) and (record := record_of(settings, name)):
            found.append(record)
    return found


def records(settings: Settings, limit: int | None = None) -> list[RunRecord]:
    """Return the newest runs first, at most ``limit``; damaged ones are left out.

    Raises ``FatalError`` as ``past_runs`` does.
    """
    found: list[RunRecord] = []
    for name in sorted(run_names(settings.runs_dir)[0], reverse=True):
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
    found = _record_or_damage(settings, run_id)
    return found if isinstance(found, RunRecord) else None


def run_of(settings: Settings, run_id: str) -> PastRun | None:
    """Return one run, damaged or not; None when there is nothing of that name."""
    if not _RUN_ID.fullmatch(run_id):
        return None
    try:
        (settings.runs_dir / run_id).lstat()
    except OSError:
        return None
    return read_run(settings, run_id)


def file_of(settings: Settings, run_id: str, name: str) -> Path | None:
    """Return a file of a run; None for names that no run folder has, and for links."""
    if not _RUN_ID.fullmatch(run_id) or not _is_ours(name):
        return None
    folder = settings.runs_dir / run_id
    path = folder / name
    return path if _is_folder(folder) and plain_status(path) else None


def files_of(settings: Settings, run_id: str) -> list[tuple[Path, int]]:
    """Return the files of a run with their sizes in bytes, in the order of ``CONTRACT_FILES``, the
    uploaded lists first. Empty when the folder cannot be read; links are left out."""
    folder = settings.runs_dir / run_id
    if not _RUN_ID.fullmatch(run_id) or not _is_folder(folder):
        return []
    try:
        names = patiently(os.listdir, folder)
        matches = [m for name in names if (m := _INPUT.fullmatch(name))]
    except OSError:
        matches = []
    matches.sort(key=lambda match: int(match["number"] or 1))
    ours = (*(match[0] for match in matches), *CONTRACT_FILES)
    statuses = ((folder / name, plain_status(folder / name)) for name in ours)
    return [(path, status.st_size) for path, status in statuses if status]


def inputs_of(settings: Settings, run_id: str) -> list[ListSource]:
    """Return the uploaded lists of a run with their names; empty when they are not all there."""
    record = record_of(settings, run_id)
    paths = [path for path, _ in files_of(settings, run_id) if _INPUT.fullmatch(path.name)]
    if record is None or len(paths) != len(record.inputs):
        return []
    try:
        contents = [patiently(path.read_bytes) for path in paths]
    except OSError:
        return []
    return [ListSource(name, text) for name, text in zip(record.inputs, contents, strict=True)]


def run_names(runs_dir: Path) -> tuple[list[str], list[str]]:
    """Return the names of run folders and of whatever else lies beside them, in no order.

    Raises ``FatalError`` when they cannot be listed. No folder at all: there was no run yet.
    """
    runs: list[str] = []
    others: list[str] = []
    try:
        for name in patiently(os.listdir, runs_dir):
            (runs if _RUN_ID.fullmatch(name) else others).append(name)
    except FileNotFoundError:
        return [], []
    except OSError as exc:
        detail = f"{runs_dir}: {os_reason(exc)}"
        raise FatalError(Code.DATA_DIR_UNREADABLE, detail) from exc
    return runs, [name for name in others if not name.startswith(".")]


def read_run(settings: Settings, name: str) -> PastRun | None:
    """Read the run of a folder's name. None while the folder is being made.

    Raises nothing but ``FatalError(MACHINE_SHORT)``: what cannot be read now is not damaged.
    """
    match = _RUN_ID.fullmatch(name)
    if match is None:
        return None
    found = _record_or_damage(settings, name)
    if isinstance(found, RunRecord):
        request = found.request
        texts = (name, request.request_id, request.requester, request.comment, *found.inputs)
        return PastRun(
            name,
            found.kind,
            found.created_at,
            replace(found, settings={}),
            people=fold(f"{request.requester}\n{request.started_by}"),
            haystack=fold("\n".join(texts)),
        )
    if _being_made(settings.runs_dir / name):
        return None
    try:
        moment = datetime.strptime(match["time"], "%Y%m%d-%H%M%S")  # noqa: DTZ007 - next line
        created = moment.replace(tzinfo=settings.timezone) if 1 < moment.year < 9999 else None
    except ValueError:
        created = None
    return PastRun(name, match["kind"], created, None, damage=found, haystack=fold(name))


def _record_or_damage(settings: Settings, name: str) -> RunRecord | str:
    folder = settings.runs_dir / name
    try:
        mode = folder.lstat().st_mode
    except OSError as exc:
        return f"フォルダーを読み取れません（{os_reason(exc)}）"
    if stat.S_ISLNK(mode):
        return "ほかの場所へのリンクです"
    if not stat.S_ISDIR(mode):
        return "フォルダーではありません"
    return RunFolder(folder, settings.timezone).record_or_damage()


def _is_ours(name: str) -> bool:
    return name in CONTRACT_FILES or _INPUT.fullmatch(name) is not None


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _being_made(folder: Path) -> bool:
    """Return whether a run is just beginning: it takes its lock before it writes its record."""
    if plain_status(folder / "run.json") or not plain_status(folder / "lock"):
        return False
    try:
        return abs(time.time() - folder.stat().st_mtime) < _BIRTH_SECONDS
    except OSError:
        return False
