"""The archive list in a database. Knows ``core.model`` and ``core.errors``, never the pages."""

from __future__ import annotations

from db.catalogue import SqlCatalogue
from db.engine import make_engine
from db.patience import Patience

__all__ = ["SqlCatalogue", "open_catalogue"]


def open_catalogue(url: str) -> SqlCatalogue:
    """Return the archive list at a SQLAlchemy URL; nothing is connected to yet.

    Raises ``SettingsError`` when the URL cannot be used at all.
    """
    patience = Patience()
    return SqlCatalogue(make_engine(url, patience=patience), patience)
