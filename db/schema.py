"""Creating and upgrading the schema (``init-db``), and recognising one that is current.

There are no downgrades: the archive list is kept for ever, and going back could only drop
what was archived since. A backup is the way back.
"""

from __future__ import annotations

import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, make_url, text

from core.errors import Code, FatalError
from core.files.private_file import make_private_directory
from db.connection.engine import LOCK_WAIT_SECONDS, make_engine, sqlite_file, writing
from db.connection.errors import translated
from db.table.revision import require_utf8, versions

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x48494D55
"""Himuro's advisory lock in PostgreSQL; any number that others do not use."""


def upgrade(url: str) -> None:
    """Create the database's schema or bring it up to date; a second call changes nothing.

    All of it is one transaction, and processes that do it at once wait for each other.
    Raises ``FatalError`` when the database does not answer (``DATABASE_UNAVAILABLE``) or
    belongs to a newer program (``DATABASE_SCHEMA``), ``SettingsError`` for a useless URL.
    """
    engine = make_engine(url, migrating=True)
    on_sqlite = engine.dialect.name == "sqlite"
    if on_sqlite:
        _make_directory(sqlite_file(make_url(url)).parent)
    try:
        with translated():
            with writing(engine).begin() as connection:
                require_utf8(connection)
                if not on_sqlite:
                    # Keeps other processes out until this transaction ends.
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
                _migrate(connection)
            if on_sqlite:
                _write_ahead(engine)
    finally:
        engine.dispose()


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration; no file and no working directory has a part in it."""
    config = Config()
    # A percent sign would be read as interpolation.
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _migrate(connection: Connection) -> None:
    config = alembic_config(connection)
    found: list[str] = []
    if inspect(connection).has_table("alembic_version"):
        rows = connection.execute(text("SELECT version_num FROM alembic_version"))
        found = list(rows.scalars())
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if not known.issuperset(found):
        raise FatalError(Code.DATABASE_SCHEMA, f"{versions(found)}。プログラムの方が古い版です")
    command.upgrade(config, "head")


def _make_directory(directory: Path) -> None:
    try:
        make_private_directory(directory)
    except OSError as exc:
        raise FatalError(Code.DATABASE_UNAVAILABLE, f"フォルダーを作れません: {directory}") from exc


def _write_ahead(engine: Engine) -> None:
    """Switch to WAL, which the file remembers: readers and the writer stop blocking each other.

    SQLite's own waiting does not cover this switch when two processes try it at once.
    """
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    connection = engine.raw_connection()
    try:
        while True:
            cursor = connection.cursor()
            try:
                cursor.execute("PRAGMA journal_mode = WAL")
                return
            except engine.dialect.loaded_dbapi.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            finally:
                cursor.close()
    finally:
        connection.close()
