"""URL → engine: how Himuro talks to SQLite and to PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, InvalidatePoolError

from core.config.database_url import WRONG_SQLITE, read_url
from core.errors import Code, FatalError, SettingsError
from core.files.private_file import create_private
from db.connection.errors import connected
from db.connection.patience import STATEMENT_SECONDS, Patience

LOCK_WAIT_SECONDS = 30
"""How long a writer waits for another one."""
_POOL = {"pool_size": 5, "max_overflow": 15, "pool_timeout": 10}
_WRITES = "himuro_writes"


def make_engine(url: str, *, migrating: bool = False, patience: Patience | None = None) -> Engine:
    """Return an engine that has not connected yet.

    ``migrating`` allows it to create an SQLite file and lets statements take their time.
    ``patience``: how long it waits for a server; None: as usual.
    Raises ``SettingsError`` for a URL that names no database; the URL is not in it.
    """
    try:
        parsed = make_url(str(read_url(url)))
    except ArgumentError:  # an sqlite URL with too few slashes
        # Without the cause, which quotes it.
        raise SettingsError([WRONG_SQLITE]) from None
    except ValueError as exc:
        raise SettingsError([str(exc)]) from None
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, create=migrating)
    if migrating:
        return _postgresql(parsed, Patience(answer=threading.TIMEOUT_MAX), unlimited=True)
    return _postgresql(parsed, patience or Patience(), unlimited=False)


def writing(engine: Engine) -> Engine:
    """Return the same engine for transactions that write.

    On SQLite they ask for the write lock at their beginning: one that has read before it
    writes is refused at once, without the wait, when another wrote in between.
    """
    return engine.execution_options(**{_WRITES: True})


def snapshot(engine: Engine) -> Engine:
    """Return the same engine for transactions whose statements all see the same moment.

    On SQLite every transaction is one.
    """
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ")


def sqlite_file(url: URL) -> Path:
    """Return where an SQLite database lies, absolute."""
    name = url.database or ""
    if not name or name == ":memory:" or url.query:
        raise SettingsError([WRONG_SQLITE])
    return Path(name).absolute()


def identity(path: Path) -> str | None:
    """Return which file lies at a path now; None when none does."""
    try:
        status = path.stat()
    except OSError:
        return None
    return f"{status.st_dev}:{status.st_ino}"


class _Connection(sqlite3.Connection):
    """A connection that knows which file it has open."""

    file: str | None = None


def _sqlite(url: URL, *, create: bool) -> Engine:
    path = sqlite_file(url)
    opened = False

    def connect() -> sqlite3.Connection:
        return connected(opened_file)

    def opened_file() -> sqlite3.Connection:
        """Open the file; one that init-db never made is not made here either."""
        nonlocal opened
        if not create and not path.exists():
            if opened:
                raise FatalError(Code.DATABASE_UNAVAILABLE, f"ファイルがありません: {path}")
            raise FatalError(Code.DATABASE_SCHEMA)
        if create and not path.exists():
            # SQLite would let others read it, and its log as well, which has the same mode.
            with suppress(FileExistsError):
                create_private(path).close()
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode={'rwc' if create else 'rw'}",
            uri=True,
            timeout=LOCK_WAIT_SECONDS,
            check_same_thread=False,
            isolation_level=None,  # BEGIN comes from _begin alone
            factory=_Connection,
        )
        connection.file = identity(path)
        opened = True
        try:
            # WAL syncs at checkpoints only, unless told: a committed row survives a power cut.
            connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    engine = create_engine(url.set(drivername="sqlite+pysqlite"), creator=connect, **_POOL)
    event.listen(engine, "begin", _begin)

    def checkout(connection: _Connection, *_pooled: object) -> None:
        """Let no connection be used whose file is not the one at the path any more: what it
        stores nobody would find."""
        if connection.file != identity(path):
            raise InvalidatePoolError

    event.listen(engine, "checkout", checkout)
    return engine


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgresql(url: URL, patience: Patience, *, unlimited: bool) -> Engine:
    """Return an engine that notices a dead server instead of waiting for it.

    Keepalives and ``tcp_user_timeout`` end a connection whose other side vanished within half
    a minute, ``patience`` one whose other side is there and silent. What the URL itself says
    wins.
    """
    # Imported where it is needed: a driver takes time to load.
    from db.connection.patient_connection import connection_type, ping_soon  # noqa: PLC0415

    seconds = 0 if unlimited else STATEMENT_SECONDS
    options = {
        "statement_timeout": f"{seconds}s",
        "lock_timeout": f"{0 if unlimited else LOCK_WAIT_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{seconds}s",
        "synchronous_commit": "on",
        # Years near 9999 leave Python's calendar in zones east of Greenwich.
        "timezone": "UTC",
    }
    given = url.query.get("options", "")
    flags = [f"-c {name}={value}" for name, value in options.items()]
    flags += [given] if isinstance(given, str) else list(given)
    defaults: dict[str, int | str] = {
        "application_name": "himuro",
        "client_encoding": "utf8",
        "keepalives": 1,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 25_000,
    }
    arguments = {name: value for name, value in defaults.items() if name not in url.query}
    within = _connect_seconds(str(url.query.get("connect_timeout", "")))
    engine = create_engine(
        url.set(drivername="postgresql+psycopg2"),
        connect_args={
            **arguments,
            "options": " ".join(flags).strip(),
            "connection_factory": connection_type(patience, within),
        },
        pool_pre_ping=True,
        **_POOL,
    )
    ping_soon(engine, patience)
    event.listen(engine, "do_connect", _connect)
    return engine


def _connect(dialect: Any, _record: object, given: Any, options: Any) -> Any:
    """Make a connection as SQLAlchemy does."""
    return connected(lambda: dialect.connect(*given, **options))


def _connect_seconds(given: str) -> float | None:
    """Return how long a URL lets the making of a connection take, as libpq reads it; None: it
    does not say. Raises ``SettingsError`` for what is no number: libpq looks at it only when it
    waits itself."""
    if not given:
        return None
    try:
        seconds = int(given)
    except ValueError:
        why = "connect_timeout は秒数で書いてください"
        raise SettingsError([f"HIMURO_DATABASE_URL に誤りがあります（{why}）"]) from None
    return float(max(2, seconds)) if seconds > 0 else threading.TIMEOUT_MAX
