"""Fixtures that several test modules share: a database of either kind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from playwright.sync_api import Browser

from db import SqlCatalogue, open_catalogue
from db.schema import upgrade
from tests.browser import chromium
from tests.postgres import PostgresServer, postgres_server

pytest_plugins = ["tests.plugin_s3"]

# A busy machine is no failure.
hypothesis.settings.register_profile("himuro", deadline=None, print_blob=True)
hypothesis.settings.load_profile("himuro")


@pytest.fixture(autouse=True)
def patient_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no count of hits be given up because the machine is busy with something else."""
    for name, value in (("COUNT_SECONDS", 60), ("SORT_SECONDS", 60), ("PIECE_MS", 60_000)):
        monkeypatch.setattr(f"db.search.indexed.{name}", value)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A running Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL server. Who stops it uses ``breakable_postgres``."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def breakable_postgres(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The server for a test that stops or kills it; it runs again afterwards."""
    yield postgres
    postgres.start()


@pytest.fixture(scope="session")
def migrated_postgres_url(postgres: PostgresServer) -> str:
    """One database with the current schema, which tests empty instead of making their own."""
    url = postgres.url(postgres.create())
    upgrade(url)
    return url


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the current schema, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "catalogue.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Runs a test once for each kind of database."""
    return str(request.param)


@pytest.fixture
def empty_database_url(
    database_kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The URL of a database without any schema; on SQLite the file is not there either."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'new' / 'empty.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def database_url(database_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The URL of a database with the current schema and an empty archive list."""
    if database_kind == "sqlite":
        path = tmp_path / "catalogue.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite_file"), path)
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("migrated_postgres_url")
    server: PostgresServer = request.getfixturevalue("postgres")
    server.execute("TRUNCATE archive_list RESTART IDENTITY", url.rpartition("/")[2].split("?")[0])
    return url


@pytest.fixture
def catalogue(database_url: str) -> Iterator[SqlCatalogue]:
    """An empty archive list, once in each kind of database."""
    opened = open_catalogue(database_url)
    yield opened
    opened.close()
