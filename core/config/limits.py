"""How much of the console one visitor, and all of them together, may take.

The numbers hold for whoever is at the other end, signed in or not, and each can be set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace

KEPT_SESSIONS = 128
"""Pages whose browser has gone and that Streamlit keeps for a while, in case it comes back."""
PAGE_DESCRIPTORS = 4
"""Files that an open page takes: its connection, and three of the event loop that Streamlit
makes for it. A page that is kept holds the last three."""
JOB_DESCRIPTORS = 256
"""Files left for runs, the database, logs and downloads: 16 threads with a file and a
connection each, two pools of S3 connections, 20 of the database, and as much again."""
BACKLOG = 64
"""Connections that wait to be taken, or that are taken only to be refused, at one time."""
FEWEST = 16
"""Pages, however few files the machine allows: a console without any cannot tell anything."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Each number as ``HIMURO_…`` sets it."""

    connections: int = 2000
    """Open at one time, from everywhere: requests, pages, and what is silent between them."""
    connections_per_address: int = 1000
    """Open at one time from one address. A whole office may stand behind one."""
    pages: int = 400
    """Open at one time; each is a connection too, with a session of about 1 MB behind it."""
    pages_per_address: int = 250
    """Open at one time from one address."""
    messages_per_second: int = 10
    """That one page may send in the long run; ten times as many at once."""
    messages_per_second_per_address: int = 40
    """That all pages of an address may send in the long run; ten times as many at once. What
    is more waits for its turn, and is refused when that would take too long."""

    def fitting(self, descriptors: int | None) -> Limits:
        """Return these limits, with no more connections and pages than files can be open.

        ``descriptors`` is how many files this process may have open; None when nothing says so.
        """
        if descriptors is None:
            return self
        more = PAGE_DESCRIPTORS - 1
        left = descriptors - JOB_DESCRIPTORS - BACKLOG - KEPT_SESSIONS * more
        pages = min(self.pages, max(FEWEST, left // (2 * more)))
        connections = min(self.connections, max(2 * FEWEST, left - more * pages))
        return replace(
            self,
            connections=connections,
            connections_per_address=min(self.connections_per_address, connections),
            pages=pages,
            pages_per_address=min(self.pages_per_address, pages),
        )

    def shown(self) -> dict[str, str]:
        """Return the settings' names with what they are."""
        return {name: str(value) for name, value in zip(NAMES, astuple(self), strict=True)}


_DEFAULT = Limits()
NAMES = {
    "HIMURO_CONNECTIONS": _DEFAULT.connections,
    "HIMURO_CONNECTIONS_PER_ADDRESS": _DEFAULT.connections_per_address,
    "HIMURO_PAGES": _DEFAULT.pages,
    "HIMURO_PAGES_PER_ADDRESS": _DEFAULT.pages_per_address,
    "HIMURO_MESSAGES_PER_SECOND": _DEFAULT.messages_per_second,
    "HIMURO_MESSAGES_PER_SECOND_PER_ADDRESS": _DEFAULT.messages_per_second_per_address,
}
"""Settings, in the order of the fields, with what stands for each that is not set."""


def read_limits(environ: Mapping[str, str], problems: list[str]) -> Limits:
    """Return the limits as they are set; what is no number is a further problem."""
    return Limits(*(_number(environ, name, default, problems) for name, default in NAMES.items()))


def _number(environ: Mapping[str, str], name: str, default: int, problems: list[str]) -> int:
    text = environ.get(name, "").strip() or str(default)
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 100_000:
        return int(text)
    problems.append(f"{name} は1から100000の整数にしてください（現在: {text}）")
    return default
