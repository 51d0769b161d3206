"""The restore commands as a shell sees them, on a server that thaws as S3 does."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.__main__ import WIRING
from core.cli.main import main
from core.config.settings import load_settings
from core.jobs.recovery import recover
from core.model import RunState
from db.schema import upgrade
from tests.support import crashing
from tests.support.arrange import UNC
from tests.support.servers.buckets import Bucket
from tests.support.servers.processes import administer
from tests.support.servers.proxy import Fault

WHO = ("--request-id", "FAST-1", "--requester", "山田")


class Desk:
    """A share that was archived, a directory that files come back to, and the commands."""

    def __init__(self, root: Path, bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.share, self.bucket = root, root / "share", bucket
        self.target = root / "復元先"
        self._capsys = capsys
        self.share.mkdir()
        self.target.mkdir()

    @property
    def environ(self) -> dict[str, str]:
        return {
            **self.bucket.environ,
            "HIMURO_DATA_DIR": str(self.root / "data"),
            "HIMURO_BUCKET": self.bucket.name,
            "HIMURO_SHARES": f"{UNC}={self.share}",
            "HIMURO_RESTORE_ROOTS": str(self.target),
        }

    @contextmanager
    def here(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environ.items():
                patch.setenv(name, value)
            patch.chdir(self.root)
            yield

    def run(self, *argv: str) -> tuple[int, str, str]:
        """Run a command in this process; returns exit code, output and messages."""
        self._capsys.readouterr()
        with self.here():
            code = main(argv, WIRING)
        out, err = self._capsys.readouterr()
        return code, out, err

    def json(self, *argv: str) -> tuple[int, dict[str, Any]]:
        code, out, err = self.run(*argv, "--json")
        assert out.count("\n") == 1, err
        return code, json.loads(out)

    def archive(self, **files: bytes) -> None:
        for name, content in files.items():
            (self.share / name).write_bytes(content)
        upgrade(load_settings(self.environ).database_url)
        path = self.root / "一覧.txt"
        path.write_text(f"{UNC}\n")
        code, _, err = self.run("archive", str(path), *WHO)
        assert code == 0, err

    def list(self, *lines: str) -> str:
        path = self.root / "復元.csv"
        text = "\r\n".join(["ディレクトリパス,復元対象ファイル名", *lines])
        path.write_bytes(text.encode("cp932"))
        return str(path)

    def thaw(self) -> None:
        administer(self.endpoint, self.bucket.name, "thaw")

    def expire(self) -> None:
        administer(self.endpoint, self.bucket.name, "expire")

    @property
    def endpoint(self) -> str:
        return str(self.bucket.client.meta.endpoint_url)

    def placed(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.target.iterdir()}


@pytest.fixture
def desk(tmp_path: Path, strict_bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, strict_bucket, capsys)


def test_a_restore_from_request_to_last_file(desk: Desk) -> None:
    desk.archive(**{"a.txt": b"1" * 7, "見積.xlsx": b"2" * 300_000, "c.txt": b""})
    code, asked = desk.json("restore-request", desk.list(f"{UNC},"), *WHO)
    assert (code, asked["state"], asked["kind"]) == (0, "waiting", "restore")
    assert asked["counts"] == {
        "total": 3,
        "failed": 0,
        "bytes": 300_007,
        "thawing": 3,
        "unrequested": 0,
        "placed": 0,
        "placed_bytes": 0,
        "left_out": 0,
    }
    run = asked["run_id"]
    folder = Path(asked["folder"])
    assert sorted((folder / "restore_requests.txt").read_text().splitlines()) == sorted(
        desk.bucket.object_keys()
    )
    code, status = desk.json("restore-status", run)
    assert (code, status["counts"]["thawing"], status["first_expiry"]) == (4, 3, None)
    assert desk.json("restore-status") == (4, {"restores": [status]})
    code, out, err = desk.run("restore-download", run, "--to", str(desk.target))
    assert (code, out) == (4, f"{folder}\n")
    assert "3件は取り出し準備中です" in err
    assert desk.placed() == {}

    desk.thaw()
    code, status = desk.json("restore-status", run)
    assert (code, status["counts"]["ready"], status["run_id"]) == (0, 3, run)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00\+00:00", status["first_expiry"])
    (desk.target / "a.txt").write_bytes(b"somebody's")
    code, out, err = desk.run("restore-download", run, "--to", str(desk.target))
    assert (code, out) == (0, f"{folder}\n")
    placed = desk.placed()
    assert placed.pop("a.txt") == b"somebody's"
    renamed = next(name for name in placed if name.startswith("a_"))
    assert re.fullmatch(r"a_\d{8}\.txt", renamed)
    assert f"{UNC}\\a.txt → {renamed}" in err
    assert placed == {renamed: b"1" * 7, "見積.xlsx": b"2" * 300_000, "c.txt": b""}
    original = (desk.share / "見積.xlsx").stat().st_mtime_ns // 1000
    assert (desk.target / "見積.xlsx").stat().st_mtime_ns // 1000 == original
    code, done = desk.json("restore-status", run)
    assert (code, done["state"], done["counts"]["placed"]) == (0, "done", 3)
    code, none = desk.json("restore-status")
    assert (code, none) == (0, {"restores": []})
    assert desk.json("runs", "--kind", "restore")[1]["runs"][0]["run_id"] == run
    shown = desk.run("runs", "--kind", "restore")[1].splitlines()[1]
    assert shown.split() == [run, "done", "FAST-1", "山田", "3", "0", "0"]


def test_a_row_that_is_left_out_exits_with_1_and_names_its_neighbour(desk: Desk) -> None:
    desk.archive(**{"データ.txt": b"1"})
    code, asked = desk.json(
        "restore-request", desk.list(f"{UNC},ﾃﾞｰﾀ.txt", f"{UNC},データ.txt"), *WHO
    )
    assert (code, asked["counts"]["left_out"], asked["counts"]["total"]) == (1, 1, 1)
    log = (Path(asked["folder"]) / "restore_errors.txt").read_text()
    assert f"もしかして: {UNC}\\データ.txt" in log
    desk.thaw()
    assert desk.run("restore-download", asked["run_id"], "--to", str(desk.target))[0] == 1
    assert desk.placed() == {"データ.txt": b"1"}


def test_what_is_refused_touches_nothing(desk: Desk) -> None:
    desk.archive(**{"a.txt": b"1"})
    before = len(desk.bucket.writes())
    to = ("--to", str(desk.target))
    for name, more, said in (
        ("none.txt", (), "一致する行がありません"),
        ("", ("--tier", "Expedited"), "Deep Archive にはありません"),
        ("", ("--tier", "Fast"), "取り出しの種類"),
        ("", ("--days", "2"), "保持日数は3から"),
        ("", ("--days", "0", "--tier", "standard"), "保持日数は1から"),
        ("", ("--requester", " "), "依頼者"),
    ):
        listed = desk.list(f"{UNC},{name}")
        code, _, err = desk.run("restore-request", listed, *WHO, *more)
        assert (code, said in err) == (2, True), (more, err)
    for argv, said in (
        (("restore-status", "20261125-120000-restore-abcdef"), "見つかりません"),
        (("restore-status", "../../etc"), "実行番号ではありません"),
        (("restore-download", "x", *to), "実行番号ではありません"),
        (("restore-download", "20261125-120000-restore-abcdef", *to), "見つかりません"),
    ):
        code, _, err = desk.run(*argv)
        assert (code, said in err) == (2, True), (argv, err)
    assert len(desk.bucket.writes()) == before


def test_days_of_the_settings_that_are_too_few_for_bulk(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.archive(**{"a.txt": b"1"})
    monkeypatch.setenv("HIMURO_RESTORE_DAYS", "1")
    code, asked = desk.json("restore-request", desk.list(f"{UNC},"), *WHO)
    assert code == 0
    record = json.loads(Path(asked["folder"], "run.json").read_text("utf-8"))
    assert (record["tier"], record["days"]) == ("Bulk", 3)


def test_only_below_the_restore_roots(desk: Desk) -> None:
    desk.archive(**{"a.txt": b"1"})
    run = desk.json("restore-request", desk.list(f"{UNC},"), *WHO)[1]["run_id"]
    desk.thaw()
    for to in (str(desk.root), UNC, str(desk.target / ".."), "/", ""):
        code, _, err = desk.run("restore-download", run, "--to", to)
        assert (code, "復元先" in err) == (2, True), (to, err)
    assert desk.json("restore-status", run)[1]["state"] == "waiting"


def test_without_restore_roots_the_commands_say_so(desk: Desk) -> None:
    desk.archive(**{"a.txt": b"1"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Desk, "environ", {**desk.environ, "HIMURO_RESTORE_ROOTS": ""}, raising=True)
        code, _, err = desk.run("restore-request", desk.list(f"{UNC},"), *WHO)
    assert (code, "HIMURO_RESTORE_ROOTS が設定されていません" in err) == (3, True)


@pytest.mark.parametrize("damage", ["cut", "folder"])
def test_a_damaged_plan_is_never_taken_for_all_of_it(desk: Desk, damage: str) -> None:
    desk.archive(**{f"{n}.txt": str(n).encode() for n in range(5)})
    _, whole = desk.json("restore-request", desk.list(f"{UNC},"), *WHO)
    _, asked = desk.json("restore-request", desk.list(f"{UNC},"), *WHO)
    desk.thaw()
    plan = Path(asked["folder"], "plan.csv")
    lines = plan.read_bytes().splitlines(keepends=True)
    plan.unlink()
    if damage == "cut":
        plan.write_bytes(b"".join(lines[:3]))
    else:
        plan.mkdir()
    for command in (("restore-status",), ("restore-download", "--to", str(desk.target))):
        code, _, err = desk.run(command[0], asked["run_id"], *command[1:])
        assert code == 2
        assert asked["run_id"] in err
    assert desk.placed() == {}
    # The others are shown all the same.
    code, shown, err = desk.run("restore-status")
    assert code == 0
    assert asked["run_id"] in err
    assert whole["run_id"] in shown + err


def test_expired_copies_exit_with_1(desk: Desk) -> None:
    desk.archive(**{"a.txt": b"1", "b.txt": b"2"})
    run = desk.json("restore-request", desk.list(f"{UNC},"), *WHO)[1]["run_id"]
    desk.thaw()
    desk.expire()
    # S3 shows nothing of a copy before its days are over only while the request is new.
    assert desk.json("restore-status", run)[1]["counts"]["requested"] == 2
    assert desk.run("restore-download", run, "--to", str(desk.target))[0] == 4
    assert desk.placed() == {}


def test_what_people_removed_is_placed_again_only_when_asked(desk: Desk, impatience: None) -> None:
    """One file that cannot be had keeps the restore open meanwhile."""
    desk.archive(**{"a.txt": b"1", "b.txt": b"2", "bad.txt": b"3"})
    desk.bucket.proxy.decide = lambda method, path: (
        Fault.ALTERED if method == "GET" and path.endswith("bad.txt") else Fault.NONE
    )
    run = desk.json("restore-request", desk.list(f"{UNC},"), *WHO)[1]["run_id"]
    desk.thaw()
    to = ("--to", str(desk.target))
    assert desk.run("restore-download", run, *to)[0] == 1
    (desk.target / "a.txt").unlink()
    code, _, err = desk.run("restore-download", run, *to)
    assert (code, "1件: 配置しません（配置するには --again）" in err) == (1, True)
    assert set(desk.placed()) == {"b.txt"}
    code, _, err = desk.run("restore-download", run, *to, "--again")
    assert (code, "1件: もう一度配置します" in err) == (1, True)
    assert desk.placed() == {"a.txt": b"1", "b.txt": b"2"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault.SLOW_DOWN,
        Fault.INTERNAL,
        Fault.RESET,
        Fault.ALTERED,
        Fault.CUT,
        Fault.TORN,
        Fault.SHORT,
    ],
)
def test_faults_that_pass_are_borne(desk: Desk, impatience: None, fault: Fault) -> None:
    """Each object's first answer is bad; small ones and one that does not fit into a lane."""
    desk.archive(**{f"{n}.txt": str(n).encode() for n in range(9)}, big=b"x" * 400_000)
    run = desk.json("restore-request", desk.list(f"{UNC},"), *WHO)[1]["run_id"]
    desk.thaw()
    seen: dict[str, int] = {}

    def once(method: str, path: str) -> Fault:
        seen[path] = seen.get(path, 0) + 1
        return (
            fault if method == "GET" and "list-type" not in path and seen[path] == 1 else Fault.NONE
        )

    desk.bucket.proxy.decide = once
    code, _, err = desk.run("restore-download", run, "--to", str(desk.target))
    assert code == 0, err
    assert desk.placed() == {
        **{f"{n}.txt": str(n).encode() for n in range(9)},
        "big": b"x" * 400_000,
    }


def test_content_that_stays_altered_never_gets_a_name(desk: Desk, impatience: None) -> None:
    desk.archive(**{"a.txt": b"1", "b.txt": b"2", "big": b"x" * 400_000})
    run = desk.json("restore-request", desk.list(f"{UNC},"), *WHO)[1]["run_id"]
    desk.thaw()

    def always(method: str, path: str) -> Fault:
        bad = method == "GET" and path.endswith(("a.txt", "big"))
        return Fault.ALTERED if bad else Fault.NONE

    desk.bucket.proxy.decide = always
    code, done = desk.json("restore-download", run, "--to", str(desk.target))
    assert (code, done["state"], done["counts"]["failed"]) == (1, "failed_files", 2)
    assert desk.placed() == {"b.txt": b"2"}
    log = (Path(done["folder"]) / "restore_errors.txt").read_text()
    assert log.count("(CONTENT_MISMATCH)") == 2
    desk.bucket.proxy.decide = lambda _method, _path: Fault.NONE
    assert desk.run("restore-download", run, "--to", str(desk.target))[0] == 0


def download(desk: Desk, moment: int, run: str) -> subprocess.CompletedProcess[str]:
    """Place in a process of its own that kills itself; ``0`` counts the moments."""
    argv = ("restore-download", run, "--to", str(desk.target))
    return crashing.run(str(moment), *argv, environ=desk.environ, cwd=desk.root)


def test_kill_9_while_placing_at_twenty_moments(desk: Desk) -> None:
    """Whatever has a name is whole, and the next run ends as one clean run would."""
    files = {f"{n}.txt": f"{n}".encode() * n for n in range(6)} | {"big.bin": b"x" * 300_000}
    desk.archive(**files)
    listed = desk.list(f"{UNC},")
    run = desk.json("restore-request", listed, *WHO)[1]["run_id"]
    desk.thaw()
    (desk.target / "3.txt").write_bytes(b"taken")
    clean = download(desk, 0, run)
    assert clean.returncode == 0, clean.stderr
    expected = desk.placed()
    assert sorted(expected.values()) == sorted([*files.values(), b"taken"])
    # Before and after: each file is created and named, the record written when the step begins,
    # when its turn comes and when it ends, the events at least once, the lists once.
    total = 2 * (7 + 7 + 3 + 1 + 1)
    assert int(re.findall(r"moments: (\d+)", clean.stderr)[0]) >= total
    for number in range(20):
        moment = 1 + number * (total - 1) // 19
        for path in desk.target.iterdir():
            path.unlink()
        (desk.target / "3.txt").write_bytes(b"taken")
        run = desk.json("restore-request", listed, *WHO)[1]["run_id"]
        killed = download(desk, moment, run)
        assert killed.returncode == -signal.SIGKILL, (moment, killed.stderr)
        named = {n: c for n, c in desk.placed().items() if not n.startswith(".himuro-")}
        assert named.items() <= expected.items(), moment
        found = recover(load_settings(desk.environ))
        assert [record.state for record in found] in ([], [RunState.INTERRUPTED])
        code, _, err = desk.run("restore-download", run, "--to", str(desk.target))
        assert code == 0, (moment, err)
        assert desk.placed() == expected, moment
        status = desk.json("restore-status", run)[1]
        assert (status["state"], status["counts"]["placed"]) == ("done", len(files))


def test_kill_9_while_requesting(desk: Desk) -> None:
    """No request is lost from sight: the list run again asks only for what is not thawing."""
    desk.archive(**{f"{n}.txt": str(n).encode() for n in range(5)})
    argv = ("restore-request", desk.list(f"{UNC},"), *WHO)
    killed = crashing.run("8", *argv, environ=desk.environ, cwd=desk.root)
    assert killed.returncode == -signal.SIGKILL
    (found,) = recover(load_settings(desk.environ))
    assert (found.state, found.total_files) == (RunState.INTERRUPTED, 5)
    folder = load_settings(desk.environ).runs_dir / found.run_id
    assert len((folder / "restore_requests.txt").read_text().splitlines()) == 5
    code, asked = desk.json("restore-request", desk.list(f"{UNC},"), *WHO)
    assert (code, asked["counts"]["thawing"]) == (0, 5)
    posts = [w for w in desk.bucket.writes() if w.startswith("POST") and "restore" in w]
    assert len(posts) == len(set(posts)) == 5
    desk.thaw()
    assert desk.run("restore-download", found.run_id, "--to", str(desk.target))[0] == 0
    assert len(desk.placed()) == 5
