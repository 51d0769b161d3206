"""The check before anything is touched: rows of a list → ``Plan`` (contract, "decisions").

Reads the shares and the archive list, writes nothing, and reports every problem at once.
Network mounts are slow per call, so each directory is read once, each file is opened once,
and all of it happens in parallel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from core.errors import Code, ItemError, sentence
from core.model import (
    MARKER_SUFFIX,
    ArchiveItem,
    Entry,
    ListRow,
    ParsedList,
    Plan,
    Problem,
    Progress,
    Standing,
)
from core.names import identity, object_key, search_key, storable
from core.ports import Catalogue, ProgressSink, silent
from core.resolve import Found, Resolver
from core.shares import Kind, Shares, name_fits
from core.workers import R as _R
from core.workers import T as _T
from core.workers import parallel

MAX_KEY_BYTES = 1024
"""S3's limit for a key in UTF-8 (FACTS, "S3 and Deep Archive")."""
MAX_FILE_BYTES = 5 * 1024**4
"""5 TiB, the object size that every S3 Region takes."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file found for a row, before it was looked at."""

    found: Found
    row: ListRow
    listed: bool
    """True when the row names the file itself, False when it lies below a listed directory."""


class ArchiveCheck:
    """One check of one list. ``run`` is called once."""

    def __init__(
        self,
        shares: Shares,
        catalogue: Catalogue,
        key_prefix: str,
        *,
        progress: ProgressSink = silent,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._shares = shares
        self._catalogue = catalogue
        self._prefix = key_prefix
        self._progress = progress
        self._cancelled = cancelled
        self._resolver = Resolver(shares)
        self._problems: list[Problem] = []

    def run(self, parsed: ParsedList) -> Plan:
        """Return the plan. Raises ``FatalError`` when a share or the database is not there,
        ``Cancelled`` when somebody asked to stop."""
        self._problems = list(parsed.problems)
        self._require_shares(parsed.rows)
        found = self._resolve(parsed.rows)
        files = self._expand(found)
        looked_at = self._probe(files)
        items = self._judge(looked_at)
        if not items and not any(p.is_error for p in self._problems):
            self._problems.append(Problem(Code.LIST_EMPTY, _names(parsed)))
        order = {source.source: n for n, source in enumerate(parsed.detected)}
        self._problems.sort(key=lambda p: (order.get(p.source, -1), p.line or 0, p.path))
        return Plan(tuple(items), tuple(self._problems), parsed.detected)

    def _require_shares(self, rows: Iterable[ListRow]) -> None:
        located = (self._shares.locate(row.path) for row in rows)
        self._shares.require_mounted({share for share, _ in filter(None, located)})

    def _parallel(
        self, phase: str, work: Callable[[_T], _R], items: Sequence[_T]
    ) -> Iterator[tuple[_T, _R]]:
        self._progress(Progress(total_files=len(items), phase=phase))
        pairs = parallel(work, items, cancelled=self._cancelled)
        for done, pair in enumerate(pairs, start=1):
            if done % 200 == 0 or done == len(items):
                self._progress(Progress(total_files=len(items), done_files=done, phase=phase))
            yield pair

    def _problem(self, row: ListRow, code: Code, detail: str = "", path: str = "") -> None:
        self._problems.append(Problem(code, path or row.text, row.source, row.line, detail))

    def _resolve(self, rows: Sequence[ListRow]) -> list[tuple[ListRow, Found]]:
        """Return what each row names, in the order of the list; report those that fail."""

        def find(pair: tuple[int, ListRow]) -> Found | ItemError:
            try:
                return self._resolver.find(pair[1].path)
            except ItemError as exc:
                return exc

        results: dict[int, Found] = {}
        for (number, row), result in self._parallel(
            "パスを確認しています", find, list(enumerate(rows))
        ):
            if isinstance(result, ItemError):
                self._problem(row, result.code, result.detail)
            elif result.kind is Kind.OTHER:
                self._problem(row, Code.NOT_A_FILE)
            else:
                results[number] = result
        return [(rows[number], results[number]) for number in sorted(results)]

    def _expand(self, found: list[tuple[ListRow, Found]]) -> list[_File]:
        """Return all files in the order of the list, each once."""
        listed = {f.local: row for row, f in reversed(found) if f.kind is Kind.DIRECTORY}
        files: dict[str, _File] = {}
        directories: list[_File] = []
        for row, here in found:
            above = next((listed[a] for a in _above(here.local) if a in listed), None)
            first = listed.get(here.local, row)
            if above is not None:
                self._problem(row, Code.DUPLICATE_ENTRY, f"{_where(above)}のフォルダーに含まれます")
            elif first is not row or here.local in files:
                first = files[here.local].row if here.local in files else first
                self._problem(row, Code.DUPLICATE_ENTRY, f"{_where(first)}と同じです")
            elif here.kind is Kind.DIRECTORY:
                directories.append(_File(here, row, True))
            else:
                files[here.local] = _File(here, row, True)
        for file in self._walk(directories):
            files.setdefault(file.found.local, file)
        order = {id(row): number for number, (row, _) in enumerate(found)}
        return sorted(files.values(), key=lambda f: (order[id(f.row)], f.found.path))

    def _walk(self, directories: list[_File]) -> Iterator[_File]:
        """Yield every file below; report links that lead out, and directories without files."""
        filled: set[int] = set()
        level = directories
        while level:
            deeper: list[_File] = []
            for parent, children in self._parallel(
                "フォルダーの中を調べています", self._children, level
            ):
                for child in children:
                    if isinstance(child, Problem):
                        self._problems.append(child)
                        filled.add(id(parent.row))
                    elif child.found.kind is Kind.DIRECTORY:
                        deeper.append(child)
                    else:
                        filled.add(id(parent.row))
                        yield child
            level = deeper
        for directory in directories:
            if id(directory.row) not in filled:
                self._problem(directory.row, Code.EMPTY_DIRECTORY)

    def _children(self, parent: _File) -> list[_File | Problem]:
        row, here = parent.row, parent.found
        try:
            listing = self._resolver.listing(here.local, here.share)
        except ItemError as exc:
            return [Problem(exc.code, here.path, row.source, row.line, exc.detail)]
        children: list[_File | Problem] = []
        for name, kind in listing.kinds.items():
            path = f"{here.path}\\{name}"
            try:
                if not storable(name):
                    raise ItemError(Code.NAME_NOT_STORABLE)
                child = self._resolver.enter(here, name, kind)
                if child.kind is Kind.OTHER:
                    raise ItemError(Code.NOT_A_FILE)
                children.append(_File(child, row, False))
            except ItemError as exc:
                children.append(Problem(exc.code, path, row.source, row.line, exc.detail))
        return children

    def _probe(self, files: list[_File]) -> list[tuple[_File, ArchiveItem]]:
        """Return files with size and time, in order; report those that cannot be archived."""
        numbered = list(enumerate(files))
        results: dict[int, ArchiveItem] = {}
        for (number, file), result in self._parallel(
            "ファイルを確認しています", lambda pair: self._look(pair[1]), numbered
        ):
            if isinstance(result, ItemError):
                self._problem(file.row, result.code, result.detail, file.found.path)
            else:
                results[number] = result
        return [(files[number], results[number]) for number in sorted(results)]

    def _look(self, file: _File) -> ArchiveItem | ItemError:
        found = file.found
        try:
            key = object_key(self._prefix, found.path)
            name = found.path.rpartition("\\")[2]
            if not storable(name):
                raise ItemError(Code.NAME_NOT_STORABLE)
            if len(key.encode()) > MAX_KEY_BYTES:
                raise ItemError(Code.KEY_TOO_LONG, f"{len(key.encode()):,}バイト")
            with self._shares.open(found.path, found.local) as opened:
                status = os.fstat(opened.fileno())
            if status.st_size > MAX_FILE_BYTES:
                raise ItemError(Code.FILE_TOO_LARGE)
            item = ArchiveItem(found.path, found.local, status.st_size, status.st_mtime_ns, key)
            if not name.endswith(MARKER_SUFFIX) or status.st_size:
                self._require_marker_room(found, item)
        except ItemError as exc:
            return exc
        return item

    def _require_marker_room(self, found: Found, item: ArchiveItem) -> None:
        if not name_fits(item.marker_name):
            raise ItemError(Code.MARKER_NAME_TOO_LONG)
        directory = os.path.dirname(found.local)  # noqa: PTH120 - once a file
        there = self._resolver.listing(directory, found.share).match(item.marker_name)
        if there is None:
            return
        marker = os.path.join(directory, there)  # noqa: PTH118
        try:
            status = self._shares.fs.stat(marker)
        except OSError as exc:
            raise self._shares.explain(exc, found.share) from exc
        if status.st_size or not os.path.isfile(marker):  # noqa: PTH113
            raise ItemError(Code.MARKER_NAME_TAKEN, item.marker_name)

    def _judge(self, looked_at: list[tuple[_File, ArchiveItem]]) -> list[ArchiveItem]:
        """Return the items with what the archive list says of them, our markers left out."""
        self._progress(Progress(phase="アーカイブ一覧と照合しています"))
        keys = {search_key(item.directory, _original(item)) for _, item in looked_at}
        keys |= {search_key(item.directory, item.name) for _, item in looked_at}
        known = self._catalogue.find(keys)
        items: list[ArchiveItem] = []
        for file, item in looked_at:
            if self._is_marker(file, item, known):
                if file.listed:
                    self._problem(file.row, Code.MARKER_SKIPPED)
                continue
            judged = _with_history(item, known)
            if judged.standing is not Standing.NEW:
                code = (
                    Code.ARCHIVED_CHANGED
                    if judged.standing is Standing.CHANGED
                    else Code.ARCHIVED_UNCHANGED
                )
                self._problem(file.row, code, "", item.path)
            items.append(judged)
        return items

    def _is_marker(
        self, file: _File, item: ArchiveItem, known: Mapping[str, Sequence[Entry]]
    ) -> bool:
        """Return whether a file is one of our markers: empty, named like one, and with an
        original beside it or in the archive list. Anything else is somebody's file."""
        original = _original(item)
        if item.size or original == item.name:
            return False
        directory = os.path.dirname(file.found.local)  # noqa: PTH120
        if original in self._resolver.listing(directory, file.found.share):
            return True
        rows = known.get(search_key(item.directory, original), ())
        return any(identity(r.path) == identity(f"{item.directory}\\{original}") for r in rows)


def _original(item: ArchiveItem) -> str:
    return item.name.removesuffix(MARKER_SUFFIX)


def _with_history(item: ArchiveItem, known: Mapping[str, Sequence[Entry]]) -> ArchiveItem:
    """Return ``item`` with its generations.

    Rows of exactly this spelling come first: a composed and a decomposed name may both exist.
    Rows that differ in letter case only belong to the same Windows file.
    """
    rows = known.get(search_key(item.directory, item.name), ())
    mine = [r for r in rows if r.path == item.path]
    mine = mine or [r for r in rows if identity(r.path) == identity(item.path)]
    if not mine:
        return item
    newest = mine[-1]
    modified_us = round(newest.modified_at.timestamp() * 1_000_000)
    same = newest.size == item.size and modified_us == item.mtime_ns // 1000
    return replace(
        item,
        standing=Standing.ARCHIVED if same else Standing.CHANGED,
        newest=newest,
        taken_keys=frozenset(r.key for r in mine),
    )


def _above(local: str) -> Iterator[str]:
    while (parent := os.path.dirname(local)) != local:  # noqa: PTH120
        yield parent
        local = parent


def _where(row: ListRow) -> str:
    return f"{row.source} {row.line}行目"


def _names(parsed: ParsedList) -> str:
    return "、".join(source.source for source in parsed.detected)


def refusal(plan: Plan) -> str:
    """Return why a plan cannot be run, one Japanese sentence; empty when it can."""
    errors = [p for p in plan.problems if p.is_error]
    if errors:
        return f"一覧に{len(errors):,}件の誤りがあるため、何も処理していません"
    return "" if plan.items else sentence(Code.LIST_EMPTY)
