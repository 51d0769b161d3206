"""Searching by looking at every row: right on any database, quick on a small one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from core.model import SearchPage, SearchQuery
from db.search.conditions import conditions, dates
from db.search.ordering import sort_keys
from db.table.columns import COLUMNS, entry
from db.table.models import ArchivedFile as File


class FullScan:
    """``SearchPage`` by a scan of the table, on SQLite."""

    def all_hits(self, connection: Connection, query: SearchQuery) -> Any:  # noqa: ARG002
        """Return the statement for the serial keys of all hits, in the order of the query."""
        where = [*conditions(query), *dates(query)]
        return select(File.id).where(*where).order_by(*_order(query))

    def search(
        self, connection: Connection, query: SearchQuery, page: int, per_page: int
    ) -> SearchPage:
        """Return one page of hits; ``page`` counts from 1."""
        where = [*conditions(query), *dates(query)]
        counted = select(func.count()).select_from(File).where(*where)
        total = connection.execute(counted).scalar_one()
        skipped = (page - 1) * per_page
        if skipped >= total:
            return SearchPage(total, ())
        statement = (
            select(*COLUMNS).where(*where).order_by(*_order(query)).limit(per_page).offset(skipped)
        )
        return SearchPage(total, tuple(map(entry, connection.execute(statement))))


def _order(query: SearchQuery) -> list[Any]:
    keys = sort_keys(query.order, on_sqlite=True)
    return [key.desc() if query.descending else key.asc() for key in keys]
