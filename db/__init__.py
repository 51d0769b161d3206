"""The archive list in a database, SQLite or PostgreSQL: the implementation of ``core/ports.py``.

Begin with ``catalogue.py``: every query on the archive list. ``schema.py`` creates and upgrades
the table; how hits are found is in ``db/search``.
"""

from __future__ import annotations

from db.catalogue import SqlCatalogue
from db.connection.engine import make_engine
from db.connection.patience import Patience

__all__ = ["SqlCatalogue", "open_catalogue"]


def open_catalogue(url: str) -> SqlCatalogue:
    """Return the archive list at a SQLAlchemy URL; nothing is connected to yet.

    Raises ``SettingsError`` when the URL cannot be used at all.
    """
    patience = Patience()
    return SqlCatalogue(make_engine(url, patience=patience), patience)
