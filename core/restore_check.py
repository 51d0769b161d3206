"""The check of a restore list against the archive list, before anything is asked of S3.

A row that matches nothing is left out and said; the others go on (contract, "decisions").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from core.errors import Code
from core.model import MARKER_SUFFIX, Entry, ListRow, ParsedList, Problem, SearchQuery
from core.names import identity, search_key
from core.ports import Catalogue

MINUTE = 60
_MOST_ENTRIES = 20_000
"""Of one directory that are looked through at once; in a larger one every row is asked for."""


def check_restore(parsed: ParsedList, catalogue: Catalogue) -> tuple[int, list[Problem]]:
    """Return how many rows name something archived, and every problem.

    Raises ``FatalError`` when the database does not answer.
    """
    names = {row.path: _names(row.path) for row in parsed.rows}
    keys = {search_key(*name) for pair in names.values() for name in pair}
    known = catalogue.find(keys)

    def is_file(row: ListRow) -> bool:
        entries = [e for name in names[row.path] for e in known.get(search_key(*name), ())]
        return _file_matches(row, entries)

    files = [is_file(row) for row in parsed.rows]
    others = [row.path for row, found in zip(parsed.rows, files, strict=True) if not found]
    directories = _Directories(catalogue, others)
    problems, matched = list(parsed.problems), 0
    for row, found in zip(parsed.rows, files, strict=True):
        if found or (row.archived_at is None and row.path in directories):
            matched += 1
        else:
            problems.append(Problem(Code.NOT_ARCHIVED, row.text, row.source, row.line))
    return matched, problems


def _names(path: str) -> list[tuple[str, str]]:
    """Return directory and original name for both readings of a name: as it is, or a marker's."""
    directory, _, name = path.rpartition("\\")
    original = name.removesuffix(MARKER_SUFFIX)
    return [(directory, name)] if original == name else [(directory, name), (directory, original)]


def _file_matches(row: ListRow, entries: list[Entry]) -> bool:
    wanted = {identity(row.path), identity(row.path.removesuffix(MARKER_SUFFIX))}
    mine = [entry for entry in entries if identity(entry.path) in wanted]
    when = row.archived_at
    if when is None:
        return bool(mine)
    # Excel drops the seconds when it saves a list again.
    width = MINUTE if when.second == 0 else 1
    return any(0 <= (e.archived_at - when).total_seconds() < width for e in mine)


class _Directories:
    """The directories below which something was archived.

    Each question reads the whole table, so rows side by side share the one about the
    directory they are in, and nothing is asked twice.
    """

    def __init__(self, catalogue: Catalogue, paths: Iterable[str]) -> None:
        self._catalogue = catalogue
        self._siblings = Counter(_parent(path) for path in set(paths))
        self._inside: dict[str, frozenset[str] | None] = {}
        self._asked: dict[str, bool] = {}

    def __contains__(self, path: str) -> bool:
        parent = _parent(path)
        inside = self._below(parent) if self._siblings[parent] > 1 else None
        if inside is not None:
            return search_key(parent, path.rpartition("\\")[2]) in inside
        if path not in self._asked:
            query = SearchQuery(directory=path)
            self._asked[path] = self._catalogue.search(query, per_page=1).total > 0
        return self._asked[path]

    def _below(self, directory: str) -> frozenset[str] | None:
        """Return every directory below one, as search keys; None when they are too many."""
        if directory not in self._inside:
            query = SearchQuery(directory=directory)
            page = self._catalogue.search(query, per_page=_MOST_ENTRIES)
            self._inside[directory] = (
                None
                if page.total > len(page.entries)
                else frozenset(d for entry in page.entries for d in _ancestors(entry.search_key))
            )
        return self._inside[directory]


def _parent(path: str) -> str:
    return path.rpartition("\\")[0]


def _ancestors(key: str) -> Iterable[str]:
    """Yield the directories above a search key, the nearest first."""
    while (key := _parent(key)).strip("\\"):
        yield key
