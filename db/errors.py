"""Database errors → what an operator can do about them. One table for each database.

The drivers' own words never reach the operator: they may quote the connection string.
They stay in ``__cause__`` for whoever reads a traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import (
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from core.errors import Code, FatalError

_SQLITE = {
    5: "ほかの処理が長く使用しています",  # BUSY
    6: "ほかの処理が長く使用しています",  # LOCKED
    8: "データベースファイルに書き込めません",  # READONLY
    10: "データベースファイルの読み書きに失敗しました",  # IOERR
    11: "データベースファイルが壊れています",  # CORRUPT
    13: "ディスクの空き容量がありません",  # FULL
    14: "データベースファイルを開けません",  # CANTOPEN
    26: "データベースファイルではありません",  # NOTADB
}
"""SQLite's primary result codes."""

_SQLITE_SCHEMA = ("no such table", "no such column", "has no column named", "already exists")

_SQLSTATE = {
    "25006": "読み取り専用になっています",
    "28": "ユーザー名またはパスワードが正しくありません",
    "3D": "指定されたデータベースがありません",
    "42501": "権限がありません",
    "53100": "ディスクの空き容量がありません",
    "53300": "接続数が上限に達しています",
    "53": "データベースの資源が足りません",
    "55P03": "ほかの処理が長く使用しています",
    "57014": "時間内に応答がありません",
    "57P": "データベースが停止しました",
    "08": "接続が切れました",
    "58": "データベースの読み書きに失敗しました",
    "XX": "データベースの内部でエラーが発生しました",
    "40": "ほかの処理と競合しました",
}
"""PostgreSQL's SQLSTATE, or its first characters."""

_SQLSTATE_SCHEMA = ("42P01", "42703", "42P07", "3F000")

_CONNECTING = (
    ("connection option", "HIMURO_DATABASE_URL に誤りがあります"),
    ("password", "ユーザー名またはパスワードが正しくありません"),
    ("authentication", "ユーザー名またはパスワードが正しくありません"),
    ("pg_hba.conf", "この接続元からの接続が許可されていません"),
    ("timeout", "時間内に応答がありません"),
    ("translate host name", "サーバー名が見つかりません"),
    ("starting up", "データベースが起動中です"),
    ("shutting down", "データベースが停止中です"),
    ("too many clients", "接続数が上限に達しています"),
    ("too many open files", "このプログラムが開けるファイルの数の上限に達しました"),
    ("refused", "データベースが起動していません"),
    ("no such file", "データベースが起動していません"),
    ("does not exist", "指定されたデータベースまたはユーザーがありません"),
    ("invalid", "HIMURO_DATABASE_URL に誤りがあります"),
)
"""libpq gives no SQLSTATE for a connection that was never made, only English words."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise database errors as ``FatalError``; a mistake in a query stays what it is."""
    try:
        yield
    except SQLAlchemyError as exc:
        fatal = _fatal(exc)
        if fatal is None:
            raise
        raise fatal from exc


def _fatal(exc: SQLAlchemyError) -> FatalError | None:
    """Return the environment's failure; None when the program itself is at fault."""
    if isinstance(exc, PoolTimeoutError):
        return FatalError(Code.DATABASE_UNAVAILABLE, "接続数が上限に達しています")
    if isinstance(exc, DisconnectionError):
        return FatalError(Code.DATABASE_UNAVAILABLE, "接続が切れました")
    if not isinstance(exc, DBAPIError):
        return None
    result = getattr(exc.orig, "sqlite_errorcode", None)
    if result is not None:
        return _fatal_sqlite(exc, result & 0xFF)
    return _fatal_postgresql(exc, getattr(exc.orig, "pgcode", None) or "")


def _fatal_sqlite(exc: DBAPIError, result: int) -> FatalError | None:
    if any(words in str(exc.orig) for words in _SQLITE_SCHEMA):
        return FatalError(Code.DATABASE_SCHEMA)
    if result in _SQLITE:
        return FatalError(Code.DATABASE_UNAVAILABLE, _SQLITE[result])
    return None


def _fatal_postgresql(exc: DBAPIError, state: str) -> FatalError | None:
    if state in _SQLSTATE_SCHEMA:
        return FatalError(Code.DATABASE_SCHEMA)
    for length in (5, 3, 2):
        if state and state[:length] in _SQLSTATE:
            return FatalError(Code.DATABASE_UNAVAILABLE, _SQLSTATE[state[:length]])
    words = str(exc.orig).lower()
    # psycopg2 calls an option it does not know a mistake in the program.
    lost = isinstance(exc, OperationalError | InterfaceError) or words.startswith("invalid dsn")
    if not (exc.connection_invalidated or lost):
        return None
    detail = next((ours for theirs, ours in _CONNECTING if theirs in words), "接続が切れました")
    return FatalError(Code.DATABASE_UNAVAILABLE, detail)
