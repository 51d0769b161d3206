"""The contract names what the code has: settings, exit codes, states, files, columns."""

from __future__ import annotations

import re

from core.config.settings import load_settings
from core.export.csv_writer import COLUMNS
from core.model import EXIT_CODES, RunState
from core.runs.folder import CONTRACT_FILES
from db.table.models import ArchivedFile
from pages.search import asked
from tests.support.environment import CHECKOUT

CONTRACT = (CHECKOUT / "docs" / "contract.md").read_text("utf-8")


def section(title: str) -> str:
    return CONTRACT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_setting() -> None:
    named = set(re.findall(r"`(HIMURO_\w+)`", section("Settings")))
    assert named == set(load_settings({}).without_secrets())


def test_every_exit_code() -> None:
    named = re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)
    assert {int(code) for code in named} == set(EXIT_CODES.values())


def test_every_state_of_a_run() -> None:
    named = re.search(r"^States: (.+?)\. ", section("Run folder"), re.MULTILINE)
    assert named
    assert re.findall(r"`(\w+)`", named[1]) == [state.value for state in RunState]


def test_every_file_of_a_run() -> None:
    named = set(re.findall(r"^\| `([\w.]+)` \|", section("Run folder"), re.MULTILINE))
    assert named == set(CONTRACT_FILES)


def test_every_column_of_the_archive_list() -> None:
    named = re.findall(r"^\| `(\w+)` \|", section("Table archive_list"), re.MULTILINE)
    assert named == [column.name for column in ArchivedFile.__table__.columns]


def test_every_column_of_what_is_taken_away() -> None:
    assert f"`{', '.join(COLUMNS)}`" in section("Searching")


def test_every_column_that_an_address_may_name() -> None:
    assert f"`{' '.join(asked.COLUMNS)}`" in section("Pages and addresses")
