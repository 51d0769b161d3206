"""The archive list as a protocol, and who is told how far a run is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from core.model import Entry, Progress, SearchPage, SearchQuery

ProgressSink = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """The default progress sink: nobody watches."""


class Total(NamedTuple):
    """The files of one directory that were archived in one month."""

    directory: str
    month: date
    """Its first day, in the time zone that was asked for."""
    files: int
    size: int
    """Bytes of all of them."""
    newest: int
    """The largest of their serial keys."""


class Catalogue(Protocol):
    """The archive list. Every call is one short transaction and may be made from any thread.

    All of them raise ``FatalError(DATABASE_UNAVAILABLE)`` when the database does not answer
    and ``FatalError(DATABASE_SCHEMA)`` when ``init-db`` is owed.
    """

    def check(self) -> None:
        """Answer whether the database can be used, within about two seconds."""

    def hurry(self, within: float) -> None:
        """Let no call wait for the database longer than ``within`` seconds from now, those
        under way included: the process is ending. May be called from a signal handler."""

    def origin(self) -> str:
        """Return what is another text once another archive list has taken this one's place.

        Raises ``FatalError(DATABASE_REPLACED)`` when there is none at all any more.
        """

    def find(self, search_keys: Iterable[str]) -> Mapping[str, Sequence[Entry]]:
        """Return all rows with one of these ``検索キー`` as they were stored, grouped by it.

        Different files may share a search key: the caller compares the paths.
        """

    def add(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Store rows in one transaction and return those whose bucket and key were taken.

        A row that is already there with the same path, SHA-256 and size counts as stored:
        a second call with the same entries changes nothing and returns nothing. Rows that no
        database can hold (NUL, lone surrogates in a path) are returned as well.
        """

    def search(self, query: SearchQuery, *, page: int = 1, per_page: int = 100) -> SearchPage:
        """Return one page of hits; ``page`` counts from 1.

        ``total`` is greater than what ends with this page just when there are further hits.
        """

    def totals(self, timezone: ZoneInfo, *, after: int = 0) -> Iterator[Total]:
        """Yield the sums of rows with serial keys above ``after``, sorted by directory.

        For each directory, spelling by spelling, one for each month of the time zone in which
        something was archived. The transaction lasts until the last one is taken.
        """

    def count_until(self, serial: int) -> int:
        """Return the number of rows with serial keys up to this one.

        It grows when a transaction ends later than others that began after it.
        """

    def hits(self, query: SearchQuery) -> Hits:
        """Return every hit of one moment, each once, in the order that was asked for.

        What is stored afterwards changes nothing about them. The batches are one short
        transaction each, so that they may be taken as slowly as somebody likes, and left.
        They raise what all calls raise.
        """


@dataclass(frozen=True, slots=True)
class Hits:
    """All hits of a search."""

    total: int
    batches: Iterator[Sequence[Entry]]
    """Some thousands of them at a time; to be read once."""
