"""Run folders that a disk, a kill or a hand has damaged, and the locks around a run."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from pathlib import Path
from typing import IO, Any

import pytest
from filelock import FileLock

from core.archive.run import ArchiveRun
from core.concurrency.cancellation import StopSignal
from core.errors import Code, FatalError
from core.files.csv_file import marked_cell, read_rows, safe_cell, unmarked_cell
from core.jobs.recovery import recover
from core.lists.parser import parse
from core.model import (
    ListKind,
    ListSource,
    Outcome,
    Progress,
    Result,
    RunKind,
    RunRecord,
    RunRequest,
    RunState,
    SearchPage,
    SearchQuery,
)
from core.paths.normalization import search_key
from core.restore.check import RestoreCheck
from core.runs.folder import RunFolder
from core.runs.history import newest, record_of, records
from core.runs.record import MAX_BYTES, dump_record, load_record
from tests.support.arrange import REQUEST, UNC, Desk, Done, archive_list
from tests.support.fakes import MemoryCatalogue

SECONDS = 30
FULL = FatalError(Code.DATA_DIR_UNWRITABLE, "空き容量がありません")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def state_of(desk: Desk, run_id: str) -> RunState:
    record = record_of(desk.settings, run_id)
    assert record is not None
    return record.state


def killed(desk: Desk, *outcomes: str) -> ArchiveRun:
    """Return a run that died after these files of the share were archived."""
    run = desk.new_run(archive_list(UNC))
    run.begin(run.check())
    for name in outcomes:
        done = Outcome(rf"{UNC}\{name}", Result.ARCHIVED, 1, f"fsx01/share/{name}", "0" * 64)
        run.folder.add_outcomes([done])
    run.folder.close()
    run._lock.release()  # as the operating system does when a process is killed
    return run


def failed_of(run: ArchiveRun) -> list[str]:
    return Done(run.record, run.folder.path, run.plan).failed


def full_disk(*_args: object) -> None:
    raise FULL


# Damaged folders


def test_a_line_torn_within_a_letter_is_left_out(desk: Desk) -> None:
    desk.write("a.txt", "x")
    desk.write("が.txt", "x")
    run = killed(desk, "a.txt", "が.txt")
    path = run.folder.path / "outcomes.csv"
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex("が".encode()) + 1])
    (record,) = recover(desk.settings)
    assert (record.archived_files, record.failed_files) == (1, 1)
    assert failed_of(run) == [rf"{UNC}\が.txt"]


def test_damaged_lines_cost_no_others(desk: Desk) -> None:
    for name in ("a.txt", "b.txt"):
        desk.write(name, "x")
    run = killed(desk, "a.txt", "b.txt")
    path = run.folder.path / "outcomes.csv"
    header, first, second, _ = path.read_bytes().split(b"\n")
    unknown = first.replace(b"a.txt", b"unknown.txt")
    size = first.replace(b",1,", b"," + b"9" * 5000 + b",")
    damage = [b"\0" * 4096, b'"never closed', b"\xff\xfe,\r", b'"' + b"x" * 200_000, unknown, size]
    path.write_bytes(b"\n".join([header, *damage, first, *damage, b""]))
    (record,) = recover(desk.settings)
    assert (record.archived_files, record.failed_files) == (1, 1)
    assert failed_of(run) == [rf"{UNC}\b.txt"]
    assert second


def test_a_folder_that_cannot_be_written_keeps_no_other_from_its_end(desk: Desk) -> None:
    desk.write("a.txt", "x")
    broken, other = killed(desk), killed(desk)
    obstacle = broken.folder.path / "report.csv.tmp"
    obstacle.mkdir()
    (desk.settings.runs_dir / "a file").write_text("x")
    assert [r.run_id for r in recover(desk.settings)] == [other.record.run_id]
    assert desk.archive(UNC).record.state is RunState.DONE
    assert state_of(desk, broken.record.run_id) is RunState.RUNNING
    obstacle.rmdir()
    assert [r.run_id for r in recover(desk.settings)] == [broken.record.run_id]


def test_runs_that_cannot_be_listed_keep_nothing_from_starting(desk: Desk) -> None:
    assert recover(desk.settings) == []
    desk.settings.data_dir.mkdir()
    desk.settings.runs_dir.write_text("a file")
    assert recover(desk.settings) == []


ANY: list[Any] = [None, 1, [], {}]
NO_NUMBERS: list[Any] = ["1", 1.5, -1]
NO_TIMES: list[Any] = ["", "yesterday", 5, [], "2026-10-05T10:15:00", "9999-12-31T23:59:59+00:00"]
WRONG: list[dict[str, Any]] = [
    *({name: value} for name in ("run_id", "kind", "message") for value in ANY),
    *({"state": value} for value in ("unknown", *ANY)),
    *({name: value} for name in ("total_files", "archived_bytes") for value in NO_NUMBERS),
    *({"failed_files": value} for value in (True, None, 10**30)),
    *({name: value} for name in ("created_at", "finished_at") for value in NO_TIMES),
    {"created_at": None},
    {"request": None},
    {"request": []},
    {"request": {"request_id": 1, "requester": "x"}},
    {"inputs": None},
    {"inputs": 5},
    {"inputs": [5]},
    {"settings": []},
    {"settings": {"a": 1}},
    {"run_id": "20260101-000000-archive-ffffff"},
]


def test_nothing_in_run_json_harms_the_others(desk: Desk) -> None:
    desk.write("a.txt", "x")
    good = desk.archive(UNC).record
    text = dump_record(good, desk.settings.timezone)
    assert load_record(text.encode()) == good
    damaged = [json.dumps({**json.loads(text), **wrong}).encode() for wrong in WRONG]
    damaged += [
        b"\xff\xfe\x00",
        text.encode("utf-16"),
        text.encode("cp932"),
        b"[" * 100_000,
        b'{"total_files": 1' + b"0" * 5000 + b"}",
        b"null",
        *(
            json.dumps({k: v for k, v in json.loads(text).items() if k != name}).encode()
            for name in ("run_id", "kind", "state", "request", "created_at")
        ),
    ]
    for number, content in enumerate(damaged):
        folder = desk.settings.runs_dir / f"20260101-{number:06}-archive-abcdef"
        folder.mkdir()
        named = content.replace(good.run_id.encode(), folder.name.encode())
        (folder / "run.json").write_bytes(named.replace(b'"done"', b'"running"'))
        assert record_of(desk.settings, folder.name) is None, named[:1000]
    assert recover(desk.settings) == []
    assert records(desk.settings) == [good]


def test_a_huge_run_json_is_not_read(desk: Desk) -> None:
    desk.write("a.txt", "x")
    done = desk.archive(UNC)
    path = done.folder / "run.json"
    path.write_bytes(path.read_bytes().ljust(MAX_BYTES))
    assert record_of(desk.settings, done.record.run_id) == done.record
    os.truncate(path, MAX_BYTES + 1)
    assert record_of(desk.settings, done.record.run_id) is None


def test_a_record_of_a_later_version_is_read(desk: Desk) -> None:
    desk.write("a.txt", "x")
    record = desk.archive(UNC).record
    data = json.loads(dump_record(record, desk.settings.timezone))
    data["new"] = data["request"]["new"] = {"x": 1}
    assert load_record(json.dumps(data).encode()) == record


def test_a_list_whose_name_is_not_utf_8_runs_like_any_other(desk: Desk) -> None:
    desk.write("a.txt", "x")
    name = os.fsdecode(b"\x88\xea\x97\x97.csv")
    run = ArchiveRun(desk.settings, desk.catalogue, [ListSource(name, archive_list(UNC))], REQUEST)
    run.begin(run.check())
    assert run.execute(lambda: desk.store, desk.stop).state is RunState.DONE
    record = record_of(desk.settings, run.record.run_id)
    assert record == run.record
    assert "\n".join(record.inputs).encode()


# What cannot be written


def test_a_lock_that_cannot_be_opened_ends_the_run_with_its_list(desk: Desk) -> None:
    desk.write("a.txt", "x")
    (desk.settings.data_dir / "locks" / "archive.lock").mkdir(parents=True)
    done = desk.archive(UNC)
    assert done.record.state is RunState.ERROR
    assert "実行記録を書き込めません" in done.record.message
    assert "archive.lock" in done.record.message
    assert done.failed == [rf"{UNC}\a.txt"]
    assert record_of(desk.settings, done.record.run_id) == done.record


def test_an_unexpected_error_ends_the_run_with_its_list(desk: Desk) -> None:
    desk.write("a.txt", "x")
    run = desk.new_run(archive_list(UNC))
    run.begin(run.check())

    def broken() -> Any:
        raise RuntimeError("bug")

    assert run.execute(broken, desk.stop).state is RunState.ERROR
    assert failed_of(run) == [rf"{UNC}\a.txt"]


def test_a_file_in_place_of_the_run_folders_is_said(desk: Desk) -> None:
    desk.write("a.txt", "x")
    desk.settings.data_dir.mkdir()
    desk.settings.runs_dir.write_text("a file")
    run = desk.new_run(archive_list(UNC))
    with pytest.raises(FatalError) as raised:
        run.begin(run.check())
    assert raised.value.code is Code.DATA_DIR_UNWRITABLE


@pytest.mark.parametrize(
    "full", [("write_plan",), ("log_problems",), ("_replace",), ("write_plan", "write_record")]
)
def test_a_run_that_could_not_begin_can_be_begun_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, full: tuple[str, ...]
) -> None:
    desk.write("a.txt", "x")
    run = desk.new_run(archive_list(UNC))
    plan = run.check()
    for _ in range(2):
        with monkeypatch.context() as patch:
            for name in full:
                patch.setattr(RunFolder, name, full_disk)
            with pytest.raises(FatalError):
                run.begin(plan)
        assert not (run.folder.path / "plan.csv").exists()
        assert not (run.folder.path / "lock").exists()
    if full == ("write_plan",):
        assert state_of(desk, run.record.run_id) is RunState.ERROR
        assert "空き容量" in (run.folder.path / "error_log.txt").read_text()
    assert run.begin(plan).state is RunState.RUNNING
    assert recover(desk.settings) == []
    record = run.execute(lambda: desk.store, desk.stop)
    assert (record.state, record.message) == (RunState.DONE, "")
    assert record_of(desk.settings, record.run_id) == record


def test_the_folder_of_another_run_is_never_taken_over(desk: Desk) -> None:
    desk.write("a.txt", "x")
    done = desk.archive(UNC)
    run = desk.new_run(archive_list(UNC))
    run.folder = RunFolder(done.folder, desk.settings.timezone)
    with pytest.raises(FatalError):
        run.folder.create(run.record, [])
    assert record_of(desk.settings, done.record.run_id) == done.record


def test_a_run_killed_before_its_list_was_kept_is_found(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write("a.txt", "x")
    run = desk.new_run(archive_list(UNC))
    plan = run.check()

    def kill(path: Path, mode: str) -> IO[Any]:
        if path.name.startswith("input"):
            raise SystemExit
        return path.open(mode)

    with monkeypatch.context() as patch:
        patch.setattr("core.runs.folder.open_private", kill)
        with pytest.raises(SystemExit):
            run.begin(plan)
    (record,) = recover(desk.settings)
    assert (record.run_id, record.state) == (run.record.run_id, RunState.INTERRUPTED)
    assert failed_of(run) == []


def test_a_check_alone_writes_nothing_outside_its_run_folder(desk: Desk) -> None:
    desk.write("a.txt", "x")
    source = ListSource("l.csv", archive_list(UNC))
    run = ArchiveRun(
        desk.settings, desk.catalogue, [source], RunRequest("", ""), kind=RunKind.VALIDATE
    )
    run.pass_check(run.check())
    assert [p.name for p in desk.settings.data_dir.iterdir()] == ["runs"]
    assert {p.name for p in run.folder.path.iterdir()} == {"run.json", "input.csv"}


# What is read back


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "=1",
        "+1",
        "-x/a",
        "@a",
        "\ta",
        "'",
        "'a",
        "'=1",
        "''=1",
        "a'=1",
        "'-x",
        "＝1",
        "'－1",
    ],
)
def test_what_is_protected_from_excel_comes_back(desk: Desk, text: str) -> None:
    assert unmarked_cell(marked_cell(text)) == text
    assert safe_cell(marked_cell(text)) == marked_cell(text)
    folder = RunFolder(desk.root / "run", desk.settings.timezone)
    folder.path.mkdir()
    outcome = Outcome(rf"{UNC}\a.txt", Result.ARCHIVED, 1, text, "0" * 64)
    folder.add_outcomes([outcome])
    folder.close()
    assert folder.read_outcomes() == [outcome]


def test_rows_are_read_with_and_without_bom_and_only_whole() -> None:
    assert read_rows(b'\xef\xbb\xbfa,"b,"\r\n\'=c,d\nto') == [["a", "b,"], ["=c", "d"]]
    assert read_rows(b"") == []


# Stops


def test_a_stop_before_the_turn_touches_nothing(desk: Desk) -> None:
    desk.write("a.txt", "x")
    desk.stop.request()

    def unreachable(_call: str, _key: str) -> None:
        raise AssertionError

    desk.store.before = unreachable
    done = desk.archive(UNC)
    assert (done.record.state, done.record.started_at) == (RunState.STOPPED, None)
    assert "1件が残っています" in done.record.message
    assert done.failed == [rf"{UNC}\a.txt"]


def test_a_stop_while_leftovers_are_cleared_begins_no_file(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write("large.bin", b"x" * 5000)
    desk.write("small.txt", "x")
    calls = []

    def clear(_keys: object) -> int:
        calls.append(1)
        desk.stop.request()
        return 0

    monkeypatch.setattr(desk.store, "abort_unfinished", clear)
    done = desk.archive(UNC)
    assert (done.record.state, len(done.failed), calls) == (RunState.STOPPED, 2, [1])
    assert desk.store.objects == {}


def test_leftovers_that_hang_do_not_outlast_the_deadline(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write("large.bin", b"x" * 5000)
    released = threading.Event()

    def hang(_keys: object) -> int:
        desk.stop.request(within=0)
        assert released.wait(SECONDS)
        return 0

    monkeypatch.setattr(desk.store, "abort_unfinished", hang)
    try:
        assert desk.archive(UNC).record.state is RunState.STOPPED
    finally:
        released.set()


def test_a_screen_that_breaks_during_the_wait_for_the_turn_costs_nothing(desk: Desk) -> None:
    desk.write("a.txt", "x")
    run = desk.new_run(archive_list(UNC))
    run.begin(run.check())
    stop = StopSignal()

    def broken(progress: Progress) -> None:
        assert "待っています" in progress.phase
        stop.request()
        raise OSError(5, "EIO")

    locks = desk.settings.data_dir / "locks"
    locks.mkdir()
    with FileLock(locks / "archive.lock"):
        assert run.execute(lambda: desk.store, stop, broken).state is RunState.STOPPED
    assert failed_of(run) == [rf"{UNC}\a.txt"]


# Restore lists


class _Asked(MemoryCatalogue):
    """An archive list that knows directories and counts how often each was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def search(self, query: SearchQuery, *, page: int = 1, per_page: int = 100) -> SearchPage:
        asked = query.directory.removesuffix("\\")
        self.asked[asked] += 1
        directory, _, name = asked.rpartition("\\")
        below = search_key(directory, name) + "\\"
        hits = [row for row in self.rows if row.search_key.startswith(below)]
        return SearchPage(len(hits), tuple(hits[:per_page]))


def restore(desk: Desk, *paths: str) -> tuple[int, list[str]]:
    content = "\n".join(paths).encode()
    parsed = parse([ListSource("l.txt", content)], ListKind.RESTORE, desk.settings.timezone)
    plan = RestoreCheck(desk.catalogue, desk.settings.bucket).run(parsed)
    return len(plan.items), [p.path for p in plan.problems]


def test_typos_side_by_side_cost_one_question(tmp_path: Path) -> None:
    catalogue = _Asked()
    desk = Desk(tmp_path, catalogue=catalogue)
    for name in ("営業部/a.txt", "営業部/見積/b.txt", "総務部/c.txt"):
        desk.write(name, name)
    desk.archive(UNC)
    typos = [rf"{UNC}\営業部\{number}.txt" for number in range(100)]
    elsewhere = [rf"{UNC}\営業郡\{number}.txt" for number in range(100)]
    outside = r"\\other\share\x.txt"
    good = [rf"{UNC}\営業部\a.txt", rf"{UNC}\営業部\見積", rf"{UNC}\総務部".upper()]
    assert restore(desk, *typos, *good, *elsewhere, outside) == (3, [*typos, *elsewhere, outside])
    assert catalogue.asked.pop("") == 5  # searches for near names everywhere
    assert set(catalogue.asked.values()) == {1}
    assert len(catalogue.asked) == 5


def test_a_directory_too_large_to_look_through_is_asked_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.restore.check._MAX_SIBLINGS", 2)
    catalogue = _Asked()
    desk = Desk(tmp_path, catalogue=catalogue)
    for name in ("d/a.txt", "d/b.txt", "e/c.txt"):
        desk.write(name, name)
    desk.archive(UNC)
    assert restore(desk, rf"{UNC}\d", rf"{UNC}\e", rf"{UNC}\f") == (3, [rf"{UNC}\f"])
    assert catalogue.asked[UNC] == 2  # what is beside the third one, too many to be all
    assert {catalogue.asked[rf"{UNC}\{name}"] for name in "def"} == {1}


class Reads:
    """Counts the records that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        read = RunFolder.record_or_damage

        def counted(folder: RunFolder) -> RunRecord | str:
            self.names.append(folder.run_id)
            return read(folder)

        monkeypatch.setattr(RunFolder, "record_or_damage", counted)

    def taken(self) -> list[str]:
        names, self.names = self.names, []
        return names


def test_a_job_reads_only_the_records_of_runs_that_are_open(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write("a.txt", "x")
    for _ in range(5):
        desk.archive(UNC)
    reads = Reads(monkeypatch)
    assert recover(desk.settings, thorough=False) == []
    assert reads.taken() == []
    alive = desk.new_run(UNC.encode())
    alive.begin(alive.check())
    killed = desk.new_run(UNC.encode())
    killed.begin(killed.check())
    lock = killed._lock._lock
    assert lock is not None
    lock.release()  # as the system does; nobody removes the file
    reads.taken()
    (found,) = recover(desk.settings, thorough=False)
    assert (found.run_id, found.state) == (killed.record.run_id, RunState.INTERRUPTED)
    assert set(reads.taken()) == {killed.record.run_id, alive.record.run_id}
    assert alive.execute(lambda: desk.store, desk.stop).state is RunState.DONE
    reads.taken()
    assert recover(desk.settings, thorough=False) == []
    assert reads.taken() == []
    assert recover(desk.settings) == []
    assert len(reads.taken()) == 7


def test_a_page_reads_only_the_records_that_it_shows(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write("a.txt", "x")
    runs = [desk.archive(UNC).record.run_id for _ in range(5)]
    reads = Reads(monkeypatch)
    shown = newest(desk.settings, 2, lambda kind: kind == "archive")
    assert [record.run_id for record in shown] == sorted(runs, reverse=True)[:2]
    assert len(reads.taken()) == 2
    assert newest(desk.settings, 2, lambda kind: kind == "restore") == []
    assert reads.taken() == []
