"""What Himuro keeps is its own user's, whatever the umask; what it leaves for others is theirs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.auth.sign_in import SignIn
from core.config.settings import load_settings
from core.export.background import Exports
from core.export.writer import Form
from core.jobs.recovery import recover
from core.model import SearchQuery
from db import open_catalogue
from tests.cli.test_restore import WHO, Desk
from tests.support.arrange import UNC
from tests.support.people import OPERATOR, write_accounts
from tests.support.servers.buckets import Bucket


@pytest.fixture(params=[0o000, 0o022, 0o027])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def desk(
    tmp_path: Path, strict_bucket: Bucket, capsys: pytest.CaptureFixture[str], umask: int
) -> Desk:
    return Desk(tmp_path, strict_bucket, capsys)


def modes(directory: Path) -> dict[str, int]:
    """Return the permissions of everything in a directory, and its own, by name."""
    found = {".": directory, **{str(p.relative_to(directory)): p for p in directory.rglob("*")}}
    return {name: stat.S_IMODE(path.lstat().st_mode) for name, path in found.items()}


def test_nobody_else_reads_what_himuro_keeps(desk: Desk, umask: int) -> None:
    desk.archive(**{"a.txt": b"1", "b.txt": b"2"})
    assert desk.run("archive", str(desk.root / "missing.txt"), *WHO)[0] == 2
    assert desk.run("validate", str(desk.root / "一覧.txt"))[0] == 0
    _, asked = desk.json("restore-request", desk.list(f"{UNC},", "無い,"), *WHO)
    desk.thaw()
    desk.run("restore-download", asked["run_id"], "--to", str(desk.target / "2026"))
    settings = load_settings(desk.environ)
    write_accounts(settings.accounts_file, OPERATOR)
    signin = SignIn(settings)
    signin.access()
    signin.sign_in(OPERATOR.name, OPERATOR.password, "127.0.0.1", "")
    exports = Exports(settings, open_catalogue(settings.database_url))
    exports.start(SearchQuery(), Form.XLSX)
    found = modes(settings.data_dir)
    exports.close()
    assert {"catalogue.db", "session.key", "sessions.json", "signin.log", "locks"} <= set(found)
    assert len([name for name in found if name.endswith("report.csv")]) == 2
    assert {name for name, mode in found.items() if mode & 0o077} <= {"accounts.toml"}
    # Markers and restored files are for the people who work with the share.
    marker = desk.share / "a.txt_archived.txt"
    restored = desk.target / "2026" / "a.txt"
    assert stat.S_IMODE(marker.stat().st_mode) == 0o664 & ~umask
    assert stat.S_IMODE(restored.stat().st_mode) == 0o664 & ~umask
    assert stat.S_IMODE(restored.parent.stat().st_mode) == 0o777 & ~umask


def test_what_an_earlier_version_left_open_is_closed(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.archive(**{"a.txt": b"1"})
    data = desk.root / "data"
    (data / "of-others").mkdir()
    for path in (data, data / "runs", data / "locks", data / "catalogue.db", data / "of-others"):
        path.chmod(0o755)
    recover(load_settings(desk.environ))
    found = modes(data)
    assert {n for n in ("runs", "locks", "catalogue.db") if found[n] & 0o077} == set()
    assert (found["."], found["of-others"]) == (0o755, 0o755)
    assert "can be entered by other users" in caplog.text
