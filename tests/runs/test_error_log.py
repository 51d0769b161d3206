"""Error logs read back: lines in their parts, causes, the search, and the bounds of all of it."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Code, FatalError, ItemError, Severity, sentence
from core.jobs.recovery import recover
from core.model import Outcome, Problem, Result, RunState
from core.paths.normalization import fold, printable
from core.restore.folder import RestoreFolder
from core.restore.model import RestoreOutcome, Step
from core.runs.causes import Cause, causes
from core.runs.error_log import LogLine, excerpt, parse_line
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


def test_causes_do_not_depend_on_the_wording_of_the_log(tmp_path: Path) -> None:
    """Names and sentences may say anything; the code of each failed file is recorded."""
    desk = Desk(tmp_path)
    names = ("a - 9件を処理していません.txt", "b.txt", "c（S3キー）.txt")
    for name in names:
        desk.write(name, name)

    def refused(call: str, _key: str) -> None:
        if call == "create":
            raise ItemError(Code.UPLOAD_FAILED, Code.SOURCE_NOT_FOUND.what)

    desk.store.before = refused
    done = desk.archive(UNC)
    reworded(done.folder, Code.UPLOAD_FAILED.what, "アップロードできませんでした")
    (found,) = _causes(done.folder)
    assert (found.code, found.severity, found.files) == ("UPLOAD_FAILED", "ERROR", 3)
    assert sorted(e.path for e in found.examples) == [rf"{UNC}\{name}" for name in names]


def test_what_a_run_did_not_come_to_is_counted_whatever_the_log_calls_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for number in range(3):
        desk.write(f"{number}.txt", "x")
    desk.stop.request()
    stopped = desk.archive(UNC)
    reworded(stopped.folder, "3件を処理していません", "未処理が残りました: 3件")
    assert [(c.code, c.files) for c in _causes(stopped.folder)] == [("STOPPED", 3)]


def test_what_had_failed_is_not_counted_as_interrupted_as_well(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for number in range(3):
        desk.write(f"{number}.txt", "x")
    killed = desk.new_run(f"{UNC}\n".encode())
    killed.begin(killed.check())
    failed = Outcome(rf"{UNC}\0.txt", Result.FAILED, code=Code.SOURCE_UNREADABLE)
    killed.folder.add_outcomes([failed])
    killed.folder.log(WHEN, Severity.ERROR, failed.path, "x", Code.SOURCE_UNREADABLE)
    killed.folder.close()
    killed._lock.release()
    recover(desk.settings)
    found = {c.code: c.files for c in _causes(killed.folder.path)}
    assert found == {"SOURCE_UNREADABLE": 1, "INTERRUPTED": 2}


def test_files_that_a_stop_reached_and_those_after_them_are_one_cause(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for number in range(3):
        desk.write(f"{number}.txt", "x")
    run = desk.new_run(f"{UNC}\n".encode())
    record = run.begin(run.check())
    run.folder.add_outcomes([Outcome(rf"{UNC}\0.txt", Result.FAILED, code=Code.STOPPED)])
    run.folder.log(WHEN, Severity.ERROR, "himuro-test", "2 left", Code.STOPPED)
    run.folder.write_record(replace(record, state=RunState.STOPPED, failed_files=3))
    run.folder.close()
    assert [(c.code, c.files) for c in _causes(run.folder.path)] == [("STOPPED", 3)]


def test_failures_of_a_restore_are_its_events(tmp_path: Path) -> None:
    """Each of its logs tells of rows that were left out and of files that failed."""
    folder = RestoreFolder(tmp_path, ZoneInfo("Asia/Tokyo"))
    out = RestoreOutcome("", Step.LEFT_OUT, WHEN, Code.NOT_ARCHIVED, "", "2件を処理していません")
    lost = RestoreOutcome("share/b", Step.FAILED, WHEN, Code.DOWNLOAD_FAILED, "5件の完了を確認")
    good = RestoreOutcome("share/c", Step.PLACED, WHEN, place=r"\\fsx01\share\failed,c")
    folder.add_events([out, lost, good, lost])
    for event, path in ((out, out.place), (lost, rf"{UNC}\b"), (lost, rf"{UNC}\b")):
        assert event.code
        folder.log(WHEN, Severity.ERROR, path, "別の文", event.code)
    folder.close()
    for name in folder.logs:
        found = causes(tmp_path / name).causes
        assert [(c.code, c.files) for c in found] == [("DOWNLOAD_FAILED", 2), ("NOT_ARCHIVED", 1)]
        assert [c.examples[0].path for c in found] == [rf"{UNC}\b", "2件を処理していません"]


def test_a_run_whose_outcomes_are_gone_has_the_causes_of_its_log(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("a.txt", "x")

    def refused(call: str, _key: str) -> None:
        if call == "create":
            raise ItemError(Code.UPLOAD_FAILED)

    desk.store.before = refused
    done = desk.archive(UNC)
    for name in ("outcomes.csv", "run.json"):
        for damage in (b"\xff\x00,failed,\n" * 3, b""):
            (done.folder / name).write_bytes(damage)
            assert [(c.code, c.files) for c in _causes(done.folder)] == [("UPLOAD_FAILED", 1)]
        (done.folder / name).unlink()
        assert [(c.code, c.files) for c in _causes(done.folder)] == [("UPLOAD_FAILED", 1)]


def reworded(folder: Path, old: str, new: str) -> None:
    """Let the log of a run say something in other words, as another version may."""
    path = folder / "error_log.txt"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


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
