"""This machine is short of something: it is waited for, and called by its name."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg2
import pytest
from botocore.exceptions import EndpointConnectionError
from urllib3.exceptions import NewConnectionError

from core.auth.sessions import Sessions
from core.config.settings import load_settings
from core.errors import Code, FatalError
from core.model import RunState
from core.resources import shortage
from core.share.shares import FileSystem, Kind
from db.connection.errors import connected
from db.schema import upgrade
from tests.cli.test_restore import WHO, Desk
from tests.support import arrange
from tests.support.arrange import UNC
from tests.support.environment import CHECKOUT
from tests.support.servers.buckets import Bucket

FILES = {"a.txt": b"1" * 7, "見積.xlsx": b"2" * 300_000, "c.txt": b"", "下/d.bin": b"4" * 600_000}
MESSAGE = (
    "このサーバーの資源が足りません（このプログラムが開けるファイルの数（ファイル記述子）の上限に"
    "達しました）。スレッド・メモリ・同時に開けるファイルの上限を確認し、"
    "少し待ってからやり直してください。"
)


@pytest.fixture
def desk(tmp_path: Path, strict_bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, strict_bucket, capsys)


def short(desk: Desk, how: str, what: object, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that has no descriptors left
    (``tests/support/short_machine.py``)."""
    return subprocess.run(
        [sys.executable, "-m", "tests.support.short_machine", how, str(what), *argv],
        cwd=CHECKOUT,
        env={**os.environ, **desk.environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def waits(done: subprocess.CompletedProcess[str]) -> int:
    found = re.search(r"waited=(\d+)", done.stderr)
    return int(found[1]) if found else -1


def prepared(desk: Desk) -> str:
    """Put files on the share; returns a list that names all of them."""
    for name, content in FILES.items():
        path = desk.share / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    upgrade(load_settings(desk.environ).database_url)
    path = desk.root / "一覧.txt"
    path.write_text(f"{UNC}\n")
    return str(path)


def folder_of(done: subprocess.CompletedProcess[str]) -> Path:
    return Path(done.stdout.strip())


def test_an_archive_run_waits_for_every_descriptor_that_is_missing(desk: Desk) -> None:
    listed = prepared(desk)
    for argv in (("validate", listed), ("archive", listed, *WHO)):
        done = short(desk, "moments", 1, *argv)
        assert done.returncode == 0, done.stderr
        assert waits(done) >= 10, done.stderr
        assert not (folder_of(done) / "failed_uploads.txt").exists()
    assert "MACHINE_SHORT" not in (folder_of(done) / "report.csv").read_text("utf-8-sig")
    assert desk.json("search")[1]["total"] == len(FILES) == len(desk.bucket.object_keys())
    markers = {p.name for p in desk.share.rglob("*_archived.txt")}
    assert markers == {f"{name.rpartition('/')[2]}_archived.txt" for name in FILES}


def test_a_restore_waits_for_every_descriptor_that_is_missing(desk: Desk) -> None:
    prepared(desk)
    desk.archive()
    asked = short(desk, "moments", 1, "restore-request", desk.list(f"{UNC},"), *WHO)
    assert (asked.returncode, waits(asked) >= 10) == (0, True), asked.stderr
    desk.thaw()
    run = folder_of(asked).name
    placed = short(desk, "moments", 1, "restore-download", run, "--to", str(desk.target))
    assert (placed.returncode, waits(placed) >= 10) == (0, True), placed.stderr
    assert desk.placed() == {name.rpartition("/")[2]: data for name, data in FILES.items()}


def test_descriptors_that_stay_away_end_an_archive_run_with_that_reason(desk: Desk) -> None:
    listed = prepared(desk)
    done = short(desk, "for-good", "a.txt_archived.txt", "archive", listed, *WHO)
    assert done.returncode == 3, done.stderr
    folder = folder_of(done)
    record = json.loads((folder / "run.json").read_text())
    assert (record["state"], record["message"]) == ("error", MESSAGE)
    failed = (folder / "failed_uploads.txt").read_text("utf-8-sig").splitlines()
    log = (folder / "error_log.txt").read_text()
    assert "(MACHINE_SHORT)" in log
    assert not re.search("SHARE_NOT_MOUNTED|SOURCE_NOT_FOUND|SOURCE_UNREADABLE", log)
    assert rf"{UNC}\a.txt" in failed
    code, _, err = desk.run("archive", str(folder / "failed_uploads.txt"), *WHO)
    assert code == 0, err
    assert desk.json("search")[1]["total"] == len(FILES) == len(desk.bucket.object_keys())
    assert len(list(desk.share.rglob("*_archived.txt"))) == len(FILES)


def test_a_check_without_descriptors_does_not_say_that_files_are_missing(desk: Desk) -> None:
    listed = prepared(desk)
    done = short(desk, "for-good", "share", "validate", listed)
    assert (done.returncode, MESSAGE in done.stderr) == (3, True), done.stderr


def test_descriptors_that_stay_away_end_placing_with_that_reason(desk: Desk) -> None:
    prepared(desk)
    desk.archive()
    _, asked = desk.json("restore-request", desk.list(f"{UNC},"), *WHO)
    desk.thaw()
    argv = ("restore-download", asked["run_id"], "--to", str(desk.target))
    done = short(desk, "for-good", "-1.tmp", *argv)
    assert (done.returncode, MESSAGE in done.stderr) == (3, True), done.stderr
    folder = folder_of(done)
    left = (folder / "restore_requests.txt").read_text().splitlines()
    assert len(left) == len(FILES)
    assert "(MACHINE_SHORT)" in (folder / "restore_errors.txt").read_text()
    assert desk.run(*argv)[0] == 0
    assert desk.placed() == {name.rpartition("/")[2]: data for name, data in FILES.items()}


# The rule


class Scarce:
    """Something that cannot be had the first times it is asked for."""

    def __init__(self, *missing: BaseException) -> None:
        self._missing = list(missing)

    def __call__(self) -> str:
        if self._missing:
            raise self._missing.pop(0)
        return "had"


def _behind(exc: BaseException) -> BaseException:
    """Wrap an error as a library does."""
    outer: BaseException = EndpointConnectionError(endpoint_url="https://s3", error="x")
    between = NewConnectionError(None, "x")  # type: ignore[arg-type]
    between.__cause__ = exc
    outer.__context__ = between
    return outer


SHORTAGES = [
    *(OSError(number, "") for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)),
    MemoryError(),
    RuntimeError("can't start new thread"),
    shortage.NoProcessError(),
]


@pytest.mark.parametrize("missing", [*SHORTAGES, OSError(errno.EAGAIN, "")], ids=repr)
def test_what_passes_is_waited_for(missing: BaseException) -> None:
    assert shortage.patiently(Scarce(missing, missing)) == "had"


@pytest.mark.parametrize("missing", SHORTAGES, ids=repr)
def test_what_stays_is_called_by_its_name(
    missing: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortage, "WAIT_SECONDS", 0)
    for raised in (missing, _behind(missing)):
        with pytest.raises(FatalError, match="このサーバーの資源が足りません（.+）") as caught:
            shortage.patiently(Scarce(raised))
        assert caught.value.code is Code.MACHINE_SHORT


def test_a_file_that_somebody_keeps_is_not_a_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortage, "WAIT_SECONDS", 0)
    with pytest.raises(BlockingIOError):
        shortage.patiently(Scarce(BlockingIOError(errno.EAGAIN, "")))


@pytest.mark.parametrize(
    "other",
    [FileNotFoundError(errno.ENOENT, ""), ValueError(), FatalError(Code.MACHINE_SHORT)],
    ids=repr,
)
def test_everything_else_is_raised_at_once(other: BaseException) -> None:
    asked = Scarce(other)
    with pytest.raises(type(other)) as caught:
        shortage.patiently(asked)
    assert caught.value is other
    assert asked() == "had"


def test_who_serves_everybody_never_waits() -> None:
    """Otherwise nobody would be answered meanwhile."""

    async def serve() -> None:
        shortage.patiently(Scarce(OSError(errno.EMFILE, "")))

    with pytest.raises(FatalError) as caught:
        asyncio.run(serve())
    assert caught.value.code is Code.MACHINE_SHORT


class OneMoment(FileSystem):
    """A share on which every call meets a shortage before it succeeds."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._asked: set[tuple[str, str]] = set()

    def _meet(self, call: str, path: str) -> None:
        if (call, path) not in self._asked:
            self._asked.add((call, path))
            raise OSError(self._number, os.strerror(self._number), path)

    def list(self, directory: str) -> list[tuple[str, Kind]]:
        self._meet("list", directory)
        return super().list(directory)

    def stat(self, path: str) -> os.stat_result:
        self._meet("stat", path)
        return super().stat(path)

    def open(self, path: str) -> int:
        self._meet("open", path)
        return super().open(path)

    def create_empty(self, path: str) -> None:
        self._meet("create", path)
        super().create_empty(path)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN])
def test_a_shortage_at_every_call_to_a_share_costs_no_file(tmp_path: Path, number: int) -> None:
    desk = arrange.Desk(tmp_path, fs=OneMoment(number))
    for name in ("a.txt", "下/b.txt"):
        desk.write(name, name)
    done = desk.archive(UNC)
    assert (done.record.state, done.record.archived_files) == (RunState.DONE, 2)
    assert desk.markers() == {"a.txt_archived.txt", "b.txt_archived.txt"}


def test_memory_that_is_missing_for_one_file_is_waited_for(tmp_path: Path) -> None:
    desk = arrange.Desk(tmp_path)
    desk.write("a.txt", "x")
    desk.write("b.txt", "y" * 100)
    missing = {"create": [MemoryError(), MemoryError()]}

    def before(call: str, _key: str) -> None:
        if missing.get(call):
            raise missing[call].pop()

    desk.store.before = before
    done = desk.archive(UNC)
    assert (done.record.state, done.record.archived_files) == (RunState.DONE, 2)
    assert len(desk.catalogue.rows) == 2


def test_the_first_thread_of_a_run_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = arrange.Desk(tmp_path)
    desk.write("a.txt", "x")
    refused = ["himuro-check", "himuro-archive"]
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        for name in refused:
            if thread.name.startswith(name):
                refused.remove(name)
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert desk.archive(UNC).record.state is RunState.DONE
    assert refused == []


def test_a_list_of_sessions_that_cannot_be_read_now_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was written anew, and everybody was signed out."""
    path = tmp_path / "sessions.json"
    before = Sessions(path, time.time)
    before.begin("tanaka", "finger")
    kept = path.read_bytes()
    monkeypatch.setattr(shortage, "WAIT_SECONDS", 0)
    real = Path.open

    def short(self: Path, *_options: object) -> object:
        raise OSError(errno.EMFILE, "Too many open files", str(self))

    monkeypatch.setattr(Path, "open", short)
    with pytest.raises(FatalError):
        Sessions(path, time.time).begin("suzuki", "finger")
    monkeypatch.setattr(Path, "open", real)
    assert path.read_bytes() == kept


@pytest.mark.parametrize(
    "words",
    [
        "could not create socket: Too many open files",
        'connection to server at "db" failed: Too many open files in system',
        "could not open file: Cannot allocate memory",
    ],
)
def test_a_database_that_could_not_be_asked_is_not_down(
    words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortage, "WAIT_SECONDS", 0)

    def connect() -> None:
        raise psycopg2.OperationalError(words)

    with pytest.raises(FatalError) as caught:
        connected(connect)
    assert caught.value.code is Code.MACHINE_SHORT


_LITTLE_MEMORY = """
import logging, resource, sys
from core.resources import shortage
from core.errors import FatalError
pages = int(open("/proc/self/statm").read().split()[0])
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (64 << 20), hard))
shortage.WAIT_SECONDS = 0
try:
    shortage.patiently(bytes, 256 << 20)
except FatalError as exc:
    print(exc.code.name, exc.detail)

class Free(logging.Filter):
    def filter(self, record):
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        return True

logging.getLogger("core.resources.shortage").addFilter(Free())
shortage.WAIT_SECONDS = 60
print(len(shortage.patiently(bytes, 256 << 20)))
"""


def test_memory_that_really_is_missing_is_waited_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LITTLE_MEMORY],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = ["MACHINE_SHORT メモリが足りません", str(256 << 20)]
    assert done.stdout.splitlines() == expected, done.stderr
