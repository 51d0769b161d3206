"""``init-db``: what it creates, and that it can be called at any time by anybody."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from core.errors import Code, FatalError, SettingsError
from core.model import MARKER_SUFFIX, SearchQuery
from core.paths.normalization import search_key
from db import open_catalogue
from db.connection.engine import make_engine, writing
from db.schema import alembic_config, upgrade
from db.table.models import Base
from db.table.revision import HEAD
from tests.support.entries import DIRECTORY, entry
from tests.support.servers.postgres import PostgresServer

CHECKOUT = Path(__file__).resolve().parents[2]

COLUMNS = [
    ("id", False),
    ("ディレクトリパス", False),
    ("アーカイブファイル名", False),
    ("S3バケット名", False),
    ("S3キー", False),
    ("アーカイブ日時", False),
    ("依頼ID", True),
    ("コメント", True),
    ("依頼者", True),
    ("ファイルサイズ", False),
    ("SHA256", False),
    ("更新日時", False),
    ("検索キー", False),
]
"""Name and whether NULL is allowed."""

ON_EXPRESSIONS = ("ix_archive_list_block", "ix_archive_list_terms")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


def test_the_table_is_the_one_of_the_contract(engine: Engine) -> None:
    inspector = inspect(engine)
    columns = inspector.get_columns("archive_list")
    assert [(c["name"], c["nullable"]) for c in columns] == COLUMNS
    unique = inspector.get_unique_constraints("archive_list")
    assert [u["column_names"] for u in unique] == [["S3バケット名", "S3キー"]]


def test_types_on_postgresql(postgres: PostgresServer, migrated_postgres_url: str) -> None:
    database = migrated_postgres_url.rpartition("/")[2].split("?")[0]
    rows = postgres.execute(
        "SELECT column_name, data_type, character_maximum_length"
        " FROM information_schema.columns WHERE table_name = 'archive_list'",
        database,
    )
    types = {str(name): (kind, length) for name, kind, length in rows}
    assert types == {
        "id": ("integer", None),
        "ディレクトリパス": ("text", None),
        "アーカイブファイル名": ("text", None),
        "S3バケット名": ("text", None),
        "S3キー": ("text", None),
        "アーカイブ日時": ("timestamp with time zone", None),
        "依頼ID": ("character varying", 255),
        "コメント": ("text", None),
        "依頼者": ("character varying", 255),
        "ファイルサイズ": ("bigint", None),
        "SHA256": ("character", 64),
        "更新日時": ("timestamp with time zone", None),
        "検索キー": ("text", None),
    }


def test_migrations_lead_to_the_models(engine: Engine) -> None:
    """The indexes on expressions are PostgreSQL's alone and stand in no model."""

    def in_models(name: str | None, kind: str, parents: object) -> bool:
        return kind != "index" or name not in ON_EXPRESSIONS

    options = {"compare_type": True, "include_name": in_models}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_indexes_on_expressions(postgres: PostgresServer, migrated_postgres_url: str) -> None:
    database = migrated_postgres_url.rpartition("/")[2].split("?")[0]
    names = "', '".join(ON_EXPRESSIONS)
    rows = postgres.execute(
        f"SELECT indexname, indexdef FROM pg_indexes WHERE indexname IN ('{names}') ORDER BY 1",
        database,
    )
    (_, blocks), (_, terms) = rows
    assert "USING btree (((id >> 15)), " in str(blocks)
    assert "USING gin (himuro_terms(id, " in str(terms)


def test_head_is_the_newest_revision_and_there_is_no_way_back() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    assert scripts.get_heads() == [HEAD]
    ways_back = [s.revision for s in scripts.walk_revisions() if hasattr(s.module, "downgrade")]
    assert ways_back == []


def test_a_second_call_keeps_every_row(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    catalogue = open_catalogue(empty_database_url)
    catalogue.add([entry("契約書.pdf")])
    catalogue.close()

    upgrade(empty_database_url)

    catalogue = open_catalogue(empty_database_url)
    catalogue.check()
    assert list(catalogue.find([entry("契約書.pdf").search_key])) == [
        entry("契約書.pdf").search_key
    ]
    catalogue.close()


def test_rows_of_the_first_schema_are_found_after_the_upgrade(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url, migrating=True)
    if engine.dialect.name == "sqlite":
        Path(str(engine.url.database)).parent.mkdir()
    with writing(engine).begin() as connection:
        command.upgrade(alembic_config(connection), "0001")
        rows = [
            {
                "directory": DIRECTORY, "name": f"{name}{MARKER_SUFFIX}", "key": name,
                "search": search_key(DIRECTORY, name), "typed": typed,
            }
            for name, typed in (("契約書.pdf", None), ("￥＼ ﾃｽﾄ 2026.xlsx", "山田"))
        ]  # fmt: skip
        connection.execute(
            text(
                'INSERT INTO archive_list ("ディレクトリパス", "アーカイブファイル名",'
                ' "S3バケット名", "S3キー", "依頼ID", "依頼者", "ファイルサイズ", "SHA256",'
                ' "更新日時", "検索キー") VALUES (:directory, :name, \'b\', :key, :typed, :typed,'
                " 7, '0', '2026-01-02 03:04:05', :search)"
            ),
            rows,
        )
    engine.dispose()

    upgrade(empty_database_url)

    catalogue = open_catalogue(empty_database_url)
    for words, names in (("約", ["契約書.pdf"]), ("てすと 2026", ["￥＼ ﾃｽﾄ 2026.xlsx"])):
        found = catalogue.search(SearchQuery(words=words, directory=DIRECTORY))
        assert [row.name for row in found.entries] == names
    assert catalogue.search(SearchQuery(requester="田", file_types="xlsx")).total == 1
    catalogue.close()


def _upgrade_elsewhere(url: str, cwd: Path, code: Path = CHECKOUT) -> subprocess.Popen[bytes]:
    cwd.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", f"from db.schema import upgrade; upgrade({url!r})"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_processes_that_upgrade_at_once_wait_for_each_other(
    empty_database_url: str, tmp_path: Path
) -> None:
    processes = [_upgrade_elsewhere(empty_database_url, tmp_path / str(n)) for n in range(3)]
    output = [process.communicate()[0] for process in processes]
    assert [(p.returncode, o) for p, o in zip(processes, output, strict=True)] == [(0, b"")] * 3
    catalogue = open_catalogue(empty_database_url)
    catalogue.check()
    catalogue.close()


def test_the_program_may_lie_anywhere(tmp_path: Path) -> None:
    program = tmp_path / "氷室 100%s"
    for package in ("core", "db"):
        shutil.copytree(CHECKOUT / package, program / package)
    url = f"sqlite:///{tmp_path / 'catalogue.db'}"
    process = _upgrade_elsewhere(url, tmp_path / "cwd", program)
    output = process.communicate()[0]
    assert (process.returncode, output) == (0, b"")


def test_a_newer_database_is_left_alone(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    engine = make_engine(empty_database_url)
    with writing(engine).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    catalogue = open_catalogue(empty_database_url)
    for call in (catalogue.check, lambda: upgrade(empty_database_url)):
        with pytest.raises(FatalError, match="9999") as caught:
            call()
        assert caught.value.code is Code.DATABASE_SCHEMA
    catalogue.close()


def test_a_foreign_table_of_the_same_name_is_left_alone(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url, migrating=True)
    if engine.dialect.name == "sqlite":
        Path(str(engine.url.database)).parent.mkdir()
    with writing(engine).begin() as connection:
        connection.execute(text("CREATE TABLE archive_list (mine text)"))
    with pytest.raises(FatalError) as caught:
        upgrade(empty_database_url)
    assert caught.value.code is Code.DATABASE_SCHEMA
    assert [c["name"] for c in inspect(engine).get_columns("archive_list")] == ["mine"]
    assert not inspect(engine).has_table("alembic_version")
    engine.dispose()


def test_a_database_that_cannot_hold_japanese_is_refused(postgres: PostgresServer) -> None:
    name = postgres.create(encoding="SQL_ASCII")
    with pytest.raises(FatalError, match="UTF8") as caught:
        upgrade(postgres.url(name))
    assert caught.value.code is Code.DATABASE_SCHEMA
    postgres.drop(name)


def test_sqlite_survives_a_power_cut_and_lets_readers_read(migrated_sqlite_file: Path) -> None:
    engine = make_engine(f"sqlite:///{migrated_sqlite_file}")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
        assert connection.execute(text("PRAGMA busy_timeout")).scalar_one() == 30_000
    engine.dispose()


def test_a_directory_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FatalError, match="フォルダーを作れません") as caught:
        upgrade(f"sqlite:///{tmp_path / 'file' / 'catalogue.db'}")
    assert caught.value.code is Code.DATABASE_UNAVAILABLE


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "mysql://u:geheim@h/d",
    ],
)
def test_a_useless_url_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="HIMURO_DATABASE_URL") as caught:
        open_catalogue(url)
    assert "geheim" not in str(caught.value)


def test_postgresql_sessions_end_by_themselves_and_the_url_has_the_last_word(
    migrated_postgres_url: str,
) -> None:
    names = ["application_name", "statement_timeout", "lock_timeout", "synchronous_commit"]
    more = "&application_name=batch&options=-c%20statement_timeout%3D5s"
    shown = []
    for url in (migrated_postgres_url, migrated_postgres_url + more):
        engine = make_engine(url)
        with engine.connect() as connection:
            shown.append([connection.execute(text(f"SHOW {n}")).scalar_one() for n in names])
        engine.dispose()
    assert shown == [["himuro", "1min", "30s", "on"], ["batch", "5s", "30s", "on"]]
