"""Numbers in the units that people read, moments on their clocks."""

from __future__ import annotations

from datetime import datetime, tzinfo

_UNITS = ("KB", "MB", "GB", "TB")


def human_size(size: int) -> str:
    """Return bytes in the unit that people read: ``1.5 MB`` (1 MB = 1,048,576 bytes).

    Rounded to tenths, halves up, and only then is the unit chosen: ``1.0 MB``, never
    ``1,024.0 KB``. Whole numbers throughout, because a float cannot hold every size.
    """
    if size < 1024:
        return f"{size:,} バイト"
    for power, unit in enumerate(_UNITS, start=1):
        tenths = (size * 10 * 2 // 1024**power + 1) // 2
        if tenths < 1024 * 10 or unit == _UNITS[-1]:
            return f"{tenths // 10:,}.{tenths % 10} {unit}"
    raise AssertionError


def local(when: datetime, timezone: tzinfo | None) -> datetime:
    """Return a moment in a time zone; as it is when it would leave Python's calendar there, as
    a file's time may (year 9999, east of Greenwich)."""
    try:
        return when.astimezone(timezone)
    except OverflowError:
        return when
