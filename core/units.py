"""Numbers in the units that people read, moments on their clocks."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo


def human_size(size: int) -> str:
    """Return bytes in the unit that people read: ``1.5 MB`` (1 MB = 1,048,576 bytes)."""
    amount = float(size)
    for unit in ("バイト", "KB", "MB", "GB", "TB"):
        if amount < 1024 or unit == "TB":
            return f"{amount:,.0f} {unit}" if unit == "バイト" else f"{amount:,.1f} {unit}"
        amount /= 1024
    raise AssertionError


def local(when: datetime, timezone: ZoneInfo) -> datetime:
    """Return a moment in a time zone; as it is when it would leave Python's calendar there, as
    a file's time may (year 9999, east of Greenwich)."""
    try:
        return when.astimezone(timezone)
    except OverflowError:
        return when
