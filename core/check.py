"""The check before anything is touched: rows of a list → ``Plan`` (contract, "decisions").

Reads the shares and the archive list, writes nothing, and reports every problem at once.
Network mounts are slow per call, so each directory is read once, each file is opened once,
and all of it happens in parallel.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from core.errors import Code, ItemError, sentence
from core.list_table import MAX_BYTES, MAX_ROWS
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
from core.moments import is_modified_at, modified
from core.names import MAX_KEY_BYTES, identity, object_key, search_key, split_unc, storable
from core.ports import Catalogue, ProgressSink, silent
from core.resolve import Found, Resolver
from core.shares import Kind, Shares, is_leftover, name_fits
from core.unc import comes_back
from core.walk import ListedFile, Walk, above, link_problem
from core.workers import R as _R
from core.workers import T as _T
from core.workers import parallel

MAX_FILE_BYTES = 5 * 1024**4
"""5 TiB, the object size that every S3 Region takes."""
_JUDGED_AT_ONCE = 10_000
"""Files whose search keys and rows of the archive list are in memory at one time."""


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
        # Nothing is kept between the steps: each holds every file once more.
        items = self._judge(self._probe(self._expand(self._resolve(parsed.rows))))
        if not items and not any(p.is_error for p in self._problems):
            self._problems.append(Problem(Code.LIST_EMPTY, _names(parsed)))
        if excess := _excess(items):
            self._problems.append(Problem(Code.LIST_TOO_LARGE, _names(parsed), detail=excess))
        order = {source.source: n for n, source in enumerate(parsed.detected)}
        self._problems.sort(key=lambda p: (order.get(p.source, -1), p.line or 0, p.path))
        return Plan(tuple(items), tuple(self._problems), parsed.detected)

    def _require_shares(self, rows: Iterable[ListRow]) -> None:
        located = (self._shares.locate(row.path) for row in rows)
        shares = list(dict.fromkeys(share for share, _ in filter(None, located)))
        # In a thread, because a mount that hangs must not keep anybody from giving up.
        for _ in parallel(self._shares.require_mounted, [shares], cancelled=self._cancelled):
            pass

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

        def find(number: int) -> Found | ItemError:
            row = rows[number]
            try:
                # Where it lies is asked again: what all rows are in, in parts, takes 60 MB.
                return self._resolver.find(row, self._shares.locate(row.path))
            except ItemError as exc:
                return exc.with_traceback(None)  # which holds all that led here

        results: list[Found | None] = [None] * len(rows)
        for number, result in self._parallel("パスを確認しています", find, range(len(rows))):
            row = rows[number]
            if isinstance(result, ItemError):
                self._problem(row, result.code, result.detail)
            elif result.kind is Kind.OTHER:
                self._problem(row, Code.NOT_A_FILE)
            elif result.kind is Kind.FILE and is_leftover(result.path.rpartition("\\")[2]):
                self._problem(row, Code.LEFTOVER_SKIPPED)
            else:
                results[number] = result
        return [(row, found) for row, found in zip(rows, results, strict=True) if found]

    def _expand(self, found: list[tuple[ListRow, Found]]) -> list[ListedFile]:
        """Return all files in the order of the list, each once."""
        links = [ListedFile(f, row, True) for row, f in found if f.kind is Kind.LINK]
        files, directories = self._without_duplicates(found)
        walk = Walk(self._resolver, self._parallel)
        room = _Room(files.values())
        for file in walk.files(directories):
            if file.found.kind is Kind.LINK:
                links.append(file)
            else:
                files.setdefault(file.found.local, file)
            if not room.takes(file):
                self._too_many([*files.values(), *links])
                return []
        self._problems += walk.problems
        places = {*files, *(d.found.local for d in directories)}
        self._problems += (link_problem(link, places, self._shares) for link in links)
        order = {id(row): number for number, (row, _) in enumerate(found)}
        return sorted(files.values(), key=lambda f: (order[id(f.row)], f.found.path))

    def _without_duplicates(
        self, found: list[tuple[ListRow, Found]]
    ) -> tuple[dict[str, ListedFile], list[ListedFile]]:
        """Return listed files by their place, and directories of which none lies in another."""
        listed = {f.local: row for row, f in reversed(found) if f.kind is Kind.DIRECTORY}
        files: dict[str, ListedFile] = {}
        directories: list[ListedFile] = []
        for row, here in found:
            if here.kind is Kind.LINK:
                continue
            holder = next((listed[a] for a in above(here.local) if a in listed), None)
            first = listed.get(here.local, row)
            if holder is not None:
                self._problem(
                    row, Code.DUPLICATE_ENTRY, f"{_where(holder)}のフォルダーに含まれます"
                )
            elif first is not row or here.local in files:
                first = files[here.local].row if here.local in files else first
                self._problem(row, Code.DUPLICATE_ENTRY, f"{_where(first)}と同じです")
            elif here.kind is Kind.DIRECTORY:
                directories.append(ListedFile(here, row, True))
            else:
                files[here.local] = ListedFile(here, row, True)
        return files, directories

    def _too_many(self, files: Iterable[ListedFile]) -> None:
        """Report that more was found than one run takes, before any of it was opened."""
        below = Counter(file.row for file in files if not file.listed)
        row, _ = below.most_common(1)[0]
        detail = (
            f"対象のファイルが{MAX_ROWS + 1:,}件以上あるか、パスが長すぎます。"
            f"1回に処理できるのは{MAX_ROWS:,}件までです。このフォルダーの代わりに、"
            "その中のフォルダーを一覧に書き、何回かに分けてください"
        )
        self._problem(row, Code.LIST_TOO_LARGE, detail)

    def _probe(self, files: list[ListedFile]) -> list[tuple[ListedFile, ArchiveItem]]:
        """Return files with size and time, in order; report those that cannot be archived."""
        results: list[ArchiveItem | None] = [None] * len(files)
        for number, result in self._parallel(
            "ファイルを確認しています", lambda number: self._look(files[number]), range(len(files))
        ):
            if isinstance(result, ItemError):
                file = files[number]
                self._problem(file.row, result.code, result.detail, file.found.path)
            else:
                results[number] = result
        return [(file, item) for file, item in zip(files, results, strict=True) if item]

    def _look(self, file: ListedFile) -> ArchiveItem | ItemError:
        found = file.found
        try:
            key = object_key(self._prefix, found.path)
            name = found.path.rpartition("\\")[2]
            if not storable(name):
                raise ItemError(Code.NAME_NOT_STORABLE)
            if not comes_back(found.path):
                raise ItemError(Code.NAME_NOT_STORABLE, "空白や「.」だけの名前です")
            if not name.endswith(MARKER_SUFFIX):
                _require_fitting(key)
            with self._shares.open_in(found.share, found.local) as opened:
                status = opened.status
            if status.st_size > MAX_FILE_BYTES:
                raise ItemError(Code.FILE_TOO_LARGE)
            item = ArchiveItem(found.path, found.local, status.st_size, status.st_mtime_ns, key)
            # One of our markers gets neither a key nor a marker: _judge tells which ones are.
            if not name.endswith(MARKER_SUFFIX) or status.st_size:
                _require_fitting(key)
                modified(status.st_mtime_ns)
                self._require_marker_room(found, item)
        except ItemError as exc:
            return exc.with_traceback(None)
        return item

    def _require_marker_room(self, found: Found, item: ArchiveItem) -> None:
        if not name_fits(item.marker_name):
            raise ItemError(Code.MARKER_NAME_TOO_LONG)
        directory = os.path.dirname(found.local)  # noqa: PTH120 - once a file
        there = self._resolver.listing(directory, found.share).match_marker(item.marker_name)
        if there is None:
            return
        marker = os.path.join(directory, there)  # noqa: PTH118
        try:
            status = self._shares.fs.stat(marker)
        except OSError as exc:
            raise self._shares.explain(exc, found.share) from exc
        if status.st_size or not stat.S_ISREG(status.st_mode):
            raise ItemError(Code.MARKER_NAME_TAKEN, item.marker_name)

    def _judge(self, looked_at: list[tuple[ListedFile, ArchiveItem]]) -> list[ArchiveItem]:
        """Return the items with what the archive list says of them, our markers left out."""
        self._progress(Progress(phase="アーカイブ一覧と照合しています"))
        items: list[ArchiveItem] = []
        for begin in range(0, len(looked_at), _JUDGED_AT_ONCE):
            items += self._judge_some(looked_at[begin : begin + _JUDGED_AT_ONCE])
        return items

    def _judge_some(self, looked_at: list[tuple[ListedFile, ArchiveItem]]) -> list[ArchiveItem]:
        keys = {item.path: search_key(item.directory, item.name) for _, item in looked_at}
        originals = {
            search_key(item.directory, original)
            for _, item in looked_at
            if (original := _original(item)) != item.name
        }
        known = self._catalogue.find(originals.union(keys.values()))
        items: list[ArchiveItem] = []
        for file, item in looked_at:
            if self._is_marker(file, item, known):
                if file.listed:
                    self._problem(file.row, Code.MARKER_SKIPPED)
                continue
            try:
                _require_fitting(item.key)
            except ItemError as exc:
                self._problem(file.row, exc.code, exc.detail, item.path)
                continue
            rows = known.get(keys[item.path], ())
            judged = self._with_history(file.found, item, rows) if rows else item
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
        self, file: ListedFile, item: ArchiveItem, known: Mapping[str, Sequence[Entry]]
    ) -> bool:
        """Return whether a file is one of our markers: empty, named like one, and with an
        original beside it or in the archive list. Anything else is somebody's file."""
        original = _original(item)
        if item.size or original == item.name:
            return False
        directory = os.path.dirname(file.found.local)  # noqa: PTH120
        if self._resolver.listing(directory, file.found.share).has_file(original):
            return True
        rows = known.get(search_key(item.directory, original), ())
        return any(identity(r.path) == identity(f"{item.directory}\\{original}") for r in rows)

    def _with_history(self, found: Found, item: ArchiveItem, rows: Sequence[Entry]) -> ArchiveItem:
        """Return ``item`` with its generations among the rows that share its search key.

        Rows of exactly this spelling come first: a composed and a decomposed name may both
        exist. Rows that differ in letter case only belong to the same Windows file, unless
        the file that they name stands beside this one.
        """
        mine = [r for r in rows if r.path == item.path]
        if not mine:
            same = identity(item.path)
            mine = [r for r in rows if identity(r.path) == same and not self._twin(r, found)]
        return _standing(item, mine) if mine else item

    def _twin(self, row: Entry, found: Found) -> bool:
        """Return whether a row names another file that is on the share now."""
        located = self._shares.locate(row.path)
        if located is None:
            return False
        share, parts = located
        # The share itself may be written otherwise in the settings by now.
        same = parts == split_unc(found.path)[len(split_unc(found.share.unc)) :]
        return not same and self._resolver.has_spelling(share, parts)


def _require_fitting(key: str) -> None:
    """Raise ``ItemError(KEY_TOO_LONG)``."""
    size = len(key.encode())
    if size > MAX_KEY_BYTES:
        raise ItemError(Code.KEY_TOO_LONG, f"{size:,}バイト")


def up_to_date(items: Iterable[ArchiveItem], catalogue: Catalogue) -> tuple[ArchiveItem, ...]:
    """Return items with the generations that other runs have stored since the check.

    Between the two a list may wait for hours, and the same file may stand in another one.
    """
    items = tuple(items)
    known = catalogue.find({search_key(item.directory, item.name) for item in items})
    return tuple(_with_later(i, known.get(search_key(i.directory, i.name), ())) for i in items)


def _with_later(item: ArchiveItem, rows: Sequence[Entry]) -> ArchiveItem:
    mine = [row for row in rows if row.path == item.path or row.key in item.taken_keys]
    return _standing(item, mine) if {row.key for row in mine} - item.taken_keys else item


def _original(item: ArchiveItem) -> str:
    return item.name.removesuffix(MARKER_SUFFIX)


def _standing(item: ArchiveItem, mine: Sequence[Entry]) -> ArchiveItem:
    """Return ``item`` with its generations, in any order."""
    newest = max(mine, key=lambda row: row.id)
    same = newest.size == item.size and is_modified_at(item.mtime_ns, newest.modified_at)
    return replace(
        item,
        standing=Standing.ARCHIVED if same else Standing.CHANGED,
        newest=newest,
        latest=max(row.archived_at for row in mine),
        taken_keys=frozenset(r.key for r in mine),
    )


class _Room:
    """How many files one run takes, as far as their names tell. Markers are not counted:
    whether a file is one is only known when it was opened."""

    def __init__(self, files: Iterable[ListedFile]) -> None:
        self._rows, self._bytes = MAX_ROWS, MAX_BYTES
        for file in files:
            self.takes(file)

    def takes(self, file: ListedFile) -> bool:
        path = file.found.path
        if not path.endswith(MARKER_SUFFIX):
            self._rows -= 1
            self._bytes -= len(path.encode("utf-8", "surrogatepass"))
        return self._rows >= 0 and self._bytes >= 0


def _excess(items: Sequence[ArchiveItem]) -> str:
    """Return what is too much for one run; empty when nothing is.

    The error file list of a run may hold all of its files and has to be a valid list.
    """
    if len(items) > MAX_ROWS:
        return (
            f"対象のファイルが{len(items):,}件あります。1回に処理できるのは{MAX_ROWS:,}件までです"
        )
    # A byte order mark, and CRLF after every path.
    size = 3 + sum(len(item.path.encode()) + 2 for item in items)
    if size > MAX_BYTES:
        limit = f"{MAX_BYTES // 1024**2} MiB"
        return f"対象のパスが長く、エラーファイル一覧が1回の上限の{limit}を超えます"
    return ""


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
