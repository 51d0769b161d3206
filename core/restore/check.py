"""The check of a restore list against the archive list, before anything is asked of S3.

A row that matches nothing is left out and said; the others go on (``docs/contract.md``,
"Decisions").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from itertools import count

from core.concurrency.parallel import Cancelled
from core.draining import drained
from core.errors import Code
from core.lists.table import MAX_ROWS
from core.model import MARKER_SUFFIX, Entry, ListRow, ParsedList, Problem, Progress, SearchQuery
from core.paths.normalization import identity, near_key, search_key
from core.paths.unc import forbidden
from core.ports import Catalogue, ProgressSink, silent
from core.restore.match import (
    Ambiguous,
    Folder,
    candidates,
    file_of,
    folder_of,
    is_exact,
    is_exact_folder,
    named,
    original_of,
    readings,
    spelled,
)
from core.restore.model import RestoreItem, RestorePlan
from core.units import local

_SECOND = timedelta(seconds=1)
_PAGE = 10_000
"""Entries of a directory that are read at once."""
_MAX_SIBLINGS = 20_000
"""Of one directory that are looked through at once; in a larger one every row is asked for."""
_MAX_DIRECTORIES = 3
"""Whose rows are kept for those that follow: 60,000 at most, 60 MB. People sort their lists."""
_TOGETHER = 2_000
"""Rows that the archive list is asked about in one question."""
_MAX_SEARCHES = 5
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
        self._items: dict[RestoreItem, None] = {}
        """In the order in which rows named them first."""
        self._folders: set[str] = set()
        """Folders that are taken, as they are spelled."""
        self._others: list[tuple[ListRow, Sequence[tuple[str, int]]]] = []
        self._problems: list[Problem] = []
        self._searches = 0
        self._lossy: set[str] = set()
        """Lists in an encoding that has not all letters."""

    def run(self, parsed: ParsedList) -> RestorePlan:
        """Return the plan, its files in the order of the list, each once.

        Raises ``FatalError`` when the database does not answer, ``Cancelled`` when somebody
        asked to stop.
        """
        self._problems = list(parsed.problems)
        self._lossy = {one.source for one in parsed.detected if one.encoding == "CP932"}
        rows = list(parsed.rows)
        detected, names = parsed.detected, _names(parsed)
        # Rows are let go of as the plan grows, and what the archive list holds of them is in memory
        # for some at a time: a list has up to 200,000.
        del parsed
        below = _Below(self._catalogue, (row.path for row in rows))
        total = len(rows)
        for some in drained(rows, _TOGETHER):
            done = total - len(rows) - len(some)
            self._progress(Progress(total, done_files=done, phase="一覧を照合しています"))
            for row, known in zip(some, self._known(some), strict=True):
                if self._cancelled():
                    raise Cancelled
                self._judge(row, known, below)
        self._mention_others()
        items = tuple(self._items)
        if len(items) > MAX_ROWS:
            detail = f"対象のファイルが{len(items):,}件あります。1回に{MAX_ROWS:,}件までです"
            self._problems.append(Problem(Code.LIST_TOO_LARGE, names, detail=detail))
            items = ()
        return RestorePlan(items, tuple(self._problems), detected)

    def _judge(self, row: ListRow, known: Sequence[Entry], below: _Below) -> None:
        """Take what a row names, or say why it is left out; ``known``: what may be meant by it
        as a file."""
        if self._has_lost_letters(row):
            self._problem(row, Code.PATH_SYNTAX, forbidden(row.path))
            return
        file = file_of(row, known)
        # A folder of that very name comes before a file that Windows would take for it.
        unsure = row.archived_at is None and (file is None or not is_exact(row, known))
        folder = folder_of(row, below.under) if unsure else None
        if folder and (file is None or is_exact_folder(row, folder)):
            self._take_folder(row, folder)
        elif isinstance(file, Entry):
            self._take(row, [file])
        elif file:
            self._problem(row, Code.RESTORE_AMBIGUOUS, str(file))
        else:
            self._left_out(row, known, below)

    def _known(self, rows: Sequence[ListRow]) -> list[list[Entry]]:
        """Return, row by row, what may be meant by it as a file."""
        keys = [list(dict.fromkeys(_keys(row))) for row in rows]
        found = self._catalogue.find({key for mine in keys for key in mine})
        return [[entry for key in mine for entry in found.get(key, ())] for mine in keys]

    def _has_lost_letters(self, row: ListRow) -> bool:
        """Return whether a question mark may stand for another letter, and the name for another
        file, so that it counts only with the exact moment of a generation."""
        exact = row.archived_at is not None and row.precision < _SECOND
        return "?" in row.path and row.source in self._lossy and not exact

    def _take_folder(self, row: ListRow, folder: Folder | Ambiguous) -> None:
        if isinstance(folder, Ambiguous):
            self._problem(row, Code.RESTORE_AMBIGUOUS, str(folder))
        else:
            self._take(row, folder.newest)
            self._folders.add(spelled(folder.path))
            if folder.others:
                self._others.append((row, folder.others))

    def _mention_others(self) -> None:
        """Say which folders are left behind because they are spelled a little differently."""
        for row, others in self._others:
            left = [f"{path}: {files:,}件" for path, files in others if not self._is_covered(path)]
            if left:
                self._problem(row, Code.FOLDER_SPELLINGS, named(left))

    def _is_covered(self, path: str) -> bool:
        names = spelled(path).split("\\")
        return any("\\".join(names[:n]) in self._folders for n in range(4, len(names) + 1))

    def _take(self, row: ListRow, entries: Iterable[Entry]) -> None:
        new = other = 0
        for entry in entries:
            if self._bucket and entry.bucket != self._bucket:
                other += 1
                self._problem(row, Code.OTHER_BUCKET, entry.bucket, entry.path)
            elif (item := RestoreItem.of(entry)) not in self._items:
                new += 1
                self._items[item] = None
        if not new and not other:
            self._problem(row, Code.DUPLICATE_ENTRY)

    def _problem(self, row: ListRow, code: Code, detail: str = "", path: str = "") -> None:
        self._problems.append(Problem(code, path or row.text, row.source, row.line, detail))

    def _left_out(self, row: ListRow, known: Sequence[Entry], below: _Below) -> None:
        if hint := self._near(row, known, below):
            self._problem(row, Code.NOT_ARCHIVED, hint)
        elif why := forbidden(row.path):
            # No name of the list has such a letter: it is a pattern, or a letter was lost.
            self._problem(row, Code.PATH_SYNTAX, why)
        else:
            self._problem(row, Code.NOT_ARCHIVED)

    def _near(self, row: ListRow, known: Sequence[Entry], below: _Below) -> str:
        """Return in Japanese what may have been meant; empty when nothing is like it."""
        if row.archived_at and (mine := candidates(row, known)):
            # The file is right and its time is not.
            zone = row.archived_at.tzinfo
            times = [f"{local(e.archived_at, zone):%Y/%m/%d %H:%M:%S}" for e in mine]
            return f"アーカイブ日時は {'、'.join(times[-_NEAR_SHOWN:])}"
        paths = dict.fromkeys(entry.path for entry in known)
        if not paths:
            paths = self._elsewhere(row.path, below)
        return f"もしかして: {'、'.join(list(paths)[:_NEAR_SHOWN])}" if paths else ""

    def _elsewhere(self, path: str, below: _Below) -> dict[str, None]:
        """Return archived files of nearly this name: beside it, else anywhere."""
        wanted = near_key(path.rpartition("\\")[2].removesuffix(MARKER_SUFFIX))

        near = below.beside(path).get(wanted, ())
        if not near and self._searches < _MAX_SEARCHES:
            self._searches += 1
            query = SearchQuery(words=wanted)
            found = self._catalogue.search(query, per_page=_NEAR_LOOKED_AT).entries
            near = [entry.path for entry in found if near_key(entry.name) == wanted]
        return dict.fromkeys(near)


def _names(parsed: ParsedList) -> str:
    return "、".join(source.source for source in parsed.detected)


def _keys(row: ListRow) -> Iterator[str]:
    """Yield ``検索キー`` of all files that a row may name."""
    for path in readings(row):
        for one in (path, original_of(path)):
            if one:
                directory, _, name = one.rpartition("\\")
                yield search_key(directory, name)


class _Below:
    """What was archived below directories.

    Each question reads the whole table, so rows side by side share the one about the
    directory they are in. The answers about the last few directories are kept.
    """

    def __init__(self, catalogue: Catalogue, paths: Iterable[str]) -> None:
        """``paths``: of all rows, whether they will be asked for or not."""
        self._catalogue = catalogue
        self._siblings = _occurring_twice(hash(_parent(path)) for path in paths)
        self._shared = lru_cache(maxsize=_MAX_DIRECTORIES)(self._read_shared)
        self._near = lru_cache(maxsize=_MAX_DIRECTORIES)(self._read_near)

    def under(self, path: str) -> Iterator[Entry]:
        """Yield what lies below a directory in any letter case, all generations of it."""
        shared = self._below_parent(_parent(path))
        entries = self._all(path) if shared is None else shared.get(identity(path), ())
        inside = identity(path) + "\\"
        return (entry for entry in entries if identity(entry.path).startswith(inside))

    def beside(self, path: str) -> Mapping[str, Sequence[str]]:
        """Return, by the near key of their names, paths that were archived from the directory
        of a path, or the newest of them."""
        return self._near(_parent(path))

    def _read_near(self, parent: str) -> Mapping[str, Sequence[str]]:
        shared = self._below_parent(parent)
        if shared is not None:
            entries = [entry for below in shared.values() for entry in below]
        else:
            query = _inside(parent)
            page = self._catalogue.search(query, per_page=_NEAR_LOOKED_AT)
            entries = list(page.entries)
        near: dict[str, list[str]] = {}
        for entry in entries:
            near.setdefault(near_key(entry.name), []).append(entry.path)
        return near

    def _below_parent(self, parent: str) -> Mapping[str, Sequence[Entry]] | None:
        """Return entries by the directory right below ``parent``, when several rows ask for it
        and it is not too large."""
        # A hash that two directories share costs a question more, nothing else.
        return self._shared(parent) if hash(parent) in self._siblings else None

    def _read_shared(self, parent: str) -> Mapping[str, Sequence[Entry]] | None:
        page = self._catalogue.search(_inside(parent), per_page=_MAX_SIBLINGS)
        if page.total > len(page.entries):
            return None
        grouped: dict[str, list[Entry]] = {}
        depth = identity(parent).count("\\") + 2
        for entry in page.entries:
            names = identity(entry.path).split("\\")
            grouped.setdefault("\\".join(names[:depth]), []).append(entry)
        return grouped

    def _all(self, path: str) -> Iterator[Entry]:
        query = _inside(path)
        for number in count(1):
            page = self._catalogue.search(query, page=number, per_page=_PAGE)
            yield from page.entries
            if number * _PAGE >= page.total:
                return


def _occurring_twice(values: Iterable[int]) -> set[int]:
    once: set[int] = set()
    twice: set[int] = set()
    for value in values:
        (twice if value in once else once).add(value)
    return twice


def _inside(path: str) -> SearchQuery:
    # The backslash keeps a space at the end of the path, which may belong to its last name.
    return SearchQuery(directory=f"{path}\\")


def _parent(path: str) -> str:
    return path.rpartition("\\")[0]
