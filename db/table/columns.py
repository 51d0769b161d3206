"""Rows of the archive list as they are read."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from core.model import Entry
from db.table.models import ArchivedFile as File

COLUMNS = (
    File.id,
    File.directory,
    File.archived_name,
    File.bucket,
    File.key,
    File.archived_at,
    File.request_id,
    File.comment,
    File.requester,
    File.size,
    File.sha256,
    File.modified_at,
    File.search_key,
)


NAMES = {column.key: str(column.property.columns[0].name) for column in COLUMNS[1:]}
"""Attribute → column, without the serial key."""


def entry(row: Row[*tuple[Any, ...]]) -> Entry:
    """Return a row of ``COLUMNS`` as a value; NULL is empty."""
    values = dict(zip((column.key for column in COLUMNS), row, strict=True))
    for name in ("request_id", "comment", "requester"):
        values[name] = values[name] or ""
    return Entry(**values)
