"""Ten years of an archive list in a PostgreSQL of its own, and the console before it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from alembic import command
from psycopg2 import extensions
from sqlalchemy import make_url

from core.model import Entry
from db.connection.engine import make_engine, writing
from db.schema import alembic_config, upgrade
from db.table.columns import NAMES
from tests.bench.archive_list.rows import archived
from tests.bench.measure import BenchError
from tests.bench.report import note
from tests.support.environment import free_port
from tests.support.servers.postgres import PostgresServer, postgres_server
from tests.support.servers.processes import Console, console

ROWS = int(os.environ.get("HIMURO_BENCH_ROWS", "2400000"))
_SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
"""What a server of this size is given at least; the rest is as PostgreSQL comes."""


@dataclass(frozen=True, slots=True)
class BigList:
    """An archive list with ``ROWS`` rows, up to date."""

    server: PostgresServer
    url: str

    @property
    def database(self) -> str:
        return make_url(self.url).database or ""


@contextmanager
def big_list() -> Iterator[BigList]:
    """Build the list, which takes minutes, and keep it until the block ends."""
    with postgres_server(_SETTINGS, _with_trigrams()) as server:
        big = BigList(server, server.url(server.create()))
        _fill(big.url)
        begin = time.perf_counter()
        upgrade(big.url)
        note(f"upgrade of {ROWS:,} rows: {time.perf_counter() - begin:.0f} s")
        server.execute("VACUUM ANALYZE archive_list", big.database)
        yield big


@contextmanager
def console_before(url: str, directory: Path) -> Iterator[Console]:
    """Run the console with this archive list, a data directory of its own, and no S3."""
    data = directory / "data"
    data.mkdir(exist_ok=True)
    env = {
        "HIMURO_DATABASE_URL": url,
        "HIMURO_DATA_DIR": str(data),
        "HIMURO_BUCKET": "himuro-bench",
        "HIMURO_SHARES": f"\\\\fsx01\\share={directory}",
        # Some of these visitors search without a pause, faster than anybody clicks.
        "HIMURO_MESSAGES_PER_SECOND": "1000",
    }
    log = directory / "console.log"
    with console(env, free_port(), log=log, cwd=directory) as running:
        yield running
    text = log.read_text("utf-8", "replace")
    if "Traceback" in text:
        raise BenchError(f"the console failed:\n{text[text.index('Traceback') :][:5000]}")


def _with_trigrams() -> Path | None:
    """Return the programs of a Debian PostgreSQL that comes with pg_trgm; None: there is none."""
    found = sorted(Path("/usr/share/postgresql").glob("*/extension/pg_trgm.control"))
    if not found:
        return None
    return Path("/usr/lib/postgresql") / found[-1].parent.parent.name / "bin"


def _fill(url: str) -> None:
    """Load the rows into the first schema, which ``upgrade`` then brings up to date."""
    engine = make_engine(url, migrating=True)
    with writing(engine).begin() as connection:
        command.upgrade(alembic_config(connection), "0001")
        names = ", ".join(f'"{name}"' for name in NAMES.values())
        begin = time.perf_counter()
        psycopg2: Any = connection.connection
        # COPY cannot be waited for in the way that the console waits
        # (db/connection/patient_connection.py).
        patience = extensions.get_wait_callback()
        extensions.set_wait_callback(None)
        with psycopg2.cursor() as cursor:
            lines = _Lines(map(_line, archived(ROWS)))
            cursor.copy_expert(f"COPY archive_list ({names}) FROM STDIN", lines, 1 << 20)
        extensions.set_wait_callback(patience)
        note(f"{ROWS:,} rows loaded: {time.perf_counter() - begin:.0f} s")
    engine.dispose()


class _Lines:
    """Lines as a file for COPY."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (more := b"".join(islice(self._lines, 2000))):
            self._rest += more
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _line(entry: Entry) -> bytes:
    values = (getattr(entry, name) for name in NAMES)
    return ("\t".join(map(_cell, values)) + "\n").encode()


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value).replace("\\", "\\\\") or "\\N"
