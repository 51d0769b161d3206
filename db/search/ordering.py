"""The order of hits in SQL, the same on both databases: by letter, whatever the collation."""

from __future__ import annotations

from typing import Any

from sqlalchemy import collate, func

from core.model import Order
from db.table.models import ArchivedFile as File


def sort_keys(order: Order, *, on_sqlite: bool) -> list[Any]:
    """Return what hits are sorted by, all of it in one direction; no two rows are equal in it."""
    path = File.search_key if on_sqlite else collate(File.search_key, "C")
    keys: dict[Order, tuple[Any, ...]] = {
        Order.DATE: (File.archived_at,),
        Order.PATH: (path,),
        Order.NAME: (_name(path, on_sqlite), path),
        Order.SIZE: (File.size, path),
    }
    return [*keys[order], File.id]


def _name(path: Any, on_sqlite: bool) -> Any:
    """Return what follows the last backslash."""
    if on_sqlite:
        letters = func.replace(path, "\\", "")
        return func.substr(path, func.length(func.rtrim(path, letters)) + 1)
    return collate(func.reverse(func.split_part(func.reverse(path), "\\", 1)), "C")
