"""Rows of the archive list for tests, each field in accordance with the others."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

from core.model import MARKER_SUFFIX, Entry, SearchQuery
from core.paths.normalization import object_key, search_key
from core.ports import Catalogue

DIRECTORY = r"\\fsx01\share\営業部"
WHEN = datetime(2026, 11, 23, 9, 30, 15, 123456, tzinfo=UTC)


def entry(
    name: str,
    directory: str = DIRECTORY,
    *,
    content: str = "",
    bucket: str = "bucket",
    **more: object,
) -> Entry:
    """Return the row of one file; ``more`` are fields of ``Entry``."""
    fields: dict[str, object] = {
        "directory": directory,
        "archived_name": name + MARKER_SUFFIX,
        "bucket": bucket,
        "key": object_key("", f"{directory}\\{name}"),
        "archived_at": WHEN,
        "request_id": "REQ-1",
        "requester": "山田 花子",
        "comment": "",
        "size": len(content.encode()),
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        "modified_at": datetime(2020, 2, 29, 23, 59, 59, 999999, tzinfo=UTC),
        "search_key": search_key(directory, name),
    }
    return Entry(**{**fields, **more})  # type: ignore[arg-type]


def stored(catalogue: Catalogue) -> list[Entry]:
    """Return every row, oldest first, without the serial key."""
    page = catalogue.search(SearchQuery(), per_page=1_000_000)
    assert page.total == len(page.entries)
    return [replace(row, id=0) for row in reversed(page.entries)]
