"""Two consoles on one data directory: the second one does not start, and says who has it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from core.errors import Code, FatalError
from core.jobs import single_instance
from tests.support.environment import APP, CHECKOUT, clean_environment, free_port
from tests.support.people import OPERATOR, signed_in, write_accounts
from tests.support.servers.browser import core
from tests.support.servers.processes import answers, console

TOKYO = ZoneInfo("Asia/Tokyo")
SENTENCE = "データディレクトリをほかのコンソールが使用しています"

_HOLDER = """
import sys
from pathlib import Path
from zoneinfo import ZoneInfo
from core.jobs.single_instance import hold
hold(Path(sys.argv[1]), ZoneInfo("Asia/Tokyo"))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def another(data: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold a directory until this block ends."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(data)],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "data"
    yield made
    single_instance.release(made)


def refusal(data: Path) -> FatalError:
    with pytest.raises(FatalError) as caught:
        single_instance.hold(data, TOKYO)
    assert caught.value.code is Code.DATA_DIR_IN_USE
    return caught.value


def test_a_second_console_does_not_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_accounts(data / "accounts.toml", OPERATOR)
    env = {"HIMURO_DATA_DIR": str(data)}
    core(env, tmp_path, "init-db")
    with console(env, free_port(), cwd=tmp_path) as first:
        signed_in(first.url, OPERATOR)
        sessions = (data / "sessions.json").read_bytes()
        port = free_port()
        command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port)]
        second = subprocess.run(
            command,
            cwd=tmp_path,
            env={**clean_environment(), "PYTHONPATH": str(CHECKOUT), "PYTHONUTF8": "1", **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 3, second.stderr
        told = re.search(rf"{SENTENCE}（(.+)）", second.stderr)
        assert told, second.stderr
        host = re.escape(socket.gethostname())
        when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
        assert re.fullmatch(rf"{data}: 記録ではホスト {host} のプロセス \d+、{when} から", told[1])
        assert str(json.loads((data / "console.json").read_text())["pid"]) in told[1]
        assert "Traceback" not in second.stderr
        assert answers(f"http://127.0.0.1:{port}/healthz") is None
        assert answers(f"{first.url}/healthz") == 200
        assert (data / "sessions.json").read_bytes() == sessions
        core(env, tmp_path, "runs")  # a command works beside it


def test_a_directory_is_free_once_its_holder_was_killed(data: Path) -> None:
    with another(data) as holder:
        assert f"プロセス {holder.pid}、" in refusal(data).detail
        holder.kill()
    single_instance.hold(data, TOKYO)
    single_instance.hold(data, TOKYO)  # the same process may start anew


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"pid": 1}',
        b'{"pid": -1, "host": "x", "since": "2026-11-28T00:00:00+00:00"}',
        b'{"pid": 1, "host": "x", "since": "9999-99-99"}',
        b"[" * 100_000,
    ],
)
def test_a_note_that_cannot_be_read_holds_nobody_up(data: Path, note: bytes) -> None:
    with another(data):
        (data / "console.json").write_bytes(note)
        assert refusal(data).detail == f"{data}: 使用中のコンソールの記録は読み取れません"
    (data / "console.json").write_bytes(note)
    single_instance.hold(data, TOKYO)


def test_a_forged_note_forges_no_line(data: Path) -> None:
    with another(data):
        forged = {"pid": 7, "host": "a\nERROR: b" + "c" * 500, "since": "2026-11-28T00:00:00+00:00"}
        (data / "console.json").write_text(json.dumps(forged))
        detail = refusal(data).detail
    assert "\n" not in detail
    assert len(detail) < 200 + len(str(data))
    assert "プロセス 7、2026-11-28 09:00:00 から" in detail


def test_a_note_alone_is_no_lock(data: Path) -> None:
    """As a console leaves it that was killed, or as it comes back with a backup."""
    data.mkdir()
    who = {"pid": 1, "host": "elsewhere", "since": "2026-11-28T00:00:00+00:00"}
    (data / "console.json").write_text(json.dumps(who))
    single_instance.hold(data, TOKYO)
