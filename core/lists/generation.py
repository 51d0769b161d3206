"""The generation that a cell of a restore list names, and how exactly."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from core.errors import Code, ItemError
from core.lists.headings import shown
from core.lists.table import Cell, Unclear
from core.paths.normalization import printable

_FORM = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})[ T]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6})\d*)?)?"
    r" *(Z|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)
_SECOND, _MINUTE = timedelta(seconds=1), timedelta(minutes=1)
_OF_DIGITS = [timedelta(microseconds=10 ** (6 - digits)) for digits in range(7)]


class Named(NamedTuple):
    """The generation that a cell names."""

    at: datetime | None
    """With time zone; None: the newest."""
    precision: timedelta = _SECOND
    """How much of ``at`` may have been cut off, by Excel or by our own downloads."""


NO_DATE = Named(None)


def moment_of(cell: Cell, timezone: ZoneInfo) -> Named:
    """Return the generation that a cell names; raises ``ItemError(NAMED_DATE)``."""
    try:
        if isinstance(cell, datetime):
            # Excel counts days in floating point: 10:15:00 may come as 10:14:59.999.
            rounded = (cell + timedelta(milliseconds=500)).replace(microsecond=0)
            return Named(rounded.replace(tzinfo=timezone), _cut_off(rounded.second))
        if isinstance(cell, Unclear):
            raise ItemError(Code.NAMED_DATE, printable(cell.text)[:50])
        text = unicodedata.normalize("NFKC", cell[:200])
        return _read_date(text, timezone) if text else NO_DATE
    except (ValueError, OverflowError) as exc:
        raise ItemError(Code.NAMED_DATE, printable(shown(cell))[:50]) from exc


def _cut_off(second: int) -> timedelta:
    """Return how much may be missing of a moment that has no fraction of a second.

    Excel often drops the seconds as well when it saves a date into a CSV.
    """
    return _SECOND if second else _MINUTE


def _read_date(text: str, timezone: ZoneInfo) -> Named:
    """Return what a text names; ``ValueError`` when it is no date.

    Excel drops leading zeros when it saves a date into a CSV.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(text)
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    micro = int((fraction or "").ljust(6, "0"))
    naive = datetime(  # noqa: DTZ001 - the zone follows in the next lines
        int(year), int(month), int(day), int(hour), int(minute), int(second or 0), micro
    )
    if fraction:
        precision = _OF_DIGITS[len(fraction)]
    else:
        # With an offset it is a text to Excel, which leaves it alone.
        precision = _SECOND if offset else _cut_off(naive.second)
    if not offset:
        return Named(naive.replace(tzinfo=timezone), precision)
    zone = "+00:00" if offset == "Z" else offset
    return Named(datetime.fromisoformat(naive.isoformat() + zone), precision)
