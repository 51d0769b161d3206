"""Databases for tests of any folder, and the markers that say what else a test needs.

A server, a browser and what they import are loaded by the fixture that starts them: the tests of
``tests/paths`` and ``tests/lists`` need nothing but pytest and hypothesis.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from db import SqlCatalogue
    from tests.support.servers.postgres import PostgresServer

pytest_plugins = ["tests.support.s3_fixtures"]

# A busy machine is no failure.
hypothesis.settings.register_profile("himuro", deadline=None, print_blob=True)
hypothesis.settings.load_profile("himuro")

_SERVERS = "tests.support.servers"
_FIXTURES = {
    "browser": {"browser"},
    "postgres": {"postgres"},
    "server": {"s3_endpoint", "strict_endpoint"},
}
"""What a test is marked with that has one of these fixtures, by itself or through others."""
_FOLDERS = {"browser": ("browser", "server"), "console": ("server",)}
_LONG = (
    "browser/test_archive",
    "archive/test_crash",
    "browser/test_restore",
    "cli/test_restore",
    "browser/test_search",
    "deploy/test_demo",
    "browser/test_takeaway",
    "browser/test_oidc",
    "restore/test_unrequested",
    "console/test_hardening",
    "deploy/test_deployment",
    "browser/test_signin",
    "browser/test_folders",
    "browser/test_flood",
    "console/test_guard",
)
"""Modules that take longest, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with what it needs beside Python: by its folder, by its fixtures, and by
    the functions that its module imports from ``tests.support.servers``."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        wanted = {mark for mark, fixtures in _FIXTURES.items() if names & fixtures}
        wanted.update(_FOLDERS.get(item.path.parent.name, ()))
        if "postgresql" in getattr(getattr(item, "callspec", None), "params", {}).values():
            wanted.add("postgres")
        if isinstance(item, pytest.Function) and _starts_servers(item.module):
            wanted.add("server")
        for mark in sorted(wanted):
            item.add_marker(mark)
    items.sort(key=_last)


def _last(item: pytest.Item) -> int:
    """Return what tests are sorted by: those that take minutes first, because a process that is
    handed such a module at the end works on while the others have nothing left."""
    module = f"{item.path.parent.name}/{item.path.stem}"
    return _LONG.index(module) if module in _LONG else len(_LONG)


def _starts_servers(module: ModuleType) -> bool:
    return any(
        isinstance(value, FunctionType) and value.__module__.startswith(f"{_SERVERS}.")
        for value in vars(module).values()
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A running Chromium."""
    from tests.support.servers.browser import chromium

    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL server. Who stops it uses ``breakable_postgres``.

    From here on no count of hits is given up because the machine is busy with something else.
    """
    import db.search.indexed
    from tests.support.servers.postgres import postgres_server

    with pytest.MonkeyPatch.context() as patched, postgres_server() as server:
        for name, value in (("COUNT_SECONDS", 60), ("SORT_SECONDS", 60), ("PIECE_MS", 60_000)):
            patched.setattr(db.search.indexed, name, value)
        yield server


@pytest.fixture
def breakable_postgres(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The server for a test that stops or kills it; it runs again afterwards."""
    yield postgres
    postgres.start()


@pytest.fixture(scope="session")
def migrated_postgres_url(postgres: PostgresServer) -> str:
    """One database with the current schema, which tests empty instead of making their own."""
    from db.schema import upgrade

    url = postgres.url(postgres.create())
    upgrade(url)
    return url


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the current schema, to be copied."""
    from db.schema import upgrade

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
    from db import open_catalogue

    opened = open_catalogue(database_url)
    yield opened
    opened.close()
