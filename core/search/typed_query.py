"""A search as people type it, days and sizes as texts → ``SearchQuery``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TypeVar
from zoneinfo import ZoneInfo

from core.errors import ListError
from core.model import Order, SearchQuery

_DAY = re.compile(r"(\d{4})(?:([-/.])(\d{1,2})\2(\d{1,2})|年(\d{1,2})月(\d{1,2})日|(\d{2})(\d{2}))")
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)\s*([KMGT]?)(?:I?B|バイト)?")
DAYS = date(1970, 1, 1), date(2999, 12, 31)
"""The first and the last day that may be asked for: far from where a time zone leads out of
the calendar."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TypedQuery:
    """What somebody asks of the archive list, letter by letter. Empty fields do not restrict."""

    words: str = ""
    directory: str = ""
    directory_only: bool = False
    request_id: str = ""
    requester: str = ""
    first: str = ""
    """First day, ``2026-10-05`` or ``2026/10/5``."""
    last: str = ""
    """Last day, inclusive."""
    last_month: bool = False
    """The calendar month before the current one, instead of ``first`` and ``last``."""
    file_types: str = ""
    least_size: str = ""
    """``500`` (bytes) or ``10MB``, as is ``most_size``; both are included."""
    most_size: str = ""
    order: Order = Order.DATE
    descending: bool = True

    def query(self, timezone: ZoneInfo, today: date) -> SearchQuery:
        """Return what is asked of the database; ``today`` is the date in ``timezone``.

        Raises ``ListError`` that says everything which makes no sense, one line each.
        """
        problems: list[str] = []

        def read(reader: Callable[[str], T | None], text: str) -> T | None:
            try:
                return reader(text)
            except ListError as exc:
                problems.append(str(exc))
                return None

        if self.last_month:
            first, last = map(date.isoformat, last_month(today))
        else:
            first, last = self.first, self.last
        since = read(lambda text: day(text, timezone, 0), first)
        until = read(lambda text: day(text, timezone, 1), last)
        least, most = read(size_in_bytes, self.least_size), read(size_in_bytes, self.most_size)
        if since and until and since >= until:
            problems.append(
                f"期間の最初の日（{first}）が、最後の日（{last}）より後になっています。"
            )
        if least is not None and most is not None and least > most:
            problems.append(
                f"サイズの下限（{self.least_size}）が、上限（{self.most_size}）"
                "より大きくなっています。"
            )
        if problems:
            raise ListError("\n".join(problems))
        return SearchQuery(
            words=self.words,
            directory=self.directory,
            request_id=self.request_id,
            requester=self.requester,
            since=since,
            until=until,
            directory_only=self.directory_only,
            file_types=self.file_types,
            least_size=least,
            most_size=most,
            order=self.order,
            descending=self.descending,
        )


def last_month(today: date) -> tuple[date, date]:
    """Return the first and the last day of the calendar month before the one of ``today``."""
    last = today.replace(day=1) - timedelta(days=1)
    return last.replace(day=1), last


def read_day(text: str) -> date | None:
    """Return a day as people write it; None: nothing given. Full-width digits will do.

    Raises ``ListError`` when it is none, or outside of 1970 to 2999.
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    if not plain:
        return None
    found = _DAY.fullmatch(plain)
    try:
        numbers = [int(n) for n in found.groups() if n and n.isdecimal()] if found else []
        read = date(*numbers)
        if DAYS[0] <= read <= DAYS[1]:
            return read
    except (TypeError, ValueError):
        pass
    raise ListError(f"日付は 2026-10-05 の形で指定してください（現在: {text}）。")


def day(text: str, timezone: ZoneInfo, days_later: int) -> datetime | None:
    """Return the beginning of a day, or of the one after it so that the last is included.

    None and ``ListError`` as with ``read_day``.
    """
    read = read_day(text)
    if read is None:
        return None
    return datetime.combine(read + timedelta(days=days_later), time(), timezone)


def size_in_bytes(text: str) -> int | None:
    """Return a size as people write it, ``500``, ``1.5 MB`` or ``１０ＭＢ``; None: nothing given.

    1 MB is 1,048,576 bytes. Raises ``ListError`` when it is no size.
    """
    plain = unicodedata.normalize("NFKC", text).upper().replace(",", "").strip()
    if not plain:
        return None
    found = _SIZE.fullmatch(plain)
    if found is None:
        raise ListError(f"サイズは 500 か 10MB の形で指定してください（現在: {text}）。")
    return int(Decimal(found[1]) * 1024 ** "_KMGT".index(found[2] or "_"))
