"""Settings: every wrong one at once, and no secret where people look."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.config.settings import ShareSetting, SignInKind, load_environment, load_settings
from core.errors import SettingsError


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


@pytest.mark.parametrize(
    "name",
    ["バケット", "Upper", "under_score", "ab", "a" * 64, "-a-", "a..b", "abc-", "a\nb", "ａｂｃ"],
)
def test_a_bucket_has_a_name_that_s3_takes(name: str) -> None:
    (problem,) = problems(HIMURO_BUCKET=name)
    assert "HIMURO_BUCKET" in problem
    assert load_settings({"HIMURO_BUCKET": "himuro.archive-2026"}).bucket == "himuro.archive-2026"


@pytest.mark.parametrize("text", ["0", "4", "721", "-5", "30.5", "三十", "３０", "1" * 5000, "x"])
def test_the_idle_limit_has_bounds(text: str) -> None:
    (problem,) = problems(HIMURO_IDLE_MINUTES=text)
    assert "HIMURO_IDLE_MINUTES" in problem
    assert "5から720" in problem


def test_the_idle_limit() -> None:
    assert load_settings({}).idle_minutes == 30
    settings = load_settings({"HIMURO_IDLE_MINUTES": " 480 "})
    assert settings.idle_minutes == 480
    assert settings.without_secrets()["HIMURO_IDLE_MINUTES"] == "480"


def test_how_people_sign_in(tmp_path: Path) -> None:
    settings = load_settings({"HIMURO_DATA_DIR": str(tmp_path)})
    assert settings.signin is SignInKind.ACCOUNTS
    assert settings.accounts_file == tmp_path / "accounts.toml"
    elsewhere = load_settings({"HIMURO_SIGNIN": "oidc", "HIMURO_ACCOUNTS": "/etc/himuro/a.toml"})
    assert elsewhere.signin is SignInKind.OIDC
    assert elsewhere.accounts_file == Path("/etc/himuro/a.toml").absolute()
    for wrong in ("ldap", "OIDC", "none"):
        (problem,) = problems(HIMURO_SIGNIN=wrong)
        assert "HIMURO_SIGNIN" in problem


@pytest.mark.parametrize("prefix", ["=a/", "+a/", "-a/", "@a/"])
def test_keys_do_not_begin_as_a_formula(prefix: str) -> None:
    assert len(problems(HIMURO_KEY_PREFIX=prefix)) == 1
    assert load_settings({"HIMURO_KEY_PREFIX": f"a{prefix}"}).key_prefix == f"a{prefix}"


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Replaces ``os.environ`` for a test that reads a file into it."""
    environ: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", environ)
    return environ


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932", "utf-16"])
def test_a_file_of_settings_is_read_as_windows_writes_it(
    tmp_path: Path, environ: dict[str, str], encoding: str
) -> None:
    text = "HIMURO_KEY_PREFIX=保管/\r\n# 設定\r\nHIMURO_BUCKET=file\r\n"
    (tmp_path / ".env").write_bytes(text.encode(encoding))
    environ["HIMURO_BUCKET"] = "set"
    if encoding == "utf-16":
        with pytest.raises(SettingsError, match="UTF-8"):
            load_environment(tmp_path)
        return
    load_environment(tmp_path)
    assert environ["HIMURO_KEY_PREFIX"] == "保管/"
    assert environ["HIMURO_BUCKET"] == "set"


def test_a_file_of_settings_that_cannot_be_read(tmp_path: Path, environ: dict[str, str]) -> None:
    load_environment(tmp_path)
    (tmp_path / ".env").symlink_to(".env")
    with pytest.raises(SettingsError, match="読み取れません"):
        load_environment(tmp_path)
    (tmp_path / ".env").unlink()
    (tmp_path / ".env").write_bytes("A=b".encode("utf-16-le"))
    with pytest.raises(SettingsError, match="UTF-8"):
        load_environment(tmp_path)
    (tmp_path / ".env").unlink()
    (tmp_path / ".env").mkdir()
    load_environment(tmp_path)
    assert [name for name in environ if not name.startswith("PYTEST_")] == []
