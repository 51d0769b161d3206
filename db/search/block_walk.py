"""Searching millions of rows on PostgreSQL: along blocks of rows, the newest first.

A block is 32,768 rows with serial keys in sequence, and its number is a term like any other
(``db/search/terms.py``). Within one block the index leaps from the terms of a search to the rows
that have all of them; the walk ends as soon as a page is full. So a common word costs one block, a
rare one a short look at each, and two common words that never meet cost their leaps. No plan is
left to estimates: the settings and the shape of the statements allow just one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    bindparam,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, array

from core.model import SearchQuery
from db.search.conditions import dates
from db.search.page_cursors import PageCursor
from db.search.terms import Term, block
from db.table.models import ArchivedFile as File
from db.table.models import UtcDateTime

FIRST_ROWS = 3_000
"""Newest rows that are scanned before the index is asked: common words fill a page with them."""

_OVERLAPPING = 2
"""Blocks whose times may overlap, because rows of a batch are stored in another order."""

Column: TypeAlias = Any
"""A column or an expression, of the table or of a subquery."""
Statement: TypeAlias = Any

_TERMS: Column = func.himuro_terms(
    File.id, File.directory, File.search_key, File.request_id, File.requester, File.size
)
_BLOCKS = text("""
    SELECT number,
      (SELECT max("アーカイブ日時") FROM archive_list WHERE id >> 15 = number) AS newest,
      (SELECT min("アーカイブ日時") FROM archive_list WHERE id >> 15 = number) AS oldest
    FROM generate_series(
      (SELECT min(id) FROM archive_list) >> 15,
      (SELECT max(id) FROM archive_list) >> 15) AS number
""").columns(
    column("number", Integer), column("newest", UtcDateTime), column("oldest", UtcDateTime)
)


@dataclass(frozen=True, slots=True)
class Block:
    """A block and the times of its rows."""

    number: int
    newest: datetime
    oldest: datetime


@dataclass(frozen=True, slots=True)
class Asked:
    """A search in the terms of the database."""

    query: SearchQuery
    where: Sequence[ColumnElement[bool]]
    """Conditions of all hits, apart from the time."""
    groups: Sequence[Sequence[Term]]
    """Terms: every hit has at least one of each group (``db.search.terms.groups``)."""
    blocks: Sequence[Block]
    """Blocks with rows of the time that is asked for, in the order of the search by date."""
    strays: Sequence[Block]
    """Blocks whose times reach over several others: they are looked into beside each of these."""

    @property
    def all_blocks(self) -> Sequence[Block]:
        return [*self.strays, *self.blocks]


Hit = tuple[int, datetime]
"""Serial key and time of a row."""


def read_blocks(connection: Connection, query: SearchQuery) -> tuple[list[Block], list[Block]]:
    """Return the blocks with rows of the time that is asked for, in the order of the query, and
    apart from them those whose times reach over several others: rows that were stored long
    after the time they carry."""
    found = (Block(*row) for row in connection.execute(_BLOCKS) if row.newest is not None)
    since, until = query.since, query.until
    within = [
        each
        for each in found
        if (since is None or each.newest >= since) and (until is None or each.oldest < until)
    ]
    if query.descending:
        within.sort(key=lambda each: each.newest, reverse=True)
    else:
        within.sort(key=lambda each: each.oldest)
    blocks: list[Block] = []
    strays: list[Block] = []
    for place, each in enumerate(within):
        beyond = within[min(place + _OVERLAPPING, len(within) - 1)]
        wide = each.oldest < beyond.newest and each.newest > beyond.oldest
        (strays if wide and beyond is not each else blocks).append(each)
    return blocks, strays


def newest(
    connection: Connection, asked: Asked, after: PageCursor | None, skip: int, limit: int
) -> list[Hit]:
    """Return hits in the order of time, ``skip`` of them left out, at most ``limit``."""
    if not asked.where:
        return _execute(connection, _in_order(asked, after).offset(skip).limit(limit))
    most = skip + limit
    if most <= FIRST_ROWS:
        first = _among_first(connection, asked, after, most)
        if len(first) == most:
            return first[skip:]
    elif skip:
        after = _jump(connection, asked, after, skip)
        return _along_blocks(connection, asked, after, limit) if after else []
    return _along_blocks(connection, asked, after, most)[skip:]


def count(connection: Connection, asked: Asked, within: Sequence[Block], most: int) -> int:
    """Return the number of hits in some blocks, of all when nothing but time is asked for;
    ``most`` when there are so many or more."""
    if asked.where:
        numbers = _numbers([each.number for each in within])
        found = _found(asked, numbers)
        rows: Statement = (
            select(literal_column("1"))
            .select_from(numbers.join(found, true()))
            .where(*dates(asked.query, found.c.archived_at))
        )
    else:
        rows = select(literal_column("1")).select_from(File).where(*dates(asked.query))
    statement = select(func.count()).select_from(rows.limit(most).subquery())
    return connection.execute(statement).scalar_one()


def in_order_of(
    connection: Connection,
    asked: Asked,
    keys: Sequence[Column],
    skip: int,
    limit: int,
) -> list[int]:
    """Return the serial keys of hits sorted by ``keys``."""
    statement = all_in_order_of(asked, keys).offset(skip).limit(limit)
    return list(connection.execute(statement).scalars())


def all_in_order_of(asked: Asked, keys: Sequence[Column]) -> Statement:
    """Return the statement for the serial keys of all hits, sorted by ``keys``."""
    if not asked.where:
        return select(File.id).where(*dates(asked.query)).order_by(*_sorted(asked, *keys))
    numbers = _numbers([each.number for each in asked.all_blocks])
    named = [key.label(f"key{place}") for place, key in enumerate(keys)]
    found = _found(asked, numbers, named)
    columns = [found.c[key.name] for key in named]
    return (
        select(found.c.id)
        .select_from(numbers.join(found, true()))
        .where(*dates(asked.query, found.c.archived_at))
        .order_by(*_sorted(asked, *columns))
    )


def _along_blocks(
    connection: Connection, asked: Asked, after: PageCursor | None, most: int
) -> list[Hit]:
    """Return the first ``most`` hits, looking into one block after the other."""
    strays = _reached(asked, asked.strays, after)
    blocks = _reached(asked, asked.blocks, after)
    statement = _best_of_each(asked, after, blocks, most).limit(most)
    rows = connection.execute(statement).all()
    hits = [(row.id, row.archived_at) for row in rows]
    left = strays
    if len(hits) == most:
        # What was not looked at to its end may hold better hits: serial keys and times need not
        # run side by side, and within a batch of rows they do not.
        bound = _best_first(asked, hits)[-1][1]
        left = [b for b in [*strays, *blocks[rows[-1].place - 1 :]] if _may_beat(asked, b, bound)]
        if left == [blocks[rows[-1].place - 1]] and hits[-1] == _best_first(asked, hits)[-1]:
            return hits
    if left:
        best = _best_of_each(asked, after, left, most).subquery("best")
        order = _sorted(asked, best.c.archived_at, best.c.id)
        merged = select(best.c.id, best.c.archived_at).order_by(*order).limit(most)
        hits = list({*hits, *_execute(connection, merged)})
    return _best_first(asked, hits)[:most]


def _best_first(asked: Asked, hits: Iterable[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: (hit[1], hit[0]), reverse=asked.query.descending)


def _jump(
    connection: Connection, asked: Asked, after: PageCursor | None, skip: int
) -> PageCursor | None:
    """Return the last of ``skip`` hits; None when there are not so many.

    They are counted block by block. Where the times of two blocks overlap, which they do by
    the seconds in which a batch of rows was stored, that may be a row or two beside the hit
    that sorting all of them would find.
    """
    statement = _best_of_each(asked, after, _reached(asked, asked.blocks, after), None)
    found = connection.execute(statement.offset(skip - 1).limit(1)).first()
    return PageCursor(found.archived_at, found.id) if found else None


def _best_of_each(
    asked: Asked, after: PageCursor | None, blocks: Sequence[Block], most: int | None
) -> Statement:
    """Return hits block by block, at most ``most`` of each."""
    numbers = _numbers([each.number for each in blocks])
    found = _found(asked, numbers)
    best = (
        select(found.c.id, found.c.archived_at)
        .where(*_times(asked, after, found.c.archived_at, found.c.id))
        .order_by(*_sorted(asked, found.c.archived_at, found.c.id))
        .limit(most)
        .lateral("best")
    )
    return (
        select(best.c.id, best.c.archived_at, numbers.c.place)
        .select_from(numbers.join(best, true()))
        .order_by(numbers.c.place, *_sorted(asked, best.c.archived_at, best.c.id))
    )


def _reached(asked: Asked, blocks: Sequence[Block], after: PageCursor | None) -> list[Block]:
    """Return the blocks that may hold rows after a position."""
    if after is None:
        return list(blocks)
    if asked.query.descending:
        return [each for each in blocks if each.oldest <= after.archived_at]
    return [each for each in blocks if each.newest >= after.archived_at]


def _may_beat(asked: Asked, each: Block, bound: datetime) -> bool:
    """Return whether a block may hold a row that comes before a moment, or in it."""
    return each.newest >= bound if asked.query.descending else each.oldest <= bound


def _among_first(
    connection: Connection, asked: Asked, after: PageCursor | None, most: int
) -> list[Hit]:
    """Return the first hits among the first rows."""
    end = _execute(connection, _in_order(asked, after).offset(FIRST_ROWS - 1).limit(1))
    statement = _in_order(asked, after).where(*asked.where).limit(most)
    if end:
        place = _place(File.archived_at, File.id)
        last = _place(literal(end[0][1], UtcDateTime), literal(end[0][0]))
        statement = statement.where(place >= last if asked.query.descending else place <= last)
    return _execute(connection, statement)


def _in_order(asked: Asked, after: PageCursor | None) -> Statement:
    """Return the rows of the time that is asked for, in the order of time."""
    return (
        select(File.id, File.archived_at)
        .where(*_times(asked, after, File.archived_at, File.id))
        .order_by(*_sorted(asked, File.archived_at, File.id))
    )


def _execute(connection: Connection, statement: Statement) -> list[Hit]:
    return [(row[0], row[1]) for row in connection.execute(statement)]


def _times(
    asked: Asked, after: PageCursor | None, at: Column, key: Column
) -> list[ColumnElement[bool]]:
    found = dates(asked.query, at)
    if after:
        last = _place(literal(after.archived_at, UtcDateTime), literal(after.id))
        place = _place(at, key)
        found.append(place < last if asked.query.descending else place > last)
    return found


def _place(at: Column, key: Column) -> Column:
    return func.row(at, key)


def _sorted(asked: Asked, *columns: Column) -> list[Column]:
    return [each.desc() if asked.query.descending else each.asc() for each in columns]


def _numbers(blocks: Sequence[int]) -> FromClause:
    """Return the blocks as a table in their order: ``number`` and ``place`` from 1."""
    listed = (
        func.unnest(cast(bindparam("blocks", list(blocks), unique=True), ARRAY(Integer)))
        .table_valued(column("number", Integer), with_ordinality="place")
        .render_derived()
    )
    ordered = select(listed.c.number, listed.c.place).order_by(listed.c.place)
    return ordered.subquery("blocks")


def _found(asked: Asked, numbers: FromClause, more: Sequence[Column] = ()) -> FromClause:
    """Return the hits of one block, whatever their time.

    OFFSET 0 keeps the time out of here: an index on it would be combined with the one of
    terms, and read for all years.
    """
    of_block = literal(block(0)).op("|")(numbers.c.number)
    return (
        select(File.id, File.archived_at, *more)
        .where(_has_any([of_block]), *_has(asked.groups), *asked.where)
        .offset(0)
        .correlate(numbers)
        .lateral("found")
    )


def _has(groups: Sequence[Sequence[Term]]) -> list[ColumnElement[bool]]:
    """Return a condition for each group. In one condition the index would look at all rows
    of the rarest term and ask for the others; with one each it leaps."""
    return [_has_any(group) for group in groups]


def _has_any(group: Sequence[Term]) -> ColumnElement[bool]:
    values = cast(array(list(group)), ARRAY(BigInteger))
    condition: ColumnElement[bool] = _TERMS.op(
        "@>" if len(group) == 1 else "&&", is_comparison=True
    )(values)
    return condition
