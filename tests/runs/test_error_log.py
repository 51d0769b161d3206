"""Error logs read back: lines in their parts, causes, the search, and the bounds of all of it."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Code, FatalError, Severity, sentence
from core.jobs.recovery import recover
from core.model import Outcome, Problem, Result
from core.paths.normalization import fold, printable
from core.runs.error_log import Cause, LogLine, causes, excerpt, parse_line
from core.runs.folder import RunFolder
from tests.support.arrange import UNC, Desk

WHEN = datetime(2026, 10, 5, 1, 15, tzinfo=UTC)
TEXT = st.text(max_size=40)
LOGGED = [code for code in Code if code.severity is not Severity.NOTE]


def line(path: str, code: Code = Code.SOURCE_NOT_FOUND) -> str:
    return f"[2026-10-05 10:15:00] ERROR: {path} - {code.what} 対処: {code.remedy} ({code.name})\n"


def write(tmp_path: Path, *lines: str | bytes) -> Path:
    path = tmp_path / "error_log.txt"
    path.write_bytes(b"".join(x if isinstance(x, bytes) else x.encode() for x in lines))
    return path


# Lines


def test_a_line_in_its_parts() -> None:
    text = (
        "[2026-10-05 10:15:00] ERROR: \\\\fsx01\\share\\a - b.txt - "
        "ファイルが存在しません（近い名前: c） 対処: x (SOURCE_NOT_FOUND)"
    )
    assert parse_line(text) == LogLine(
        "2026-10-05 10:15:00",
        "ERROR",
        "\\\\fsx01\\share\\a - b.txt",
        "ファイルが存在しません（近い名前: c） 対処: x",
        "SOURCE_NOT_FOUND",
    )


@given(path=TEXT, detail=TEXT, code=st.sampled_from(LOGGED), line_number=st.none() | st.integers(1))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    path: str,
    detail: str,
    code: Code,
    line_number: int | None,
) -> None:
    folder = RunFolder(tmp_path_factory.mktemp("log"), ZoneInfo("Asia/Tokyo"))
    folder.log_problems(WHEN, [Problem(code, path, "一覧.csv", line_number, detail)])
    (read,) = excerpt(folder.path / "error_log.txt").lines
    assert (read.time, read.severity) == ("2026-10-05 10:15:00", code.severity.value)
    assert (read.path, read.code) == (printable(path), code.name)
    assert read.text.startswith(printable(sentence(code, detail)))


@given(st.text(max_size=200))
def test_any_line_is_read_and_can_be_shown(text: str) -> None:
    read = parse_line(text)
    assert read.code or read.text == printable(text)
    assert printable(read.path + read.text + read.code) == read.path + read.text + read.code
    assert read.files >= 0


# Causes


def test_causes_are_counted_errors_first(tmp_path: Path) -> None:
    lines = [line(f"{UNC}\\{n}.txt") for n in (1, 1, 2, 3, 4, 5)]
    warning = "[2026-10-05 10:15:00] WARNING: x - 何か (FROM_A_LATER_VERSION)\n"
    path = write(tmp_path, warning * 9, line(UNC, Code.ACCESS_DENIED), *lines, "torn", b"\xff\n\n")
    found = causes(path)
    assert not found.cut
    assert [(c.code, c.severity, c.files) for c in found.causes] == [
        ("SOURCE_NOT_FOUND", "ERROR", 6),
        ("ACCESS_DENIED", "ERROR", 1),
        ("FROM_A_LATER_VERSION", "WARNING", 9),
        ("", "", 1),
    ]
    first, _, later, other = found.causes
    assert [e.path for e in first.examples] == [f"{UNC}\\{n}.txt" for n in (1, 2, 3)]
    assert first.explanation == Code.SOURCE_NOT_FOUND.value
    assert later.explanation is None
    assert other.examples[0].text == "torn\ufffd"


def test_a_log_that_grows_is_counted_again(tmp_path: Path) -> None:
    path = write(tmp_path, line("a"))
    assert causes(path).causes[0].files == 1
    with path.open("a", encoding="utf-8") as file:
        file.write(line("b"))
    assert causes(path).causes[0].files == 2


def test_files_that_a_run_did_not_come_to_are_counted(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for number in range(3):
        desk.write(f"{number}.txt", "x")
    desk.stop.request()
    stopped = desk.archive(UNC)
    assert [(c.code, c.files) for c in _causes(stopped.folder)] == [("STOPPED", 3)]

    killed = desk.new_run(f"{UNC}\n".encode())
    killed.begin(killed.check())
    killed.folder.add_outcomes([Outcome(rf"{UNC}\0.txt", Result.ARCHIVED, 1, "k", "0" * 64)])
    killed.folder.close()
    killed._lock.release()
    recover(desk.settings)
    assert [(c.code, c.files) for c in _causes(killed.folder.path)] == [("INTERRUPTED", 2)]


def test_what_stopped_a_run_is_a_cause(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("a.txt", "x")

    def no_bucket(_call: str, _key: str) -> None:
        raise FatalError(Code.NO_SUCH_BUCKET)

    desk.store.before = no_bucket
    found = _causes(desk.archive(UNC).folder)
    assert {c.code: c.files for c in found} == {"NO_SUCH_BUCKET": 1, "STOPPED": 1}


def _causes(folder: Path) -> tuple[Cause, ...]:
    return causes(folder / "error_log.txt").causes


# The search


def test_search_by_words_and_code(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        line(f"{UNC}\\経理部\\決算ﾃﾞｰﾀ.XLSX"),
        line(f"{UNC}\\経理部\\b.txt", Code.UPLOAD_FAILED),
    )

    def found(words: str, code: str = "") -> list[str]:
        return [read.path.rpartition("\\")[2] for read in excerpt(path, words, code).lines]

    assert found("") == ["決算ﾃﾞｰﾀ.XLSX", "b.txt"]
    assert found("経理部 でーた xlsx") == ["決算ﾃﾞｰﾀ.XLSX"]
    assert found("", "UPLOAD_FAILED") == ["b.txt"]
    assert found("経理部", "UPLOAD_FAILED") == ["b.txt"]
    assert found("決算", "UPLOAD_FAILED") == found("ない") == []


@given(st.lists(TEXT.filter(lambda text: bool(printable(text).strip())), min_size=1, max_size=5))
def test_every_line_is_found_by_its_own_words(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = RunFolder(tmp_path_factory.mktemp("log"), ZoneInfo("Asia/Tokyo"))
    for text in texts:
        folder.log(WHEN, Severity.ERROR, UNC, text, Code.INTERNAL)
    for text in texts:
        found = excerpt(folder.path / "error_log.txt", fold(printable(text)), "INTERNAL")
        assert printable(text) in [read.text for read in found.lines]


# Bounds


def test_only_so_much_is_read_and_it_is_said(tmp_path: Path) -> None:
    one = line("a.txt")
    size = len(one.encode())
    path = write(tmp_path, *[line(f"{n}.txt") for n in range(1000, 3000)])
    found = excerpt(path)
    assert (len(found.lines), found.matching, found.cut) == (500, 2000, False)
    assert found.lines[-1].path == "2999.txt"
    last = excerpt(path, most_bytes=size * 10)
    assert last.cut
    assert [read.path for read in last.lines] == [f"{n}.txt" for n in range(2991, 3000)]
    first = causes(path, most_bytes=size * 10)
    assert first.cut
    assert first.causes[0].files in (9, 10)
    assert not causes(path).cut


def test_a_large_log_costs_no_memory(tmp_path: Path) -> None:
    path = write(tmp_path, line(f"{UNC}\\{'長' * 60}.txt") * 60_000, b"x" * 12_000_000, b"\nend\n")
    tracemalloc.start()
    try:
        assert [c.files for c in causes(path).causes] == [60_000, 2]
        assert excerpt(path, code="SOURCE_NOT_FOUND").cut
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 25_000_000
    assert most < 2_000_000


@pytest.mark.parametrize("read", [causes, excerpt])
def test_what_is_no_log_is_an_error(tmp_path: Path, read: object) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / "directory").mkdir()
    for name in ("link", "directory", "missing"):
        with pytest.raises(OSError):  # noqa: PT011 - which one is the system's affair
            read(tmp_path / name)  # type: ignore[operator]
