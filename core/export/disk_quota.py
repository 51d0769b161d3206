"""How much of the disk files made in the background take, and whose goes when it is too much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

from core.export.job import ExportState, Job

KEPT = timedelta(minutes=30)
"""How long a file can be fetched."""
MAX_KNOWN = 200
"""Files and failures that are remembered; beyond, those of the address that has most."""
MAX_BYTES = 4 * 1024**3
"""Of all files together. 2.4 million rows are 0.9 GB as CSV and 0.2 GB as Excel."""
RESERVE = 1024**3
"""Bytes of the disk that are left to runs, whose records lie beside."""
UNTOUCHED = timedelta(minutes=2)
"""For so long a new file is not removed to make room: somebody is about to fetch it."""

FULL = (
    "サーバーの空き容量が足りないため、書き出せません。条件で絞り込むか、管理者に連絡してください。"
)
_TOO_LARGE = (
    "書き出すファイルが大きすぎます"
    f"（全員分を合わせて{MAX_BYTES // 1024**3} GiBまで）。条件で絞り込んでください。"
)
_TO_THE_MINUTE = timedelta(seconds=59, microseconds=999_999)


class Room:
    """Not safe by itself: whoever holds the jobs has the lock."""

    def __init__(self, place: Path, free_bytes: Callable[[Path], int], timezone: tzinfo) -> None:
        """``place``: an existing directory of the disk when it is first asked."""
        self._place = place
        self._free_bytes = free_bytes
        self._timezone = timezone

    def is_short(self, jobs: Collection[Job]) -> bool:
        return self._lacks(jobs, 0) > 0

    def why_short(self, job: Job, jobs: Collection[Job], now: datetime) -> str:
        """Return why a file is given up for which nothing can be removed now: when there will
        be room, to the minute, or that there never will."""
        written = job.export.written
        whole = job.size * written.total // written.rows if written and written.rows else job.size
        if whole > MAX_BYTES:
            return _TOO_LARGE
        lack = self._lacks(jobs, whole - job.size)
        ended = [(j.export.finished_at, j.size) for j in jobs if j.size and j.export.finished_at]
        for finished_at, size in sorted(ended):
            lack -= size
            if lack <= 0:
                return self._come_back(finished_at + UNTOUCHED)
        if any(other.size for other in jobs if other is not job and not other.export.finished_at):
            return self._come_back(now + KEPT)
        return FULL

    def _lacks(self, jobs: Collection[Job], more: int) -> int:
        """Return how many bytes there are too few, when so many ``more`` are written."""
        taken = sum(job.size for job in jobs) + more
        return max(taken - MAX_BYTES, RESERVE + more - self._free_bytes(self._place))

    def _come_back(self, moment: datetime) -> str:
        when = f"{(moment + _TO_THE_MINUTE).astimezone(self._timezone):%H:%M}"
        return (
            "いまはサーバーの空き容量が足りないため、書き出せません。"
            f"{when}を過ぎてから、もう一度押してください。"
            "条件で絞り込むと、いま書き出せることもあります。"
        )


def to_remove(jobs: Collection[Job], now: datetime) -> Job | None:
    """Return the file that goes first: the oldest of the address that has most of the disk;
    None when somebody may be about to fetch any of them."""
    old = [job for job in jobs if job.size and job.is_older_than(UNTOUCHED, now)]
    sizes: Counter[str] = Counter()
    for job in jobs:
        sizes[job.asker.address] += job.size
    return max(old, key=lambda job: (sizes[job.asker.address], -job.number), default=None)


def to_forget(jobs: Collection[Job]) -> Job:
    """Return what is forgotten first: of the address that has most, files last, because
    somebody may still fetch them. Some have to have ended."""
    ended = [job for job in jobs if job.export.state.is_final]
    number = Counter(job.asker.address for job in ended)

    def worth(job: Job) -> tuple[int, bool, int]:
        return -number[job.asker.address], job.export.state is ExportState.DONE, job.number

    return min(ended, key=worth)
