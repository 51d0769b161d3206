"""Settings: every wrong one at once, and no secret where people look."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import SettingsError
from core.settings import ShareSetting, load_settings


def problems(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return caught.value.problems


def test_shares_are_pairs_of_unc_and_directory() -> None:
    text = r"\\fsx01\share=/mnt/a; //fsx01/other/ = /mnt/b ;"
    assert load_settings({"HIMURO_SHARES": text}).shares == (
        ShareSetting(r"\\fsx01\share", Path("/mnt/a")),
        ShareSetting(r"\\fsx01\other", Path("/mnt/b")),
    )


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        r"\\fsx01=/mnt/a",
        r"\\fsx01\share=",
        r"\\a\b=/x;\\A\B=/y",
        r"\\a\b=/x;\\a\b\c=/y",
    ],
)
def test_shares_that_cannot_be_meant(text: str) -> None:
    assert len(problems(HIMURO_SHARES=text)) >= 1


def test_every_problem_is_named() -> None:
    found = problems(
        HIMURO_BUCKET="NO/SUCH",
        HIMURO_KEY_PREFIX="/a\\b",
        HIMURO_RESTORE_DAYS="seven",
        HIMURO_TIMEZONE="Tokyo!",
        HIMURO_DATABASE_URL="mysql://x",
    )
    assert len(found) == 5


def test_passwords_are_not_shown() -> None:
    settings = load_settings(
        {"HIMURO_DATABASE_URL": "postgresql://himuro:ge@heim@db:5432/x?sslpassword=geheim"}
    )
    assert settings.database_url.startswith("postgresql+psycopg2://himuro:")
    shown = settings.without_secrets()["HIMURO_DATABASE_URL"]
    assert shown == "postgresql+psycopg2://himuro:***@db:5432/x"


def test_the_embedded_database_lies_in_the_data_directory(tmp_path: Path) -> None:
    settings = load_settings({"HIMURO_DATA_DIR": str(tmp_path)})
    assert settings.database_url == f"sqlite:///{tmp_path}/catalogue.db"
