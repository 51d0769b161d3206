"""Database errors → what an operator can do about them. One table for each database.

The drivers' own words never reach the operator: they may quote the connection string.
They stay in ``__cause__`` for whoever reads a traceback.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy.exc import (
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from core.errors import Code, FatalError
from core.resources.shortage import descriptors_missing, patiently, unexpected
from db.table.revision import NEW_DATABASE

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

_NAMES = re.compile('"[^"]*"')
_SQLSTATE_SCHEMA = ("42P01", "42703", "42P07", "3F000")

_WHO = "ユーザー名またはパスワードが正しくありません"
_URL = "HIMURO_DATABASE_URL に誤りがあります"
_FULL = "接続数が上限に達しています"
_ENDED = "接続が切れました"
_STARTING = "データベースが起動中です。しばらく待ってからやり直してください"
_ENCODING = f"データベースの文字コードが UTF8 ではありません。{NEW_DATABASE} で作り直してください"
_KEYS = "sslcert、sslkey の指定と、そのファイルのアクセス権（600）を確認してください"

_CONNECTING = (
    # The URL, as libpq reads it.
    ("connection option", _URL),
    ("invalid dsn", _URL),
    ("invalid port", _URL),
    ("invalid integer value", _URL),
    ("value:", _URL),
    ("is too long (maximum", "ソケットのフォルダーのパスが長すぎます"),
    # Somebody in between.
    (
        "unsupported startup parameter",
        "PgBouncer などの中継が、接続時の設定（options）を受け付けません。"
        "中継を通さず、PostgreSQLのポートに直接つないでください",
    ),
    ("unrecognized configuration parameter", f"{_URL}。options の設定名を確認してください"),
    ("invalid value for parameter", f"{_URL}。options の値を確認してください"),
    # TLS
    ("weak sslmode", "sslrootcert=system には sslmode=verify-full を指定してください"),
    (
        "server does not support ssl",
        "サーバーがTLSに対応していません。サーバーのTLSを有効にするか、同じマシンの中でつなぐなら"
        " HIMURO_DATABASE_URL の sslmode を外してください",
    ),
    (
        "does not match host name",
        "サーバーの証明書が別のサーバー名のものです。証明書にある名前を HIMURO_DATABASE_URL に"
        "書いてください",
    ),
    (
        "certificate verify failed",
        "サーバーの証明書を信頼できません。発行した認証局の証明書を sslrootcert に指定し、"
        "有効期限とこのマシンの時計を確認してください",
    ),
    (
        "root certificate file",
        "認証局の証明書のファイルを読み取れません。sslrootcert に指定してください",
    ),
    ("valid client certificate", f"サーバーがクライアント証明書を求めています。{_KEYS}"),
    ("alert unknown ca", f"サーバーがクライアント証明書を信頼しません。{_KEYS}"),
    ("alert certificate", f"サーバーがクライアント証明書を信頼しません。{_KEYS}"),
    ("private key file", f"クライアント証明書の鍵を読み取れません。{_KEYS}"),
    ("could not read certificate file", f"クライアント証明書を読み取れません。{_KEYS}"),
    (
        "channel binding",
        "サーバーがチャネルバインディング（TLSの上のSCRAM）に応じません。"
        "channel_binding の指定を外すか、サーバーのTLSを有効にしてください",
    ),
    (
        "unsupported protocol",
        "サーバーのTLSの版が合いません。ssl_min_protocol_version を確認してください",
    ),
    (
        "wrong version number",
        "相手がTLSで答えません。サーバー名とポート番号を確認してください",
    ),
    ("response to ssl negotiation", "相手がPostgreSQLではありません。ポート番号を確認してください"),
    (
        "expected authentication request",
        "相手がPostgreSQLではありません。ポート番号を確認してください",
    ),
    ("ssl error", "TLSの接続に失敗しました。sslmode とサーバーのTLSの設定を確認してください"),
    ("gssapi", "GSSAPI（Kerberos）で認証できません。gssencmode と資格情報を確認してください"),
    # Who connects
    (
        "no password supplied",
        "パスワードが指定されていません。HIMURO_DATABASE_URL に書いてください"
        "（パスワードファイルなら、アクセス権が600のものだけが使われます）",
    ),
    ("password authentication failed", _WHO),
    ("のパスワード認証に失敗", _WHO),
    ("authentication method requirement", f"{_URL}。require_auth を確認してください"),
    (
        "scram authentication requires",
        "サーバーの認証方式（SCRAM）に対応していません。psycopg2-binary を新しくしてください",
    ),
    (
        "authentication method",
        "サーバーの認証方式に対応していません。pg_hba.conf を scram-sha-256 にしてください",
    ),
    (
        "peer authentication failed",
        "OSのユーザー名がデータベースのユーザー名と違います（peer認証）。"
        "サーバー名に 127.0.0.1 を書いてパスワードでつないでください",
    ),
    ("ident authentication failed", "この接続元のユーザーを確認できません（ident認証）"),
    ("authentication failed", _WHO),
    ("認証に失敗", _WHO),
    (
        "pg_hba.conf",
        "この接続元からの接続が許可されていません。サーバーの pg_hba.conf を確認してください",
    ),
    (
        "not permitted to log in",
        "このユーザーはログインを許可されていません（ALTER ROLE … LOGIN）",
    ),
    ("ログインが許可", "このユーザーはログインを許可されていません（ALTER ROLE … LOGIN）"),
    (
        "permission denied for database",
        "このデータベースへの接続が許可されていません（GRANT CONNECT）",
    ),
    ("へのアクセスが拒否", "このデータベースへの接続が許可されていません（GRANT CONNECT）"),
    # Which database
    ("database does not exist", "指定されたデータベースがありません"),
    ("no such database", "指定されたデータベースがありません"),
    ("データベースは存在しません", "指定されたデータベースがありません"),
    ("role does not exist", _WHO),
    ("no such user", _WHO),
    ("ロールは存在しません", _WHO),
    ("conversion between", _ENCODING),
    ("not currently accepting connections", "このデータベースは接続を受け付けない設定です"),
    # How many
    ("too many clients", _FULL),
    ("クライアント数が多すぎます", _FULL),
    ("too many connections", _FULL),
    ("接続が多すぎます", _FULL),
    ("connection slots are reserved", _FULL),
    ("予約されています", _FULL),
    ("no more connections allowed", _FULL),
    ("query_wait_timeout", _FULL),
    # When
    ("starting up", _STARTING),
    ("起動処理中", _STARTING),
    ("recovery mode", _STARTING),
    ("リカバリモード", _STARTING),
    ("not yet accepting connections", _STARTING),
    ("まだ接続を受け付けて", _STARTING),
    ("not accepting connections", _STARTING),
    ("shutting down", "データベースが停止中です"),
    ("シャットダウン", "データベースが停止中です"),
    ("session is read-only", "読み取り専用になっています"),
    ("session is not read-only", _URL),
    ("standby mode", _URL),
    ("out of memory", "データベースのサーバーのメモリーが足りません"),
    ("could not fork", "データベースのサーバーのメモリーまたはプロセス数が足りません"),
    # The way there; the last ones, as of several addresses each may have failed in its own way.
    ("temporary failure in name resolution", "サーバー名を調べられません。DNSを確認してください"),
    ("translate host name", "サーバー名が見つかりません"),
    (
        "no route to host",
        "サーバーまでの経路がありません。ネットワークとファイアウォールを確認してください",
    ),
    ("network is unreachable", "サーバーまでの経路がありません。ネットワークを確認してください"),
    ("timeout expired", "時間内に応答がありません"),
    ("timed out", "時間内に応答がありません"),
    (
        "server closed the connection unexpectedly",
        "つないだ直後に切られました。サーバーのログを確認してください",
    ),
    ("reset by peer", "つないだ直後に切られました。サーバーのログを確認してください"),
    ("eof detected", "つないだ直後に切られました。サーバーのログを確認してください"),
    ("permission denied", "データベースのソケットに接続する権限がありません"),
    ("refused", "データベースが起動していません"),
    ("no such file", "データベースが起動していません"),
)
"""libpq gives no SQLSTATE for a connection that was never made, only words: its own, always in
English, and the server's, in English or Japanese (``lc_messages``). Without what stands in
quotation marks, which is names; the first that is found counts."""


_SHORT = {
    "too many open files in system": errno.ENFILE,
    "too many open files": errno.EMFILE,
    "cannot allocate memory": errno.ENOMEM,
}
"""What libpq says when this machine, not the server, could not open or have something."""
_SQLITE_NO_MEMORY, _SQLITE_CANNOT_OPEN = 7, 14
_SQLITE_DISK = 10

C = TypeVar("C")


def connected(connect: Callable[[], C]) -> C:
    """Return what ``connect`` does, a new connection of a driver; while this machine is too short
    to make one, that is tried again. Raises ``FatalError(MACHINE_SHORT)`` and what it raises."""

    def attempt() -> C:
        try:
            return connect()
        except Exception as exc:
            if short := _shortage(exc):
                raise short from exc
            raise

    return patiently(attempt)


def _shortage(exc: BaseException | None) -> OSError | None:
    """Return what this machine was short of when a driver raised ``exc``; None: nothing."""
    result = getattr(exc, "sqlite_errorcode", None)
    if result is not None:
        primary = result & 0xFF
        if primary == _SQLITE_NO_MEMORY:
            return OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        # SQLite does not say why it could not open a file, or the one of its log.
        return descriptors_missing() if primary in (_SQLITE_CANNOT_OPEN, _SQLITE_DISK) else None
    if exc is None or getattr(exc, "pgcode", "") is not None:
        return None
    words = " ".join(_NAMES.sub("", str(exc)).lower().split())
    number = next((number for theirs, number in _SHORT.items() if theirs in words), None)
    if number is not None:
        return OSError(number, os.strerror(number))
    # A name that cannot be looked up, a certificate that cannot be read.
    return descriptors_missing()


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
        return FatalError(Code.DATABASE_UNAVAILABLE, _FULL)
    if isinstance(exc, DisconnectionError):
        return FatalError(Code.DATABASE_UNAVAILABLE, _ENDED)
    if not isinstance(exc, DBAPIError):
        return None
    if short := _shortage(exc.orig):
        return unexpected(short)
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
    words = " ".join(_NAMES.sub("", str(exc.orig)).lower().split())
    # psycopg2 calls an option it does not know a mistake in the program.
    lost = isinstance(exc, OperationalError | InterfaceError) or words.startswith("invalid dsn")
    if not (exc.connection_invalidated or lost):
        return None
    otherwise = _ENDED if exc.statement else "原因はデータベースのログを確認してください"
    detail = next((ours for theirs, ours in _CONNECTING if theirs in words), otherwise)
    return FatalError(Code.DATABASE_UNAVAILABLE, detail)
