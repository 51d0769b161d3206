"""The check before anything is touched: rows of a list → ``Plan`` (``docs/contract.md``,
"Decisions").

Reads the shares and the archive list, writes nothing, and reports every problem at once.
Network mounts are slow per call, so each directory is read once, each file is opened once,
and all of it happens in parallel.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, groupby
from typing import cast

from core.archive.generations import judged
from core.concurrency.parallel import R as _R
from core.concurrency.parallel import T as _T
from core.concurrency.parallel import parallel
from core.draining import drained
from core.errors import Code, ItemError, sentence
from core.files.modification_time import modified
from core.lists.table import MAX_BYTES, MAX_ROWS
from core.model import (
    MARKER_SUFFIX,
    ArchiveItem,
    ArchiveStatus,
    Entry,
    ListRow,
    ParsedList,
    Plan,
    Problem,
    Progress,
)
from core.paths.normalization import (
    MAX_KEY_BYTES,
    identity,
    object_key,
    search_key,
    split_unc,
    storable,
)
from core.paths.unc import comes_back
from core.ports import Catalogue, ProgressSink, silent
from core.share.resolver import Found, Resolver
from core.share.shares import Kind, Shares, is_leftover, name_fits
from core.share.walk import Below, Candidate, Listed, Walk, above, link_problems

MAX_FILE_BYTES = 5 * 1024**4
"""5 TiB, the object size that every S3 Region takes."""
_JUDGED_AT_ONCE = 2_000
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
        # One text for all files of a directory.
        self._key_directory = lru_cache(maxsize=4096)(
            lambda directory: object_key(key_prefix, directory + "\\")
        )
        self._progress = progress
        self._cancelled = cancelled
        self._resolver = Resolver(shares)
        self._problems: list[Problem] = []

    def run(self, parsed: ParsedList) -> Plan:
        """Return the plan. Raises ``FatalError`` when a share or the database is not there,
        ``Cancelled`` when somebody asked to stop."""
        self._problems = list(parsed.problems)
        rows: list[ListRow | None] = list(parsed.rows)
        detected, names = parsed.detected, _names(parsed)
        # Each step takes what the one before made, and lets go of it piece by piece: a list of
        # 200,000 rows is in memory once.
        del parsed
        self._require_shares(filter(None, rows))
        items = self._judge(*self._probe(self._expand(self._resolve(rows))))
        if not items and not any(p.is_error for p in self._problems):
            self._problems.append(Problem(Code.LIST_EMPTY, names))
        if excess := _excess(items):
            self._problems.append(Problem(Code.LIST_TOO_LARGE, names, detail=excess))
        order = {source.source: n for n, source in enumerate(detected)}

        def row_of(problem: Problem) -> tuple[int, int]:
            return order.get(problem.source, -1), problem.line or 0

        self._problems.sort(key=row_of)
        rows_of = groupby(self._problems, key=row_of)
        problems = tuple(chain.from_iterable(_by_path(list(mine)) for _, mine in rows_of))
        return Plan(tuple(items), problems, detected)

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

    def _problem(
        self, row: ListRow | Listed, code: Code, detail: str, about: str | ArchiveItem
    ) -> None:
        self._problems.append(Problem(code, about, row.source, row.line, detail))

    def _resolve(self, rows: list[ListRow | None]) -> list[Listed]:
        """Return what each row names, in the order of the list; report those that fail.

        ``rows`` are taken out of their list one by one.
        """

        def find(number: int) -> Found | ItemError:
            row = cast(ListRow, rows[number])
            try:
                # Where it lies is asked again: what all rows are in, in parts, takes 60 MB.
                return self._resolver.find(row, self._shares.locate(row.path))
            except ItemError as exc:
                return exc.with_traceback(None)  # which holds all that led here

        results: list[Listed | None] = [None] * len(rows)
        for number, result in self._parallel("パスを確認しています", find, range(len(rows))):
            row, rows[number] = cast(ListRow, rows[number]), None
            if isinstance(result, ItemError):
                self._problem(row, result.code, result.detail, row.text)
            elif result.kind is Kind.OTHER:
                self._problem(row, Code.NOT_A_FILE, "", row.text)
            elif result.kind is Kind.FILE and is_leftover(result.name):
                self._problem(row, Code.LEFTOVER_SKIPPED, "", row.text)
            else:
                text = row.text if row.text != result.path else ""
                results[number] = Listed(result, row.source, row.line, text)
        return list(filter(None, results))

    def _expand(self, found: list[Listed]) -> list[Candidate]:
        """Return all files in the order of the list, each once; those below a directory in that
        of their paths."""
        listed = self._without_duplicates(found)
        links: list[Candidate] = [file for file in found if file.found.kind is Kind.LINK]
        directories = [file for file in listed if file.found.kind is Kind.DIRECTORY]
        below: dict[int, list[Below]] = {id(d): [] for d in directories}
        walk = Walk(self._resolver, self._parallel)
        room = _Room(file for file in listed if file.found.kind is Kind.FILE)
        for file in walk.files(directories):
            if file.found.kind is Kind.LINK:
                links.append(file)
            else:
                below[id(file.row)].append(file)
            if not room.takes(file):
                self._too_many(chain(links, *below.values()))
                return []
        self._problems += walk.problems
        files: list[Candidate] = []
        for each in listed:
            if each.found.kind is Kind.FILE:
                files.append(each)
            else:
                files += sorted(below.pop(id(each)), key=lambda child: child.found.path)
        self._problems += link_problems(links, chain(files, directories), self._shares)
        return files

    def _without_duplicates(self, found: Sequence[Listed]) -> list[Listed]:
        """Return files and directories, in their order; each place once, and nothing that lies
        in a listed directory."""
        directories = {
            file.found.local: file for file in reversed(found) if file.found.kind is Kind.DIRECTORY
        }
        files: dict[Found, Listed] = {}
        kept: list[Listed] = []
        for file in found:
            here = file.found
            if here.kind is Kind.LINK:
                continue
            holder = next((directories[a] for a in above(here) if a in directories), None)
            first = directories.get(here.local, file) if here.kind is Kind.DIRECTORY else file
            first = files.get(here, first)
            if holder is not None:
                detail = f"{_where(holder)}のフォルダーに含まれます"
                self._problem(file, Code.DUPLICATE_ENTRY, detail, file.named)
            elif first is not file:
                detail = f"{_where(first)}と同じです"
                self._problem(file, Code.DUPLICATE_ENTRY, detail, file.named)
            else:
                kept.append(file)
                if here.kind is Kind.FILE:
                    files[here] = file
        return kept

    def _too_many(self, found: Iterable[Candidate]) -> None:
        """Report that more was found than one run takes, before any of it was opened."""
        below = Counter(file.row for file in found if isinstance(file, Below))
        row, _ = below.most_common(1)[0]
        detail = (
            f"対象のファイルが{MAX_ROWS + 1:,}件以上あるか、パスが長すぎます。"
            f"1回に処理できるのは{MAX_ROWS:,}件までです。このフォルダーの代わりに、"
            "その中のフォルダーを一覧に書き、何回かに分けてください"
        )
        self._problem(row, Code.LIST_TOO_LARGE, detail, row.named)

    def _probe(self, files: list[Candidate]) -> tuple[list[Candidate], list[ArchiveItem | None]]:
        """Return files, and what each is with size and time: None for those that cannot be
        archived, which are reported."""
        results: list[ArchiveItem | None] = [None] * len(files)
        for number, result in self._parallel(
            "ファイルを確認しています", lambda number: self._look(files[number]), range(len(files))
        ):
            if isinstance(result, ItemError):
                file = files[number]
                self._problem(file.row, result.code, result.detail, file.found.path)
            else:
                results[number] = result
        return files, results

    def _look(self, file: Candidate) -> ArchiveItem | ItemError:
        found = file.found
        try:
            path, name = found.path, found.name
            key_directory = self._key_directory(found.parent.path)
            key = key_directory + name
            if not storable(name):
                raise ItemError(Code.NAME_NOT_STORABLE)
            if not comes_back(path):
                raise ItemError(Code.NAME_NOT_STORABLE, "空白や「.」だけの名前です")
            if not name.endswith(MARKER_SUFFIX):
                _require_fitting(key)
            with self._shares.open_in(found.share, found.local) as opened:
                status = opened.status
            if status.st_size > MAX_FILE_BYTES:
                raise ItemError(Code.FILE_TOO_LARGE)
            size, mtime_ns = status.st_size, status.st_mtime_ns
            item = ArchiveItem(found.parent, name, size, mtime_ns, key_directory)
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
        listing = self._resolver.listing(found.parent, found.share)
        there = listing.match_marker(item.marker_name)
        if there is None:
            return
        try:
            status = self._shares.fs.stat(found.parent.local_of(there))
        except OSError as exc:
            raise self._shares.explain(exc, found.share) from exc
        if status.st_size or not stat.S_ISREG(status.st_mode):
            raise ItemError(Code.MARKER_NAME_TAKEN, item.marker_name)

    def _judge(
        self, files: list[Candidate], looked_at: list[ArchiveItem | None]
    ) -> list[ArchiveItem]:
        """Return the items with what the archive list says of them, our markers left out.

        ``files`` and ``looked_at`` are taken out of their lists.
        """
        self._progress(Progress(phase="アーカイブ一覧と照合しています"))
        items: list[ArchiveItem] = []
        for some in zip(
            drained(files, _JUDGED_AT_ONCE), drained(looked_at, _JUDGED_AT_ONCE), strict=True
        ):
            items += self._judge_some([(f, i) for f, i in zip(*some, strict=True) if i])
        return items

    def _judge_some(self, looked_at: list[tuple[Candidate, ArchiveItem]]) -> list[ArchiveItem]:
        keys = [search_key(item.directory, item.name) for _, item in looked_at]
        originals = {
            search_key(item.directory, original)
            for _, item in looked_at
            if (original := _original(item)) != item.name
        }
        known = self._catalogue.find(originals.union(keys))
        items: list[ArchiveItem] = []
        for (file, item), key in zip(looked_at, keys, strict=True):
            if self._is_marker(file, item, known):
                if isinstance(file, Listed):
                    self._problem(file, Code.MARKER_SKIPPED, "", file.named)
                continue
            try:
                _require_fitting(item.key)
            except ItemError as exc:
                self._problem(file.row, exc.code, exc.detail, item.path)
                continue
            rows = known.get(key, ())
            compared = self._compared(file.found, item, rows) if rows else item
            if compared.standing is not ArchiveStatus.NEW:
                code = (
                    Code.ARCHIVED_CHANGED
                    if compared.standing is ArchiveStatus.CHANGED
                    else Code.ARCHIVED_UNCHANGED
                )
                # The file itself, not its path: there may be one for each file of the list.
                self._problem(file.row, code, "", compared)
            items.append(compared)
        return items

    def _is_marker(
        self, file: Candidate, item: ArchiveItem, known: Mapping[str, Sequence[Entry]]
    ) -> bool:
        """Return whether a file is one of our markers: empty, named like one, and with an
        original beside it or in the archive list. Anything else is somebody's file."""
        original = _original(item)
        if item.size or original == item.name:
            return False
        if self._resolver.listing(item.parent, file.found.share).has_file(original):
            return True
        rows = known.get(search_key(item.directory, original), ())
        return any(identity(r.path) == identity(f"{item.directory}\\{original}") for r in rows)

    def _compared(self, found: Found, item: ArchiveItem, rows: Sequence[Entry]) -> ArchiveItem:
        """Return ``item`` as its generations among the rows that share its search key judge it.

        Rows of exactly this spelling come first: a composed and a decomposed name may both
        exist. Rows that differ in letter case only belong to the same Windows file, unless
        the file that they name stands beside this one.
        """
        mine = [r for r in rows if r.path == item.path]
        if not mine:
            same = identity(item.path)
            mine = [r for r in rows if identity(r.path) == same and not self._twin(r, found)]
        return judged(item, mine) if mine else item

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


def _original(item: ArchiveItem) -> str:
    return item.name.removesuffix(MARKER_SUFFIX)


class _Room:
    """How many files one run takes, as far as their names tell. Markers are not counted:
    whether a file is one is only known when it was opened."""

    def __init__(self, files: Iterable[Candidate]) -> None:
        self._rows, self._bytes = MAX_ROWS, MAX_BYTES
        for file in files:
            self.takes(file)

    def takes(self, file: Candidate) -> bool:
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


def _by_path(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda p: p.path) if len(problems) > 1 else problems


def _where(row: Listed) -> str:
    return f"{row.source} {row.line}行目"


def _names(parsed: ParsedList) -> str:
    return "、".join(source.source for source in parsed.detected)


def refusal(plan: Plan) -> str:
    """Return why a plan cannot be run, one Japanese sentence; empty when it can."""
    errors = [p for p in plan.problems if p.is_error]
    if errors:
        return f"一覧に{len(errors):,}件の誤りがあるため、何も処理していません"
    return "" if plan.items else sentence(Code.LIST_EMPTY)
