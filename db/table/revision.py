"""Which schema this program needs. Apart from ``db.schema``, so that no command but ``init-db``
waits for Alembic to be imported.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from core.errors import Code, FatalError

HEAD = "0002"
"""The newest revision. A constant, so that asking for it does not load the migrations."""
NEW_DATABASE = "CREATE DATABASE 名前 TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
"""Works on every server, whatever its own encoding and locale."""


def require_utf8(connection: Connection) -> None:
    """Raise ``FatalError(DATABASE_SCHEMA)`` unless the database takes every Japanese path.

    SQLite always does. An encoding cannot be changed, so init-db would not help either.
    """
    if connection.dialect.name == "sqlite":
        return
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise FatalError(
            Code.DATABASE_SCHEMA,
            f"データベースの文字コードが UTF8 ではなく {encoding} で、日本語のパスを扱えません。"
            f"先に、{NEW_DATABASE} で作ったデータベースを HIMURO_DATABASE_URL に指定してください",
        )


def require_current(connection: Connection) -> None:
    """Raise ``FatalError(DATABASE_SCHEMA)`` unless the schema is the one of this program.

    A database without any schema raises the driver's own error, which ``translated`` knows.
    """
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    if found != [HEAD]:
        raise FatalError(Code.DATABASE_SCHEMA, versions(found))


def versions(found: object) -> str:
    """Return the versions that were found and the one that is needed, for an operator."""
    names = "、".join(found) if isinstance(found, list) and found else "なし"
    return f"データベースの版 {names}、必要な版 {HEAD}"
