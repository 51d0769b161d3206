"""The check of a restore list against the archive list, before anything is asked of S3.

A row that matches nothing is left out and said; the others go on (contract, "decisions").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import count

from core.csvfile import unmarked_cell
from core.errors import Code
from core.list_table import MAX_ROWS
from core.model import MARKER_SUFFIX, Entry, ListRow, ParsedList, Problem, Progress, SearchQuery
from core.names import identity, near_key, search_key
from core.ports import Catalogue, ProgressSink, silent
from core.restore_model import RestoreItem, RestorePlan
from core.workers import Cancelled

_MINUTE = 60
_PAGE = 10_000
"""Entries of a directory that are read at once."""
_MOST_SIBLINGS = 20_000
"""Of one directory that are looked through at once; in a larger one every row is asked for."""
_MOST_SEARCHES = 5
"""Rows for which near names are looked for everywhere: each is a search in the whole list."""
_NEAR_LOOKED_AT = 200
_NEAR_SHOWN = 3


class RestoreCheck:
    """One check of one restore list. ``run`` is called once."""

    def __init__(
        self,
        catalogue: Catalogue,
        bucket: str,
        *,
        progress: ProgressSink = silent,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """``bucket``: where files can be brought back from; empty: from anywhere."""
        self._catalogue = catalogue
        self._bucket = bucket
        self._progress = progress
        self._cancelled = cancelled
        self._items: dict[str, RestoreItem] = {}
        self._problems: list[Problem] = []
        self._searches = 0

    def run(self, parsed: ParsedList) -> RestorePlan:
        """Return the plan, its files in the order of the list, each once.

        Raises ``FatalError`` when the database does not answer, ``Cancelled`` when somebody
        asked to stop.
        """
        self._problems = list(parsed.problems)
        known = self._known(parsed.rows)
        files = [_generation(row, known[_written(row)]) for row in parsed.rows]
        others = [row.path for row, file in zip(parsed.rows, files, strict=True) if file is None]
        below = _Below(self._catalogue, others)
        for number, (row, file) in enumerate(zip(parsed.rows, files, strict=True)):
            if self._cancelled():
                raise Cancelled
            if number % 200 == 0:
                self._progress(
                    Progress(len(parsed.rows), done_files=number, phase="一覧を照合しています")
                )
            if file is not None:
                self._take(row, [file])
            elif row.archived_at is None and (entries := below.newest(row.path)):
                self._take(row, entries)
            else:
                self._problem(row, Code.NOT_ARCHIVED, self._near(row, known[_written(row)], below))
        items = tuple(self._items.values())
        if len(items) > MAX_ROWS:
            detail = f"対象のファイルが{len(items):,}件あります。1回に{MAX_ROWS:,}件までです"
            self._problems.append(Problem(Code.LIST_TOO_LARGE, _names(parsed), detail=detail))
            items = ()
        return RestorePlan(items, tuple(self._problems), parsed.detected)

    def _known(self, rows: Iterable[ListRow]) -> dict[str, list[Entry]]:
        """Return, by the path that a row has as written, what may be meant by it as a file."""
        names = {
            _written(row): [name for path in _paths(row) for name in _names_of(path)]
            for row in rows
        }
        keys = {search_key(*name) for meant in names.values() for name in meant}
        found = self._catalogue.find(keys)
        return {
            path: [entry for key in _keys(meant) for entry in found.get(key, ())]
            for path, meant in names.items()
        }

    def _take(self, row: ListRow, entries: Iterable[Entry]) -> None:
        new = other = 0
        for entry in entries:
            if self._bucket and entry.bucket != self._bucket:
                other += 1
                self._problem(row, Code.OTHER_BUCKET, entry.bucket, entry.path)
            elif entry.key not in self._items:
                new += 1
                self._items[entry.key] = RestoreItem.of(entry)
        if not new and not other:
            self._problem(row, Code.DUPLICATE_ENTRY)

    def _problem(self, row: ListRow, code: Code, detail: str = "", path: str = "") -> None:
        self._problems.append(Problem(code, path or row.text, row.source, row.line, detail))

    def _near(self, row: ListRow, known: Sequence[Entry], below: _Below) -> str:
        """Return in Japanese what may have been meant; empty when nothing is like it."""
        mine = [e for path in _paths(row) for e in known if _is_file_of(path, e)]
        if mine and row.archived_at:
            # The file is right and its time is not.
            zone = row.archived_at.tzinfo
            times = [f"{e.archived_at.astimezone(zone):%Y/%m/%d %H:%M:%S}" for e in mine]
            return f"アーカイブ日時は {'、'.join(times[-_NEAR_SHOWN:])}"
        paths = dict.fromkeys(entry.path for entry in known)
        if not paths:
            paths = self._elsewhere(row.path, below)
        return f"もしかして: {'、'.join(list(paths)[:_NEAR_SHOWN])}" if paths else ""

    def _elsewhere(self, path: str, below: _Below) -> dict[str, None]:
        """Return archived files of nearly this name: beside it, else anywhere."""
        wanted = near_key(path.rpartition("\\")[2].removesuffix(MARKER_SUFFIX))

        near = below.beside(path).get(wanted, ())
        if not near and self._searches < _MOST_SEARCHES:
            self._searches += 1
            query = SearchQuery(words=wanted)
            found = self._catalogue.search(query, per_page=_NEAR_LOOKED_AT).entries
            near = [entry.path for entry in found if near_key(entry.name) == wanted]
        return dict.fromkeys(near)


def _names(parsed: ParsedList) -> str:
    return "、".join(source.source for source in parsed.detected)


def _written(row: ListRow) -> str:
    return row.exact or row.path


def _paths(row: ListRow) -> list[str]:
    """Return the paths that a row may mean, the most exact first: with the spaces of its names
    as written, without them, and without the apostrophe that our CSV puts before a formula."""
    directory, _, name = row.path.rpartition("\\")
    paths = (_written(row), row.path, f"{directory}\\{unmarked_cell(name)}")
    return list(dict.fromkeys(paths))


def _names_of(path: str) -> list[tuple[str, str]]:
    """Return directory and original name for both readings of a name: as it is, or a marker's."""
    directory, _, name = path.rpartition("\\")
    original = name.removesuffix(MARKER_SUFFIX)
    return [(directory, name)] if original == name else [(directory, name), (directory, original)]


def _keys(names: Iterable[tuple[str, str]]) -> Iterable[str]:
    return dict.fromkeys(search_key(*name) for name in names)


def _is_file_of(path: str, entry: Entry) -> bool:
    return identity(entry.path) in (identity(path), identity(path.removesuffix(MARKER_SUFFIX)))


def _generation(row: ListRow, known: Iterable[Entry]) -> Entry | None:
    """Return the generation of a file that a row means; None when there is none."""
    of_paths = ([e for e in known if _is_file_of(path, e)] for path in _paths(row))
    found = (_of_time(row.archived_at, mine) for mine in of_paths)
    return next(filter(None, found), None)


def _of_time(when: datetime | None, mine: Sequence[Entry]) -> Entry | None:
    """Return the newest of some generations, or the newest that was archived at a moment."""
    if when is not None:
        # Excel drops fractions of a second, and the seconds when it saves a list again.
        width = _MINUTE if when.second == 0 else 1
        exact = [e for e in mine if e.archived_at == when]
        near = (e for e in mine if 0 <= (e.archived_at - when).total_seconds() < width)
        mine = exact or list(near)
    return max(mine, key=_age, default=None)


def _age(entry: Entry) -> int:
    """Return what is larger for what was stored later; a clock may have been ahead."""
    return entry.id


class _Below:
    """What was archived below directories.

    Each question reads the whole table, so rows side by side share the one about the
    directory they are in, and nothing is asked twice.
    """

    def __init__(self, catalogue: Catalogue, paths: Iterable[str]) -> None:
        """``paths``: all that will be asked for."""
        self._catalogue = catalogue
        self._siblings = Counter(_parent(path) for path in set(paths))
        self._shared: dict[str, Mapping[str, Sequence[Entry]] | None] = {}
        self._beside: dict[str, Mapping[str, Sequence[str]]] = {}

    def newest(self, path: str) -> list[Entry]:
        """Return the newest generation of each file below a directory, in order of their paths."""
        shared = self._below_parent(_parent(path))
        entries = self._all(path) if shared is None else shared.get(identity(path), ())
        inside = identity(path) + "\\"
        newest: dict[str, Entry] = {}
        for entry in sorted(entries, key=_age):
            mine = identity(entry.path)
            if mine.startswith(inside):
                newest[mine] = entry
        return [newest[path] for path in sorted(newest)]

    def beside(self, path: str) -> Mapping[str, Sequence[str]]:
        """Return, by the near key of their names, paths that were archived from the directory
        of a path, or the newest of them."""
        parent = _parent(path)
        if parent not in self._beside:
            shared = self._below_parent(parent)
            if shared is not None:
                entries = [entry for below in shared.values() for entry in below]
            else:
                query = SearchQuery(directory=parent)
                page = self._catalogue.search(query, per_page=_NEAR_LOOKED_AT)
                entries = list(page.entries)
            near: dict[str, list[str]] = {}
            for entry in entries:
                near.setdefault(near_key(entry.name), []).append(entry.path)
            self._beside[parent] = near
        return self._beside[parent]

    def _below_parent(self, parent: str) -> Mapping[str, Sequence[Entry]] | None:
        """Return entries by the directory right below ``parent``, when several rows ask for it
        and it is not too large."""
        if self._siblings[parent] < 2:
            return None
        if parent not in self._shared:
            query = SearchQuery(directory=parent)
            page = self._catalogue.search(query, per_page=_MOST_SIBLINGS)
            grouped: dict[str, list[Entry]] = {}
            depth = identity(parent).count("\\") + 2
            for entry in page.entries:
                names = identity(entry.path).split("\\")
                grouped.setdefault("\\".join(names[:depth]), []).append(entry)
            self._shared[parent] = None if page.total > len(page.entries) else grouped
        return self._shared[parent]

    def _all(self, path: str) -> Iterator[Entry]:
        query = SearchQuery(directory=path)
        for number in count(1):
            page = self._catalogue.search(query, page=number, per_page=_PAGE)
            yield from page.entries
            if number * _PAGE >= page.total:
                return


def _parent(path: str) -> str:
    return path.rpartition("\\")[0]
