"""The check of a restore list against the archive list, before anything is asked of S3.

A row that matches nothing is left out and said; the others go on (contract, "decisions").
"""

from __future__ import annotations

from core.errors import Code
from core.model import MARKER_SUFFIX, Entry, ListRow, ParsedList, Problem, SearchQuery
from core.names import identity, search_key
from core.ports import Catalogue

MINUTE = 60


def check_restore(parsed: ParsedList, catalogue: Catalogue) -> tuple[int, list[Problem]]:
    """Return how many rows name something archived, and every problem.

    Raises ``FatalError`` when the database does not answer.
    """
    names = {row.path: _names(row.path) for row in parsed.rows}
    keys = {search_key(*name) for pair in names.values() for name in pair}
    known = catalogue.find(keys)
    problems, matched = list(parsed.problems), 0
    for row in parsed.rows:
        entries = [e for name in names[row.path] for e in known.get(search_key(*name), ())]
        if _file_matches(row, entries) or _directory_matches(row, catalogue):
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


def _directory_matches(row: ListRow, catalogue: Catalogue) -> bool:
    query = SearchQuery(directory=row.path)
    return row.archived_at is None and catalogue.search(query, per_page=1).total > 0
