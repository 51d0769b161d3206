"""Uploaded lists → rows and problems (``docs/contract.md``, "Lists").

Nothing here looks at the share or at the archive list. Every fault of every list is found in
one go and returned as a value.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import chain
from zoneinfo import ZoneInfo

from core.draining import drained
from core.errors import Code
from core.lists.file_kinds import is_zip, refuse_other_kinds
from core.lists.headings import columns_of, require_paths
from core.lists.rows import Entry, entry, without_merged
from core.lists.sheets import read_book
from core.lists.table import (
    MAX_BYTES,
    MAX_ROWS,
    TOO_MANY_ROWS,
    Effort,
    ListUnreadable,
    Reading,
    Table,
)
from core.lists.text import read_text
from core.model import (
    DetectedList,
    HiddenRows,
    ListKind,
    ListRow,
    ListSource,
    ParsedList,
    Problem,
)

_MAX_TEXT_BYTES = 64 * 1024 * 1024
"""Memory for the texts of all rows and problems of one request: 200,000 paths of 130 letters."""
_TOO_MUCH_TEXT = "パスの文字が合計で多すぎます。一覧をいくつかに分けてください"
_AT_ONCE = 1000
"""Entries that are let go of together."""
_LOOK = 200
"""Rows after which the processor time is looked at."""
_SECOND = timedelta(seconds=1)
_MAX_NAMED = 20
"""Sheets, or groups of rows, that a sentence names."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What one table of a list holds."""

    label: str
    """Name of the list, with the sheet when several are read."""
    table: Table
    entries: list[Entry]
    hidden: array[int]
    """Lines with an entry that Excel does not show."""


class _Collector:
    """Rows, problems and first occurrences over all lists of one request."""

    def __init__(
        self, kind: ListKind, timezone: ZoneInfo, hidden_rows: HiddenRows, effort: Effort
    ) -> None:
        self.kind = kind
        self.timezone = timezone
        self.rows: list[ListRow] = []
        self.problems: list[Problem] = []
        self.detected: list[DetectedList] = []
        self._hidden_rows = hidden_rows
        self._effort = effort
        self._entries = 0
        self._text_bytes = 0
        self._first: dict[int, ListRow] = {}
        """By the hash of what they mean, an exact path: whether two spellings mean one file is for
        the share to say."""

    def add(self, source: ListSource) -> None:
        """Read one list; whatever is wrong with it becomes a problem."""
        before = self._entries, self._text_bytes
        try:
            reading = self._read(source)
            found = [self._table(source.name, table) for table in reading.tables]
        except ListUnreadable as exc:
            self._entries, self._text_bytes = before
            self._report(source.name, exc.code, exc.detail, exc.line)
            return
        for code, titles in (
            (Code.SHEET_UNREAD, reading.unread),
            (Code.SHEET_IGNORED, reading.hidden),
        ):
            if titles:
                self._report(source.name, code, _named(titles))
        for one in found:
            self._keep_table(one)
        if self._entries == before[0] and not any(one.hidden for one in found):
            detail = "" if source.content else "ファイルの中身がありません（0バイト）"
            self._report(source.name, Code.LIST_EMPTY, detail)

    def _read(self, source: ListSource) -> Reading:
        content = source.content
        if len(content) > MAX_BYTES:
            raise ListUnreadable(Code.LIST_TOO_LARGE, "1ファイル20 MiBまで")
        # The content decides, not the suffix: people rename what they do not understand.
        refuse_other_kinds(content)
        read = read_book if is_zip(content) else read_text
        return read(content, partial(columns_of, self.kind), self._effort)

    def _table(self, source: str, table: Table) -> _Found:
        """Read a table to its end. Raises ``ListUnreadable``."""
        label = f"{source}「{table.title}」" if table.title else source
        found = _Found(label, table, [], array("L"))
        # What is in a path list, which may be ours, or in the archive list exists: a share may
        # show names that Windows forbids.
        strict = table.columns is not None and self.kind is ListKind.ARCHIVE
        first = True
        for record in table.records:
            if table.columns is None and not record.fault:
                require_paths(record, first=first)
            first = False
            one = entry(label, record, table.columns, self.timezone, strict=strict)
            if one is None:
                continue
            self._entries += 1
            if self._entries > MAX_ROWS:
                raise ListUnreadable(Code.LIST_TOO_LARGE, TOO_MANY_ROWS, record.line)
            if self._entries % _LOOK == 0:
                self._effort.check(record.line)
            if record.hidden:
                found.hidden.append(record.line)
                if self._hidden_rows is not HiddenRows.INCLUDE:
                    continue
            found.entries.append(one)
            self._text_bytes += one.memory
            if self._text_bytes > _MAX_TEXT_BYTES:
                raise ListUnreadable(Code.LIST_TOO_LARGE, _TOO_MUCH_TEXT, record.line)
        return found

    def _keep_table(self, found: _Found) -> None:
        table, entries = found.table, found.entries
        if found.hidden:
            self._report_hidden(found)
        used = table.columns.used if table.columns else ()
        rows = len(entries)
        each = chain.from_iterable(drained(entries, _AT_ONCE))
        for one in without_merged(found.label, each, table.merges, used):
            self.problems += one.problems
            if one.row:
                self._keep(one.row)
        for note in table.notes:
            self._report(found.label, Code.LIST_ADJUSTED, note)
        form = "columns" if table.columns else "paths"
        self.detected.append(DetectedList(found.label, table.encoding, form, rows))

    def _report_hidden(self, found: _Found) -> None:
        lines = f"{len(found.hidden):,}行: {_spans(found.hidden)}"
        match self._hidden_rows:
            case HiddenRows.ASK:
                self._report(found.label, Code.ROWS_HIDDEN, lines, found.hidden[0])
            case HiddenRows.INCLUDE:
                self._report(found.label, Code.ROWS_HIDDEN_DECIDED, f"対象に含めました。{lines}")
            case HiddenRows.EXCLUDE:
                self._report(found.label, Code.ROWS_HIDDEN_DECIDED, f"対象から除きました。{lines}")

    def _report(self, source: str, code: Code, detail: str = "", line: int | None = None) -> None:
        self.problems.append(Problem(code, source, source, line, detail))

    def _keep(self, row: ListRow) -> None:
        meant = _meant(row)
        place = hash(meant)  # 40 bytes less a row than what is hashed
        while (first := self._first.setdefault(place, row)) is not row:
            if _meant(first) == meant:
                break
            place += 1
        else:
            self.rows.append(row)
            return
        where = f"{first.line}行目" if first.source == row.source else _place(first)
        detail = f"最初は{where}"
        self.problems.append(Problem(Code.DUPLICATE_ENTRY, row.text, row.source, row.line, detail))


def parse(
    sources: Sequence[ListSource],
    kind: ListKind,
    timezone: ZoneInfo,
    hidden_rows: HiddenRows = HiddenRows.ASK,
    effort: Effort | None = None,
) -> ParsedList:
    """Return the rows of all lists in their order, and everything that is wrong with them.

    Never raises for what a list holds. ``timezone`` is meant where a date names none. Rows
    with an error, and all but the first of the same path, are left out; so are rows that
    Excel does not show, unless ``hidden_rows`` says otherwise.

    Without headings a list is one path a line and is not split at commas, because a name may
    hold one; a second column in Excel, or after a tab, is refused there instead of guessed.
    """
    collector = _Collector(kind, timezone, hidden_rows, effort or Effort())
    for source in sources:
        collector.add(source)
    return ParsedList(tuple(collector.rows), tuple(collector.problems), tuple(collector.detected))


def _meant(row: ListRow) -> str | tuple[object, ...]:
    """Return what two rows that mean the same have in common."""
    path = row.exact or row.path
    if row.archived_at is None and not row.key:
        return (path, True) if row.marker else path
    return path, row.marker, row.archived_at, row.precision < _SECOND, row.key


def _place(row: ListRow) -> str:
    return f"{row.source} の{row.line}行目"


def _named(titles: Sequence[str]) -> str:
    named = "".join(f"「{title[:100]}」" for title in titles[:_MAX_NAMED])
    more = len(titles) - _MAX_NAMED
    return f"{named}ほか{more:,}枚" if more > 0 else named


def _spans(lines: Sequence[int]) -> str:
    """Return lines in Japanese, those that follow each other as one."""
    spans: list[list[int]] = []
    for line in lines:
        if spans and line == spans[-1][1] + 1:
            spans[-1][1] = line
        elif len(spans) == _MAX_NAMED:
            return f"{_span_words(spans)}ほか"
        else:
            spans.append([line, line])
    return _span_words(spans)


def _span_words(spans: Sequence[Sequence[int]]) -> str:
    return "、".join(
        f"{first}行目" if first == last else f"{first}～{last}行目" for first, last in spans
    )
