"""Modification times: what file systems count, what calendars hold. Exact, never a float.

The archive list keeps microseconds. File systems count nanoseconds, or tenths of microseconds
(NTFS), and hold years that no calendar of a database has.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from core.errors import Code, ItemError

TICK = timedelta(microseconds=1)
"""The finest difference that the archive list keeps."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def modified(nanoseconds: int) -> datetime:
    """Return a modification time since 1970 as UTC, what is below a microsecond cut off.

    Raises ``ItemError(TIME_NOT_STORABLE)`` for one outside the years 1 to 9999.
    """
    try:
        return _EPOCH + kept(nanoseconds) * TICK
    except OverflowError as exc:
        raise ItemError(Code.TIME_NOT_STORABLE) from exc


def kept(nanoseconds: int) -> int:
    """Return the whole microseconds of a file's modification time, which is what is kept of it."""
    return nanoseconds // 1000


def microseconds(moment: datetime) -> int:
    """Return what ``modified`` was given, in microseconds."""
    return (moment - _EPOCH) // TICK


def is_modified_at(nanoseconds: int, moment: datetime) -> bool:
    """Return whether a file of this modification time is one of the archive list's."""
    return kept(nanoseconds) == microseconds(moment)
