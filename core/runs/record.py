"""``run.json``: one run's record as JSON, and back from whatever a disk has made of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from core.model import Outcome, Result, RunRecord, RunRequest, RunState

MAX_BYTES = 16 * 1024 * 1024
"""No ``run.json`` of ours is larger; more than that is not read."""
_MAX_COUNT = 2**63
_TIMES = ("created_at", "started_at", "finished_at", "ready_by")


def counted(record: RunRecord, total: int, outcomes: Mapping[str, Outcome]) -> RunRecord:
    """Return ``record`` with the numbers of a run of ``total`` files that has ended.

    Files that were not begun count as failed: they stand in the error file list.
    """
    archived = [o for o in outcomes.values() if o.result is Result.ARCHIVED]
    unchanged = sum(o.result is Result.UNCHANGED for o in outcomes.values())
    return replace(
        record,
        archived_files=len(archived),
        archived_bytes=sum(o.size for o in archived),
        unchanged_files=unchanged,
        failed_files=total - len(archived) - unchanged,
    )


def dump_record(record: RunRecord, timezone: ZoneInfo) -> str:
    """Return a record as JSON, its times in ``timezone``; ``load_record`` reverses it."""
    data = asdict(record)
    for name in _TIMES:
        moment = data[name]
        data[name] = moment.astimezone(timezone).isoformat() if moment else None
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def load_record(content: bytes) -> RunRecord:
    """Return the record in ``content``, in which every field has its type.

    Fields of another version are ignored. Raises ``ValueError`` for anything else: what is
    returned can be compared, sorted and shown without further doubt.
    """
    try:
        data: dict[str, Any] = json.loads(content.decode())
        return RunRecord(
            **{f.name: _READERS[str(f.type)](data[f.name]) for f in _FIELDS if f.name in data}
        )
    except (TypeError, KeyError, AttributeError, OverflowError, RecursionError) as exc:
        raise ValueError(f"not a record: {type(exc).__name__}") from exc


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    # No page and no terminal can show half a surrogate pair.
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_COUNT:
        raise TypeError(value)
    return value


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None or not 1 < moment.year < 9999:
        raise ValueError(value)  # the first and the last year do not fit into every time zone
    return moment


def _request(value: Any) -> RunRequest:
    names = [f.name for f in fields(RunRequest) if f.name in value]
    return RunRequest(**{name: _text(value[name]) for name in names})


_FIELDS = fields(RunRecord)
_READERS: dict[str, Callable[[Any], Any]] = {
    "str": _text,
    "int": _count,
    "datetime": _moment,
    "datetime | None": lambda value: None if value is None else _moment(value),
    "RunState": RunState,
    "RunRequest": _request,
    "tuple[str, ...]": lambda value: tuple(_text(item) for item in value),
    "dict[str, str]": lambda value: {_text(k): _text(v) for k, v in value.items()},
}
"""By the type of the field, as it is written in ``RunRecord``."""
