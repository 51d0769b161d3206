"""The commands: exit codes, what goes to which output, and how failures are said."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from core.__main__ import WIRING, open_catalogue, open_store
from core.archive.ports import ObjectStore
from core.cli import output
from core.cli.main import main
from core.cli.signals import announced, stoppable
from core.config.settings import Settings
from core.errors import Code, FatalError
from core.lists.parser import parse
from core.model import ListKind, ListSource, Progress
from core.ports import Catalogue
from core.share.shares import FileSystem
from tests.support.arrange import UNC, archive_list
from tests.support.environment import CHECKOUT, free_port
from tests.support.servers.buckets import Bucket
from tests.support.servers.proxy import Fault

WHO = ("--request-id", "FAST-1", "--requester", "山田")


class Console:
    """A working directory, a share, and the commands run in this process."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.share, self.data = root, root / "share", root / "data"
        self._capsys = capsys
        self.wiring = WIRING
        self.share.mkdir()

    def write(self, name: str, text: str = "x") -> None:
        path = self.share / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def list(self, *paths: str) -> str:
        path = self.root / "一覧.csv"
        path.write_bytes(archive_list(*paths))
        return str(path)

    def run(self, *argv: str) -> tuple[int, str, str]:
        code = main(argv, self.wiring)
        out, err = self._capsys.readouterr()
        return code, out, err

    def json(self, *argv: str) -> tuple[int, dict]:
        code, out, _ = self.run(*argv, "--json")
        return code, json.loads(out.splitlines()[-1])


@pytest.fixture
def console(
    tmp_path: Path,
    bucket: Bucket,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Console:
    """An installation that works, once on each kind of database."""
    (tmp_path / "desk").mkdir()
    console = Console(tmp_path / "desk", capsys)
    monkeypatch.chdir(console.root)
    monkeypatch.setenv("HIMURO_DATA_DIR", str(console.data))
    monkeypatch.setenv("HIMURO_DATABASE_URL", database_url)
    monkeypatch.setenv("HIMURO_BUCKET", bucket.name)
    monkeypatch.setenv("HIMURO_SHARES", f"{UNC}={console.share}")
    return console


def test_the_whole_way_from_a_list_to_the_archive_list(console: Console, bucket: Bucket) -> None:
    console.write("営業部/見積書～A社.xlsx", "one")
    console.write("営業部/-1+2.txt", "two")
    path = console.list(rf"{UNC}\営業部")
    code, out, err = console.run("archive", path, *WHO, "--comment", "年度末")
    assert (code, "成功 2件" in err) == (0, True)
    folder = Path(out.splitlines()[-1])
    assert json.loads((folder / "run.json").read_text())["state"] == "done"
    assert sorted(bucket.object_keys()) == [
        "fsx01/share/営業部/-1+2.txt",
        "fsx01/share/営業部/見積書～A社.xlsx",
    ]
    code, found = console.json("search", "見積書~ａ社")
    assert (code, found["total"]) == (0, 1)
    assert found["rows"][0]["アーカイブファイル名"] == "見積書～A社.xlsx_archived.txt"
    assert found["rows"][0]["コメント"] == "年度末"
    code, result = console.json("archive", path, *WHO)
    assert (code, result["counts"]["unchanged"]) == (0, 2)
    code, runs = console.json("runs")
    assert [run["state"] for run in runs["runs"]] == ["done", "done"]
    code, table, _ = console.run("runs")
    assert table.count("FAST-1") == 2


def test_every_hit_goes_into_a_file(console: Console) -> None:
    console.write("=cmd.txt")
    # In a workbook this would be read as b-A.txt.
    console.write("b-_x0041_.txt")
    console.run("archive", console.list(UNC), *WHO)
    code, out, _ = console.run("search", "--out", "all.csv", "--request-id", "FAST-1")
    assert (code, out.strip()) == (0, "all.csv")
    rows = list(csv.reader(io.StringIO((console.root / "all.csv").read_text("utf-8-sig"))))
    assert rows[0][1:4] == ["ディレクトリパス", "アーカイブファイル名", "S3バケット名"]
    assert {row[2] for row in rows[1:]} == {"'=cmd.txt_archived.txt", "b-_x0041_.txt_archived.txt"}
    assert console.run("search", "--out", "all.xlsx")[0] == 0
    exported = ListSource("all.xlsx", (console.root / "all.xlsx").read_bytes())
    again = parse([exported], ListKind.RESTORE, ZoneInfo("Asia/Tokyo"))
    assert again.problems == ()
    names = {"=cmd.txt_archived.txt", "b-_x0041_.txt_archived.txt"}
    assert {row.path.rpartition("\\")[2] for row in again.rows} == names
    for options, first in ((("--ascending",), "'=cmd.txt"), ((), "b-_x0041_.txt")):
        _, _, err = console.run("search", "--out", "all.csv", "--sort", "name", *options)
        rows = list(csv.reader(io.StringIO((console.root / "all.csv").read_text("utf-8-sig"))))
        assert rows[1][2] == f"{first}_archived.txt"
        assert "2件を書き出しました" in err
    assert console.run("search", "--out", "all.pdf")[0] == 2
    for nowhere in ("nowhere/all.csv", "all.csv/all.csv"):
        code, _, err = console.run("search", "--out", nowhere)
        assert (code, "保存先のフォルダーがあるか" in err) == (2, True)
    assert console.run("search", "--from", "きのう")[0] == 2


def test_a_refused_list_exits_with_2_and_writes_nothing_to_s3(
    console: Console, bucket: Bucket
) -> None:
    console.write("good.txt")
    path = console.list(rf"{UNC}\good.txt", rf"{UNC}\missing.txt")
    code, out, err = console.run("archive", path, *WHO)
    assert code == 2
    assert "一覧.csv 3行目" in err
    assert "SOURCE_NOT_FOUND" in err
    folder = Path(out.splitlines()[-1])
    assert sorted(p.name for p in folder.iterdir()) == ["error_log.txt", "input.csv", "run.json"]
    assert bucket.writes() == []
    assert list(console.share.iterdir()) == [console.share / "good.txt"]


def test_validate_writes_nothing_outside_its_run_folder(console: Console, bucket: Bucket) -> None:
    console.write("good.txt")
    code, result = console.json("validate", console.list(UNC))
    assert (code, result["state"], result["kind"]) == (0, "done", "validate")
    assert result["counts"]["total"] == 1
    assert console.json("validate", console.list(rf"{UNC}\none"))[0] == 2
    assert bucket.proxy.seen == []
    assert [p.name for p in console.share.iterdir()] == ["good.txt"]


def test_a_restore_list_is_checked_against_the_archive_list(
    console: Console, bucket: Bucket
) -> None:
    console.write("営業部/a.txt")
    console.write("営業部/b.txt")
    console.run("archive", console.list(UNC), *WHO)
    path = console.root / "復元.csv"

    folders: list[str] = []

    def validate(*lines: str) -> tuple[int, int]:
        text = "\r\n".join(["ディレクトリパス,復元対象ファイル名", *lines])
        path.write_bytes(text.encode("cp932"))
        code, result = console.json("validate", str(path), "--kind", "restore")
        folders.append(result["folder"])
        return code, result["counts"]["failed"]

    folder = rf"{UNC}\営業部"
    assert validate(f"{folder},a.txt", f"{folder},B.TXT_archived.txt".lower()) == (0, 0)
    assert validate(r"\\FSX01\Share\営業部,") == (0, 0)
    assert validate(f"{folder},a.txt", f"{folder},none.txt") == (1, 1)
    assert validate(f"{folder},none.txt") == (2, 1)
    log = (Path(folders[-1]) / "error_log.txt").read_text()
    assert "アーカイブ一覧に見つかりません" in log


def test_some_failed_files_exit_with_1_and_their_list_is_a_valid_input(
    console: Console, bucket: Bucket
) -> None:
    for number in range(5):
        console.write(f"{number}.txt", str(number))
    bucket.proxy.decide = lambda method, path: (
        Fault.INTERNAL if method == "PUT" and path.endswith("/3.txt") else Fault.NONE
    )
    code, result = console.json("archive", console.list(UNC), *WHO)
    assert (code, result["state"], result["counts"]["failed"]) == (1, "failed_files", 1)
    failed = Path(result["folder"]) / "failed_uploads.txt"
    assert failed.read_bytes() == ("\ufeff" + rf"{UNC}\3.txt" + "\r\n").encode()
    bucket.proxy.decide = lambda _method, _path: Fault.NONE
    code, result = console.json("archive", str(failed), *WHO)
    assert (code, result["counts"]["archived"]) == (0, 1)
    assert len(bucket.object_keys()) == 5


def test_credentials_that_expire_midway_exit_with_3(console: Console, bucket: Bucket) -> None:
    for number in range(30):
        console.write(f"{number:02}.txt", str(number))
    puts = []

    def expire(method: str, path: str) -> Fault:
        puts.append(path) if method == "PUT" else None
        return Fault.EXPIRED if len(puts) > 10 else Fault.NONE

    bucket.proxy.decide = expire
    code, result = console.json("archive", console.list(UNC), *WHO)
    assert (code, result["state"]) == (3, "error")
    assert "認証情報" in result["message"]
    assert result["counts"]["archived"] + result["counts"]["failed"] == 30
    bucket.proxy.decide = lambda _method, _path: Fault.NONE
    failed = str(Path(result["folder"]) / "failed_uploads.txt")
    assert console.json("archive", failed, *WHO)[0] == 0
    _, found = console.json("search")
    assert found["total"] == len(bucket.object_keys()) == 30


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
class TestEnvironment:
    """What is wrong with the surroundings is one message, and exit code 3."""

    def failure(self, console: Console, *argv: str) -> str:
        console.write("a.txt")
        command = argv or ("archive", console.list(UNC), *WHO)
        code, out, err = console.run(*command)
        assert (code, out) == (3, "")
        assert err.count("エラー") == 1
        return err

    def test_all_settings_at_once(self, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("HIMURO_BUCKET")
        monkeypatch.setenv("HIMURO_SHARES", "nonsense")
        monkeypatch.setenv("HIMURO_RESTORE_DAYS", "0")
        monkeypatch.setenv("HIMURO_TIMEZONE", "Mars/Olympus")
        message = self.failure(console)
        for name in ("BUCKET", "SHARES", "RESTORE_DAYS", "TIMEZONE"):
            assert f"HIMURO_{name}" in message

    def test_no_credentials(self, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert "AWSの認証情報がありません" in self.failure(console)

    def test_no_such_bucket(self, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HIMURO_BUCKET", "himuro-nowhere")
        assert "S3バケットが存在しません（himuro-nowhere）" in self.failure(console)

    def test_s3_does_not_answer(self, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
        assert "S3に接続できません" in self.failure(console)

    def test_database_down(self, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
        url = f"postgresql://himuro:geheim@127.0.0.1:{free_port()}/himuro"
        monkeypatch.setenv("HIMURO_DATABASE_URL", url)
        message = self.failure(console)
        assert "データベースに接続できません" in message
        assert "geheim" not in message

    @pytest.mark.parametrize("option", ["foo=1", "sslmode=maybe", "connect_timeout=soon"])
    def test_a_database_url_with_a_wrong_option(
        self, console: Console, monkeypatch: pytest.MonkeyPatch, option: str
    ) -> None:
        url = f"postgresql://himuro:geheim@127.0.0.1:{free_port()}/himuro?{option}"
        monkeypatch.setenv("HIMURO_DATABASE_URL", url)
        message = self.failure(console)
        assert "HIMURO_DATABASE_URL に誤りがあります" in message
        assert "geheim" not in message

    def test_a_file_of_settings_in_an_unknown_encoding(self, console: Console) -> None:
        (console.root / ".env").write_bytes("HIMURO_BUCKET=a".encode("utf-16"))
        assert "UTF-8で保存し直してください" in self.failure(console)

    def test_schema_missing(self, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HIMURO_DATABASE_URL", f"sqlite:///{console.root}/new.db")
        assert "init-db" in self.failure(console)
        assert console.run("init-db")[0] == 0
        assert console.run("init-db")[0] == 0
        assert console.run("archive", console.list(UNC), *WHO)[0] == 0

    def test_share_not_mounted(self, console: Console) -> None:
        paths = [rf"{UNC}\{number}.txt" for number in range(50)]
        code, out, err = console.run("archive", console.list(*paths), *WHO)
        assert code == 3
        assert err.count("共有フォルダーに接続できません") == 1 + 1  # said, and in the summary
        folder = Path(out.strip())
        assert json.loads((folder / "run.json").read_text())["state"] == "error"
        assert (folder / "error_log.txt").read_text().count("\n") == 1

    def test_data_directory_cannot_be_written(
        self, console: Console, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (console.root / "file").write_text("")
        monkeypatch.setenv("HIMURO_DATA_DIR", str(console.root / "file"))
        assert "実行記録を書き込めません" in self.failure(console)

    def test_json_says_it_too(self, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HIMURO_BUCKET", "himuro-nowhere")
        code, result = console.json("archive", console.list(UNC), *WHO)
        assert (code, result["state"], result["folder"]) == (3, "error", None)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_options_are_checked(console: Console) -> None:
    path = console.list(UNC)
    assert console.run("archive", path, "--request-id", " ", "--requester", "x")[0] == 2
    assert console.run("archive", path, "--request-id", "x" * 256, "--requester", "x")[0] == 2
    assert console.run("archive", "missing.csv", *WHO)[0] == 2


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["archive", "a.csv"], "必要な指定がありません: --request-id, --requester"),
        (["archive", "a.csv", "--request-id"], "--request-id に値がありません"),
        (["nonsense"], "次のどれかにしてください"),
        (["validate", "a.csv", "--kind", "x"], "次のどれかにしてください"),
        (["search", "--page", "one"], "整数で指定してください"),
        (["runs", "--lim", "3"], "知らない指定です: --lim"),
        ([], "必要な指定がありません: コマンド"),
    ],
)
def test_arguments_that_cannot_be_meant(console: Console, argv: list[str], words: str) -> None:
    code, out, err = console.run(*argv)
    assert (code, out) == (2, "")
    assert words in err
    code, out, _ = console.run(*argv, "--json")
    (line,) = out.splitlines()
    result = json.loads(line)
    assert (code, result["state"], result["folder"]) == (2, "refused", None)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_stop_during_the_check_is_said_in_json_too(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    console.write("a.txt")
    look = FileSystem.open

    def struck(self: FileSystem, path: str) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return look(self, path)

    monkeypatch.setattr(FileSystem, "open", struck)
    for command in (["archive", console.list(UNC), *WHO], ["validate", console.list(UNC)]):
        code, out, _ = console.run(*command, "--json")
        assert (code, json.loads(out)["state"]) == (130, "stopped")
    assert list(console.share.iterdir()) == [console.share / "a.txt"]


@pytest.fixture
def heeding_ctrl_c() -> Iterator[None]:
    """Tests that a shell starts in its background are told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_signal_before_the_check_is_an_end_in_order(
    console: Console, number: signal.Signals, heeding_ctrl_c: None
) -> None:
    def strike(settings: Settings) -> Catalogue:
        os.kill(os.getpid(), number)
        return open_catalogue(settings)

    console.wiring = replace(console.wiring, open_catalogue=strike)
    # The main thread hears of it while it waits for the others, or just after.
    code, result = console.json("archive", console.list(UNC), *WHO)
    assert (code, result["state"]) == (130, "stopped")


def test_a_signal_only_sets_a_flag_and_the_message_waits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown: list[Progress] = []
    with stoppable() as stop:
        progress = announced(stop, shown.append, output.say)
        progress(Progress())
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        assert not stop.expired
        assert capsys.readouterr().err == ""
        progress(Progress())
        progress(Progress())
        assert capsys.readouterr().err.count("停止しています") == 1
        signal.raise_signal(signal.SIGINT)
        assert stop.expired
    assert len(shown) == 3


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_database_that_is_down_does_not_wait_for_a_slow_s3(console: Console) -> None:
    release, released = threading.Event(), []

    def slow(settings: Settings) -> ObjectStore:
        released.append(release.wait(60))
        return open_store(settings)

    def down(_settings: Settings) -> Catalogue:
        raise FatalError(Code.DATABASE_UNAVAILABLE)

    console.wiring = replace(console.wiring, open_store=slow, open_catalogue=down)
    code, _, err = console.run("archive", console.list(UNC), *WHO)
    assert (code, released) == (3, [])
    assert "データベースに接続できません" in err
    release.set()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_the_unexpected_is_an_error_with_its_traceback_in_the_log(
    console: Console, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_settings: Settings) -> Catalogue:
        raise ZeroDivisionError

    console.wiring = replace(console.wiring, open_catalogue=broken)
    code, result = console.json("archive", console.list(UNC), *WHO)
    assert (code, result["state"]) == (3, "error")
    assert "予期しないエラーが発生しました（ZeroDivisionError）" in result["message"]
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_settings_come_from_a_file_too(
    console: Console, monkeypatch: pytest.MonkeyPatch, bucket: Bucket
) -> None:
    console.write("a.txt")
    monkeypatch.delenv("HIMURO_BUCKET")
    (console.root / ".env").write_text(f"HIMURO_BUCKET={bucket.name}\nHIMURO_DATA_DIR=elsewhere\n")
    assert console.run("archive", console.list(UNC), *WHO)[0] == 0
    assert console.data.is_dir()  # what is set already wins
    os.environ.pop("HIMURO_BUCKET")


def start(
    console: Console,
    argv: Sequence[str],
    *,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "core", *argv],
        cwd=console.root,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=stdout,
        stderr=stderr,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("lost", [("stdout",), ("stdout", "stderr")])
def test_the_exit_code_outlives_whoever_reads(
    console: Console, bucket: Bucket, lost: tuple[str, ...]
) -> None:
    def run(*argv: str) -> int:
        reader, writer = os.pipe()
        os.close(reader)
        streams = dict.fromkeys(lost, writer)
        with start(console, argv, **streams) as process:
            os.close(writer)
            _, err = process.communicate(timeout=60)
        assert "BrokenPipe" not in (err or "")
        return process.returncode

    console.write("a.txt")
    path = console.list(UNC)
    missing = console.root / "誤り.csv"
    missing.write_bytes(archive_list(rf"{UNC}\none"))
    assert run("archive", str(missing), *WHO) == 2
    assert bucket.object_keys() == []
    assert run("archive", path, *WHO) == 0
    assert bucket.object_keys() == ["fsx01/share/a.txt"]
    assert run("search") == run("runs") == run("--help") == 0
    assert run("search", "--from", "きのう") == 2


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_in_order_and_the_retry_completes(
    console: Console, bucket: Bucket, number: signal.Signals
) -> None:
    for file in range(300):
        console.write(f"{file:03}.txt", str(file))
    puts: list[str] = []
    processes: list[subprocess.Popen[str]] = []

    def strike(method: str, path: str) -> Fault:
        if method == "PUT":
            puts.append(path)
            if len(puts) == 40:
                processes[0].send_signal(number)
        return Fault.NONE

    bucket.proxy.decide = strike
    processes.append(start(console, ["archive", console.list(UNC), *WHO, "--json"]))
    out, err = processes[0].communicate(timeout=60)
    result = json.loads(out.splitlines()[-1])
    assert (processes[0].returncode, result["state"]) == (130, "stopped"), err
    assert 0 < result["counts"]["archived"] < 300
    assert result["counts"]["archived"] == len(bucket.object_keys())
    bucket.proxy.decide = lambda _method, _path: Fault.NONE
    failed = str(Path(result["folder"]) / "failed_uploads.txt")
    code, again = console.json("archive", failed, *WHO)
    assert (code, again["counts"]["archived"]) == (0, 300 - result["counts"]["archived"])
    assert len(bucket.object_keys()) == 300


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_two_commands_at_once_wait_for_each_other(console: Console, bucket: Bucket) -> None:
    for file in range(60):
        console.write(f"{file:02}.txt", str(file))
    path = console.list(UNC)
    both = [start(console, ["archive", path, *WHO, "--json"]) for _ in range(2)]
    ends = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    counts = [json.loads(out.splitlines()[-1])["counts"] for out, _ in ends]
    assert sum(c["archived"] + c["unchanged"] for c in counts) == 120
    assert len(bucket.object_keys()) == 60
    _, found = console.json("search")
    assert found["total"] == 60
