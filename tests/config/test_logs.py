"""The console's log: repeated lines once with their count, and no secret in any form."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import traceback
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.config import logs
from core.config.database_url import hide_password, read_url
from core.config.logs import OneRecord, without_secrets
from core.config.repeated_lines import MAX_LINES, Repeats
from core.config.settings import load_settings
from core.errors import HimuroError, SettingsError
from core.files.zip_stream import zip_blocks
from db import open_catalogue
from db.connection.engine import make_engine
from db.health import SqlHealth
from db.schema import upgrade
from tests.support.arrange import UNC, Desk
from tests.support.environment import CHECKOUT, free_port


class Pen:
    """A handler whose lines can be read, with a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.has_threads = True
        self._out = io.StringIO()
        handler = logging.StreamHandler(self._out)
        handler.setFormatter(OneRecord("%(levelname)s %(name)s: %(message)s"))
        self.repeats = Repeats(
            handler, without_secrets, seconds=30, clock=lambda: self.now, schedule=self._schedule
        )
        handler.addFilter(self.repeats)
        self._logger = logging.Logger("asyncio")
        self._logger.addHandler(handler)
        self.write = self._logger.error

    def _schedule(self, seconds: float, work: Callable[[], None]) -> bool:
        if self.has_threads:
            self.due.append((self.now + seconds, work))
        return self.has_threads

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        while ready := [work for at, work in self.due if at <= self.now]:
            self.due = [(at, work) for at, work in self.due if at > self.now]
            for work in ready:
                work()

    @property
    def lines(self) -> list[str]:
        return self._out.getvalue().splitlines()


def test_a_repeated_line_is_written_once_and_then_its_count() -> None:
    pen = Pen()
    for _ in range(21_000):
        pen.write("socket.accept() out of system resource")
    assert pen.lines == ["ERROR asyncio: socket.accept() out of system resource"]
    pen.pass_time(30)
    assert pen.lines[1:] == [
        "ERROR asyncio: socket.accept() out of system resource（同じ行がほかに20,999回）"
    ]
    pen.pass_time(300)
    assert len(pen.lines) == 2
    pen.write("socket.accept() out of system resource")
    assert len(pen.lines) == 3


def test_a_traceback_is_written_once_as_well() -> None:
    pen = Pen()
    for number in range(10):
        try:
            raise OSError(24 if number else 24, "Too many open files")  # noqa: TRY301
        except OSError:
            pen.write("socket.accept() out of system resource\nsocket: <fd=7>", exc_info=True)
    once = len(pen.lines)
    assert sum("Traceback" in line for line in pen.lines) == 1
    pen.repeats.flush()
    assert pen.lines[once:] == [
        "ERROR asyncio: socket.accept() out of system resource（同じ行がほかに9回）"
    ]


def test_lines_that_differ_in_one_letter_are_all_written() -> None:
    pen = Pen()
    for number in range(3 * MAX_LINES):
        pen.write("file %d", number)
        pen.write("file %d", number)
    pen.repeats.flush()
    written = [f"ERROR asyncio: file {n}" for n in range(3 * MAX_LINES)]
    assert sorted(line for line in pen.lines if "同じ行" not in line) == sorted(written)
    assert sorted(line for line in pen.lines if "同じ行" in line) == sorted(
        f"{line}（同じ行がほかに1回）" for line in written
    )


def test_repeats_of_several_lines_that_take_turns_are_counted_each() -> None:
    pen = Pen()
    for _ in range(5):
        pen.write("a")
        pen.write("b")
    pen.pass_time(30)
    assert pen.lines == [
        "ERROR asyncio: a",
        "ERROR asyncio: b",
        "ERROR asyncio: a（同じ行がほかに4回）",
        "ERROR asyncio: b（同じ行がほかに4回）",
    ]


def test_without_a_thread_the_next_line_brings_the_count() -> None:
    pen = Pen()
    pen.has_threads = False
    pen.write("a")
    pen.write("a")
    pen.now += 31
    pen.write("b")
    assert pen.lines[1:] == ["ERROR asyncio: a（同じ行がほかに1回）", "ERROR asyncio: b"]


def test_a_line_with_its_count_holds_no_half_of_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "秘密の鍵" * 30
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    pen = Pen()
    for _ in range(2):
        pen.write("x" * 450 + secret)
    pen.repeats.flush()
    assert "秘密" not in "\n".join(pen.lines)


_ENDS = """
import logging, sys
from core.config import logs
from core.files.zip_stream import zip_blocks
logs.set_up()
for _ in range(7):
    logging.getLogger("asyncio").error("socket.accept() out of system resource")
sys.exit(3)
"""


def test_a_process_that_ends_writes_its_counts() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ENDS],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (3, 2), done.stderr
    assert lines[1].endswith("socket.accept() out of system resource（同じ行がほかに6回）")


# Secrets

HOSTILE = st.text(st.sampled_from("/#@:?%[] &=+'\"\\;,.pqdb5あ鍵é"), min_size=4, max_size=200)
PLACES = ("db.example:5432/himuro", "[::1]/himuro?sslmode=require", "pqdb/db")


@contextmanager
def environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@given(HOSTILE, HOSTILE, st.sampled_from(PLACES))
@example("a/b#c", "p@ss?x=/", PLACES[0])
@example("p@ss/w?x=1", "x" * 200, PLACES[2])
def test_what_is_shown_of_a_url_does_not_depend_on_its_password(
    one: str, other: str, place: str
) -> None:
    """So no part of a password can be in it, not even one that is a part of the host."""
    shown = set()
    for password in (one, other, quote(one, safe=""), quote(other, safe="")):
        url = f"postgresql://himuro:{password}@{place}"
        settings = load_settings({"HIMURO_DATABASE_URL": url})
        shown.add(settings.without_secrets()["HIMURO_DATABASE_URL"])
        assert hide_password(url) in shown
        assert url not in repr(settings)
        assert settings.database_url not in repr(settings)
    readable = f"postgresql+psycopg2://himuro:***@{place.partition('?')[0]}"
    assert shown <= {readable, "***"}
    assert readable in shown


@given(HOSTILE)
@example("]" * 200)
def test_no_error_about_a_url_quotes_its_password(password: str) -> None:
    word = f"Geheim{password}"
    for url in (
        f"postgresql://himuro:{word}@db/x",
        f"postgresql://himuro:{word}@[::1/x",
        f"postgresql://himuro:{word}@db:port/x",
        f"postgresql://himuro:{word}@db/x?connect_timeout=soon",
        f"mysql://himuro:{word}@db/x",
        f"sqlite://himuro:{word}@db/x",
        word,
    ):
        told = ""
        try:
            engine = make_engine(load_settings({"HIMURO_DATABASE_URL": url}).database_url)
            told = repr(engine) + str(engine.url)
        except SettingsError as exc:
            told = "".join(traceback.format_exception(exc))
        assert "Geheim" not in told
        try:
            told = repr(read_url(url))
        except ValueError as exc:
            told = "".join(traceback.format_exception_only(exc))
        assert "Geheim" not in told


def forms(secret: str) -> list[str]:
    """Return a secret as programs quote it."""
    written = [secret, quote(secret, safe=""), quote(secret), quote_plus(secret), repr(secret)]
    return [*written, json.dumps(secret), json.dumps(secret, ensure_ascii=False), ascii(secret)]


@pytest.mark.parametrize(
    "name",
    ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "hidden", "database"],
)
@given(secret=HOSTILE)
def test_no_secret_is_logged_in_any_form(name: str, secret: str) -> None:
    secret = f"geheim{secret}"
    record = "; ".join(f"<{form}>" for form in forms(secret))
    url = f"postgresql://himuro:{quote(secret, safe='')}@db/x"
    given = {"database": {"HIMURO_DATABASE_URL": url}, "hidden": {}}
    with environment(**given.get(name, {name: secret})):
        if name == "hidden":
            logs.hide(secret)
        try:
            raise ValueError(record)  # noqa: TRY301
        except ValueError as exc:
            info = (ValueError, exc, exc.__traceback__)
        made = logging.LogRecord("x", logging.ERROR, "", 0, record, None, info)
        assert "geheim" not in OneRecord("%(message)s").format(made)
        assert "geheim" not in without_secrets(f"{url} {record}")


@pytest.mark.parametrize(
    "password",
    ["geheim/a#b", "geheim@a:b?c[d]e%f g", "geheim鍵" * 30, "geheim?a=b/[", "127.0.0.1"],
)
def test_nothing_that_a_run_leaves_holds_the_password(password: str, tmp_path: Path) -> None:
    """Its record, its zip, the check-up, and what is said and logged of the database."""
    port = free_port()
    url = f"postgresql://himuro:{password}@127.0.0.1:{port}/himuro"
    desk = Desk(tmp_path, environ={"HIMURO_DATABASE_URL": url})
    desk.write("a.txt")
    folder = desk.archive(UNC).folder
    files = sorted(path for path in folder.iterdir() if path.is_file())
    bundle = zipfile.ZipFile(io.BytesIO(b"".join(zip_blocks(files, "x", UTC))))
    told = "".join(bundle.read(name).decode() for name in bundle.namelist())
    told += repr(desk.settings)
    for ask in (
        lambda: open_catalogue(desk.settings.database_url).check(),
        lambda: upgrade(desk.settings.database_url),
        lambda: list(SqlHealth(desk.settings.database_url).examine()),
    ):
        try:
            told += repr(ask())
        except HimuroError as exc:
            told += "".join(traceback.format_exception(exc))
    record = json.loads(bundle.read("x/run.json"))
    shown = record["settings"]["HIMURO_DATABASE_URL"]
    assert shown in ("***", f"postgresql+psycopg2://himuro:***@127.0.0.1:{port}/himuro")
    assert "geheim" not in told
