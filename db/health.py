"""What a check-up asks the database: is it there, is it ours, may we work in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, func, make_url, select, text

from core.errors import Code, FatalError, sentence
from core.files.mounts import network_file_system
from core.health.findings import Finding, Status
from db.connection.engine import make_engine, sqlite_file
from db.connection.errors import translated
from db.table.models import ArchivedFile
from db.table.revision import HEAD, NEW_DATABASE, require_current

_STATEMENT_MS = 5000
_RIGHTS = """
SELECT has_table_privilege('archive_list', 'SELECT'),
       has_table_privilege('archive_list', 'INSERT')
       AND coalesce(has_sequence_privilege(pg_get_serial_sequence('archive_list', 'id'), 'USAGE'),
                    true),
       pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'
"""


class SqlHealth:
    """``DatabaseHealth`` on SQLite and PostgreSQL. It only reads, and locks nothing."""

    def __init__(self, url: str) -> None:
        self._url = url

    def examine(self) -> Iterator[Finding]:
        engine = make_engine(self._url)
        try:
            with translated(), engine.connect() as connection:
                if engine.dialect.name == "sqlite":
                    yield from _sqlite(connection, sqlite_file(make_url(self._url)))
                else:
                    yield from _postgresql(connection)
        finally:
            engine.dispose()


def _sqlite(connection: Connection, path: Path) -> Iterator[Finding]:
    version = connection.execute(text("SELECT sqlite_version()")).scalar_one()
    yield Finding("database", Status.OK, f"SQLite {version}（{path}）")
    ours = _schema(connection)
    yield ours
    if ours.status is Status.OK:
        yield _sqlite_rights(path)
    yield _sqlite_storage(connection, path)
    if ours.status is Status.OK:
        yield _rows(connection)


def _postgresql(connection: Connection) -> Iterator[Finding]:
    connection.execute(text(f"SET statement_timeout = {_STATEMENT_MS}"))
    version = connection.execute(text("SHOW server_version")).scalar_one()
    url = connection.engine.url
    yield Finding("database", Status.OK, f"PostgreSQL {version}（{url.database}）")
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding == "UTF8":
        yield Finding("database-encoding", Status.OK, "UTF-8です")
    else:
        yield Finding(
            "database-encoding",
            Status.FAILED,
            f"UTF-8ではなく {encoding} です。日本語のパスを保存できません",
            f"{NEW_DATABASE} で新しく作り、移し替えてください",
        )
    ours = _schema(connection)
    yield ours
    if ours.status is Status.OK:
        yield _postgresql_rights(connection)
        yield _rows(connection)


def _schema(connection: Connection) -> Finding:
    try:
        with translated():
            require_current(connection)
    except FatalError as exc:
        connection.rollback()
        what = sentence(exc.code, exc.detail)
        return Finding("database-schema", Status.FAILED, what, exc.code.remedy)
    return Finding("database-schema", Status.OK, f"版 {HEAD}（このプログラムの版です）")


def _postgresql_rights(connection: Connection) -> Finding:
    may_select, may_insert, read_only = connection.execute(text(_RIGHTS)).one()
    if read_only:
        what = "データベースが読み取り専用です"
        remedy = "書き込めるサーバー（プライマリー）を HIMURO_DATABASE_URL に指定してください"
        return Finding("database-rights", Status.FAILED, what, remedy)
    missing = [name for name, may in (("SELECT", may_select), ("INSERT", may_insert)) if not may]
    if missing:
        what = f"archive_list への {'・'.join(missing)} が許可されていません"
        remedy = "表とシーケンスの権限をこのロールに GRANT してください"
        return Finding("database-rights", Status.FAILED, what, remedy)
    return Finding("database-rights", Status.OK, "検索と登録ができます")


def _sqlite_rights(path: Path) -> Finding:
    """The directory counts as well: SQLite keeps its journal beside the file."""
    for place in (path, path.parent):
        if not os.access(place, os.W_OK):
            remedy = "ファイルとフォルダーの所有者とアクセス権を確認してください"
            what = f"書き込みが許可されていません: {place}"
            return Finding("database-rights", Status.FAILED, what, remedy)
    return Finding("database-rights", Status.OK, "検索と登録ができます")


def _sqlite_storage(connection: Connection, path: Path) -> Finding:
    network = network_file_system(path)
    if network:
        what = f"ネットワークファイルシステム（{network}）の上にあるため、壊れるおそれがあります"
        remedy = "HIMURO_DATA_DIR をローカルディスクに移すか、PostgreSQLを使ってください"
        return Finding("database-storage", Status.FAILED, what, remedy)
    mode = connection.execute(text("PRAGMA journal_mode")).scalar_one()
    if mode != "wal":
        what = f"ジャーナルがWALではなく {mode} です。検索と登録が互いを待たせます"
        remedy = "python -m core init-db を実行してください"
        return Finding("database-storage", Status.WARNING, what, remedy)
    return Finding("database-storage", Status.OK, "ローカルディスク、WALです")


def _rows(connection: Connection) -> Finding:
    try:
        with translated():
            rows = connection.execute(select(func.count()).select_from(ArchivedFile)).scalar_one()
    except FatalError as exc:
        if exc.code is not Code.DATABASE_UNAVAILABLE:
            raise
        what = f"数えられません（{exc.detail}）"
        remedy = "データベースの負荷とディスクを確認してください"
        return Finding("database-rows", Status.WARNING, what, remedy)
    return Finding("database-rows", Status.OK, f"{rows:,}行")
