"""The demo as a user starts and stops it: from outside, with signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dotenv import dotenv_values

from tests.console.test_guard import screen_of
from tests.support.environment import CHECKOUT, HOST, clean_environment, free_port
from tests.support.people import Person, signed_in
from tests.support.servers.processes import answers

ADDRESS = re.compile(r"^\s*(http://127\.0\.0\.1:\d+)\s*$")
PATIENCE = 90
"""Seconds after which a demo that says nothing is taken for stuck."""


@dataclass
class Demo:
    """A demo that was started, and what it said so far."""

    process: subprocess.Popen[str]
    place: Path
    said: str = ""

    def read_until(self, pattern: re.Pattern[str]) -> str:
        """Return the first group of the first line that fits; fails when the demo ends."""
        assert self.process.stdout
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.start()
        try:
            for line in self.process.stdout:
                self.said += line
                if found := pattern.search(line):
                    return found.group(1)
        finally:
            timer.cancel()
        pytest.fail(f"the demo ended early:\n{self.said}")

    def end(self) -> int:
        """Return the exit code after everything it still had to say."""
        rest, _ = self.process.communicate(timeout=PATIENCE)
        self.said += rest
        return self.process.returncode

    @property
    def settings(self) -> dict[str, str]:
        values = dotenv_values(self.place / "settings.env", interpolate=False)
        return {name: value or "" for name, value in values.items()}


Start = Callable[..., Demo]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start demos in a directory of this test; those that still run at its end are killed."""
    begun: list[Demo] = []

    def starter(place: Path = tmp_path / "demo", port: int | None = None) -> Demo:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.demo"],
            cwd=CHECKOUT,
            env={
                **clean_environment(),
                "HIMURO_DEMO_DIR": str(place),
                "HIMURO_DEMO_PORT": str(port or free_port()),
                "PYTHONUTF8": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        begun.append(Demo(process, place))
        return begun[-1]

    yield starter
    for demo in begun:
        if demo.process.poll() is None:
            demo.process.kill()
        demo.process.communicate()


def core(demo: Demo, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command against the demo, as an administrator with its settings would."""
    return subprocess.run(
        [sys.executable, "-m", "core", *words],
        cwd=demo.place,
        env={**clean_environment(), **demo.settings, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
    )


def has_ended(url: str) -> bool:
    """Return whether nobody answers there within five seconds: the kernel ends children."""
    deadline = time.monotonic() + 5
    while answers(url) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)  # another process has to end; there is nothing to be told by
    return True


def test_a_demo_from_the_address_to_ctrl_c(start: Start) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        demo = start(port=port)
        url = demo.read_until(ADDRESS)
        assert url != f"http://{HOST}:{port}"
    assert answers(url) == 200
    assert answers(f"{url}/_stcore/health") == 200

    *good, mistakes, restore = sorted((demo.place / "lists").iterdir())
    assert len(good) == 5
    for file in good:
        checked = core(demo, "validate", file)
        assert checked.returncode == 0, (file.name, checked.stdout, checked.stderr)
    assert core(demo, "validate", mistakes).returncode == 2
    who = ("--request-id", "REQ-1", "--requester", "山田")
    archived = core(demo, "archive", good[0], *who)
    assert archived.returncode == 0, archived.stderr
    password = demo.read_until(re.compile(r"operator +(\S+)"))
    demo.read_until(re.compile("(約1分で取り出せる)"))
    headers = signed_in(url, Person("operator", "operator", password))
    assert "約1分で終わります" in screen_of(url, headers, page_name="restore")
    asked = core(demo, "restore-request", restore, *who)
    assert asked.returncode == 1, asked.stderr  # one row names nothing
    assert core(demo, "restore-status").returncode == 4

    second = start(place=demo.place)
    assert second.end() == 1
    assert "既に起動しています" in second.said

    s3 = demo.settings["AWS_ENDPOINT_URL_S3"]
    assert answers(s3) == 200
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 0
    assert "削除しました" in demo.said
    assert "Traceback" not in demo.said
    assert not demo.place.exists()
    assert answers(url) is None
    assert answers(s3) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_what_a_killed_demo_leaves_is_cleared_by_the_next(start: Start) -> None:
    killed = start()
    url = killed.read_until(ADDRESS)
    s3 = killed.settings["AWS_ENDPOINT_URL_S3"]
    killed.process.kill()
    killed.process.wait()
    assert has_ended(url)
    assert has_ended(s3)
    (killed.place / "share" / "left behind.txt").touch()

    again = start()
    again.read_until(ADDRESS)
    assert not (again.place / "share" / "left behind.txt").exists()
    again.process.send_signal(signal.SIGTERM)
    assert again.end() == 0
    assert not again.place.exists()


@pytest.mark.parametrize("step", [1, 3, 5])
def test_ctrl_c_while_it_is_being_set_up(start: Start, step: int) -> None:
    demo = start()
    if step > 1:
        demo.read_until(re.compile(rf"(\[{step - 1}/5\]).*できました"))
    else:
        demo.read_until(re.compile("(準備しています)"))
    demo.process.send_signal(signal.SIGINT)
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 0
    assert "Traceback" not in demo.said
    assert not demo.place.exists()


def test_a_directory_of_somebody_else_is_left_alone(start: Start, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    (place / "thesis.txt").write_text("years of work", "utf-8")
    demo = start(place=place)
    assert demo.end() == 1
    assert os.listdir(place) == ["thesis.txt"]  # noqa: PTH208 - names are enough
