"""Archive runs against a strict bucket in memory: ``docs/contract.md``, "Invariants"."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from core.archive.archiver import Archiver
from core.archive.run import ArchiveRun
from core.concurrency.cancellation import StopSignal
from core.errors import Code, FatalError, ItemError, ListError
from core.jobs.recovery import recover
from core.model import ListSource, RunRequest, RunState
from core.paths.normalization import generation_key
from core.runs.folder import RunFolder
from core.runs.history import file_of, record_of, records
from core.share.shares import FileSystem, Shares
from tests.support.arrange import BUCKET, REQUEST, UNC, Desk, Done, rows
from tests.support.fakes import MemoryObject, MemoryStore


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_file_ends_in_the_bucket_in_the_list_and_marked(desk: Desk) -> None:
    path = desk.write("営業部/見積書～A社.txt", "こんにちは")
    os.utime(path, ns=(0, 1_600_000_000_123_456_789))
    done = desk.archive(UNC)
    assert done.record.state is RunState.DONE
    stored = desk.store.objects["fsx01/share/営業部/見積書～A社.txt"]
    assert stored.data == "こんにちは".encode()
    assert stored.source_path == rf"{UNC}\営業部\見積書～A社.txt"
    (row,) = desk.catalogue.rows
    assert row.directory == rf"{UNC}\営業部"
    assert row.archived_name == "見積書～A社.txt_archived.txt"
    assert (row.bucket, row.key) == (BUCKET, "fsx01/share/営業部/見積書～A社.txt")
    assert (row.size, row.sha256) == (15, sha256("こんにちは"))
    assert row.modified_at.isoformat() == "2020-09-13T12:26:40.123456+00:00"
    assert (row.request_id, row.requester, row.comment) == ("REQ-0001", "山田 花子", "テスト")
    marker = desk.share / "営業部/見積書～A社.txt_archived.txt"
    assert marker.read_bytes() == b""
    assert path.read_text() == "こんにちは"


def test_the_run_folder_says_what_happened(desk: Desk) -> None:
    desk.write("a.txt", "x")
    done = desk.archive(UNC)
    assert sorted(p.name for p in done.folder.iterdir()) == [
        "input.csv",
        "outcomes.csv",
        "plan.csv",
        "report.csv",
        "run.json",
    ]
    record = json.loads(done.read("run.json"))
    assert (record["state"], record["kind"]) == ("done", "archive")
    assert record["request"]["request_id"] == "REQ-0001"
    assert (record["archived_files"], record["archived_bytes"]) == (1, 1)
    report = list(csv.reader(io.StringIO(done.read("report.csv"))))
    assert report == [
        ["パス", "結果", "理由", "S3キー", "サイズ"],
        [rf"{UNC}\a.txt", "成功", "", "fsx01/share/a.txt", "1"],
    ]
    assert (done.folder / "report.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_sizes_from_nothing_to_many_parts(desk: Desk) -> None:
    for size in (0, 1, 1023, 1024, 1025, 2048, 10_000):
        desk.write(f"{size}.bin", os.urandom(size))
    assert desk.archive(UNC).record.archived_files == 7
    for row in desk.catalogue.rows:
        stored = desk.store.objects[row.key]
        assert (len(stored.data), hashlib.sha256(stored.data).hexdigest()) == (
            row.size,
            row.sha256,
        )
    assert desk.store.unfinished == set()


def test_an_unchanged_file_is_neither_uploaded_nor_listed_again(desk: Desk) -> None:
    desk.write("a.txt", "x")
    desk.archive(UNC)
    done = desk.archive(UNC)
    assert done.record.state is RunState.DONE
    assert (done.record.archived_files, done.record.unchanged_files) == (0, 1)
    assert "アーカイブ済み" in done.read("report.csv")
    assert desk.store.writes == ["fsx01/share/a.txt"]
    assert len(desk.catalogue.rows) == 1


def test_content_decides_not_the_clock(desk: Desk) -> None:
    path = desk.write("a.txt", "before")
    os.utime(path, ns=(0, 10**18))
    desk.archive(UNC)
    path.write_text("after!")  # as long as before
    os.utime(path, ns=(0, 10**18))
    assert desk.archive(UNC).record.archived_files == 1
    assert {row.sha256 for row in desk.catalogue.rows} == {sha256("before"), sha256("after!")}


def test_a_changed_file_is_a_new_generation_with_its_own_key(desk: Desk) -> None:
    path = desk.write("d/test.txt", "one")
    desk.archive(UNC)
    path.write_text("two")
    os.utime(path, ns=(0, 1_795_426_200 * 10**9))  # 2026-11-23 09:30 UTC, 18:30 in Japan
    done = desk.archive(UNC)
    assert done.record.state is RunState.DONE
    assert rows(desk.catalogue) == {
        (rf"{UNC}\d\test.txt", "fsx01/share/d/test.txt", sha256("one")),
        (rf"{UNC}\d\test.txt", "fsx01/share/d/test_20261123-183000.txt", sha256("two")),
    }
    assert desk.store.objects["fsx01/share/d/test.txt"].data == b"one"
    path.write_text("one")
    os.utime(path, ns=(0, 1_795_426_200 * 10**9))
    desk.archive(UNC)
    assert "fsx01/share/d/test_20261123-183000_2.txt" in desk.store.objects
    assert desk.archive(UNC).record.unchanged_files == 1


def test_an_object_of_other_content_is_never_overwritten(desk: Desk) -> None:
    foreign = Desk(desk.root / "other", store=desk.store)
    foreign.write("a.txt", "foreign")
    foreign.archive(UNC)
    path = desk.write("a.txt", "mine")
    os.utime(path, ns=(0, 0))
    assert desk.archive(UNC).record.state is RunState.DONE
    assert desk.store.objects["fsx01/share/a.txt"].data == b"foreign"
    assert desk.store.objects["fsx01/share/a_19700101-090000.txt"].data == b"mine"


def test_the_same_content_of_an_interrupted_run_is_adopted(desk: Desk) -> None:
    desk.write("small.txt", "s")
    desk.write("large.bin", b"L" * 5000)

    def database_is_gone(_entries: object) -> None:
        raise FatalError(Code.DATABASE_UNAVAILABLE)

    desk.catalogue.before_add = database_is_gone
    first = desk.archive(UNC)
    assert first.record.state is RunState.ERROR
    assert desk.catalogue.rows == []
    assert desk.markers() == set()
    assert sorted(first.failed) == [rf"{UNC}\large.bin", rf"{UNC}\small.txt"]
    desk.catalogue.before_add = lambda _entries: None
    second = desk.run((first.folder / "failed_uploads.txt").read_bytes())
    assert second.record.state is RunState.DONE
    assert sorted(desk.store.writes) == ["fsx01/share/large.bin", "fsx01/share/small.txt"]
    assert len(desk.catalogue.rows) == 2
    assert desk.markers() == {"large.bin_archived.txt", "small.txt_archived.txt"}


def lose_one_answer(store: MemoryStore) -> None:
    lost: list[str] = []

    def lose(call: str, key: str) -> None:
        if not lost:
            lost.append(key)
            raise ItemError(Code.UPLOAD_FAILED, "ConnectionClosedError")

    store.after = lose


def test_an_answer_lost_after_the_object_was_stored_is_a_success(desk: Desk) -> None:
    desk.write("a.txt", "x")
    lose_one_answer(desk.store)
    assert desk.archive(UNC).record.state is RunState.DONE
    assert desk.store.writes == ["fsx01/share/a.txt"]
    assert desk.markers() == {"a.txt_archived.txt"}


def test_an_answer_that_stays_lost_is_a_success_of_the_next_run(desk: Desk) -> None:
    desk.write("a.bin", "x" * 500)
    lose_one_answer(desk.store)
    assert desk.archive(UNC).failed == [rf"{UNC}\a.bin"]
    assert desk.archive(UNC).record.state is RunState.DONE
    assert desk.store.writes == ["fsx01/share/a.bin"]


def test_a_file_that_changed_before_its_object_got_a_row_is_told_to_the_administrator(
    desk: Desk,
) -> None:
    path = desk.write("a.txt", "before")

    def database_is_gone(_entries: object) -> None:
        raise FatalError(Code.DATABASE_UNAVAILABLE)

    desk.catalogue.before_add = database_is_gone
    desk.archive(UNC)
    desk.catalogue.before_add = lambda _entries: None
    path.write_text("after")
    os.utime(path, ns=(0, 0))
    done = desk.archive(UNC)
    assert done.record.state is RunState.DONE
    assert [row.key for row in desk.catalogue.rows] == ["fsx01/share/a_19700101-090000.txt"]
    log = done.read("error_log.txt")
    assert rf"WARNING: {UNC}\a.txt - " in log
    assert "fsx01/share/a.txt" in log
    assert "(OBJECT_UNLISTED)" in log


def test_what_is_left_unlisted_is_bounded_and_its_rest_is_counted(desk: Desk) -> None:
    """A disk that takes no log for a while must not fill the memory."""
    for name in ("a.txt", "b.txt"):
        os.utime(desk.write(name, "now"), ns=(0, 0))
    run = desk.new_run(UNC.encode())
    plan = run.check()
    run.begin(plan)
    for item in plan.items:
        keys = [item.key, *(generation_key(item.key, "19700101-090000", n) for n in range(1, 700))]
        desk.store.objects |= {key: MemoryObject(b"", "0" * 64, item.path) for key in keys}
    archiver = Archiver(
        Shares(desk.settings.shares),
        desk.store,
        bucket=BUCKET,
        timezone=desk.settings.timezone,
        request=REQUEST,
    )
    for item in plan.items:
        archiver.store(item, sent=lambda _size: None)
    assert len(archiver.unlisted) == 1000
    archiver.unlisted.note(run.folder)
    archiver.unlisted.note(run.folder)
    log = (run.folder.path / "error_log.txt").read_text("utf-8").splitlines()
    assert len(log) == 1001
    assert "ほかに400件" in log[-1]


def test_a_progress_that_breaks_does_not_cost_the_run_its_end(desk: Desk) -> None:
    desk.write("a.txt", "x")
    run = desk.new_run(UNC.encode())
    run.begin(run.check())

    def broken(_progress: object) -> None:
        raise RuntimeError("no screen")

    assert run.execute(lambda: desk.store, desk.stop, broken).state is RunState.DONE


def test_a_share_that_goes_away_while_a_file_is_read_stops_the_run(desk: Desk) -> None:
    desk.write("a.txt", "x")
    elsewhere = desk.root / "elsewhere"

    class Vanishing(FileSystem):
        def stat(self, path: str) -> os.stat_result:
            if desk.share.exists():
                desk.share.rename(elsewhere)
            return super().stat(path)

    desk.fs = Vanishing()
    done = desk.archive(UNC)
    assert done.record.state is RunState.ERROR
    assert "共有フォルダーに接続できません" in done.record.message


def test_opening_what_is_no_file_leaves_no_descriptor_behind(desk: Desk) -> None:
    desk.write("d/a.txt", "x")
    shares = Shares(desk.settings.shares)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(ItemError):
            shares.open(rf"{UNC}\d", str(desk.share / "d"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


class _Growing(FileSystem):
    """A share on which somebody writes into a file after it was opened."""

    def stat(self, path: str) -> os.stat_result:
        if path.endswith("grows.log"):
            with Path(path).open("ab") as file:
                file.write(b"more")
        return super().stat(path)


def test_a_file_that_grows_fails_and_the_others_do_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path, fs=_Growing())
    desk.write("grows.log", "x")
    desk.write("large_grows.log", b"x" * 5000)
    desk.write("still.txt", "x")
    done = desk.archive(UNC)
    assert done.record.state is RunState.FAILED_FILES
    assert sorted(done.failed) == [rf"{UNC}\grows.log", rf"{UNC}\large_grows.log"]
    assert "CHANGED_WHILE_READING" in done.read("error_log.txt")
    assert list(desk.store.objects) == ["fsx01/share/still.txt"]


def test_a_large_file_altered_between_hash_and_upload_leaves_nothing(desk: Desk) -> None:
    path = desk.write("large.bin", b"a" * 5000)
    before = path.stat()

    def alter(call: str, _key: str) -> None:
        if call == "create_in_parts":
            path.write_bytes(b"b" * 5000)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    desk.store.before = alter
    done = desk.archive(UNC)
    assert done.failed == [rf"{UNC}\large.bin"]
    assert "読み取り中にファイルが変更されました" in done.read("error_log.txt")
    assert desk.store.objects == {}
    assert desk.store.unfinished == set()


class _ReadOnly(FileSystem):
    """A share whose folders take no new files."""

    refuses = True

    def create_empty(self, path: str) -> None:
        if self.refuses:
            raise PermissionError(13, "read-only")
        super().create_empty(path)


def test_a_marker_that_cannot_be_made_is_made_by_the_retry(tmp_path: Path) -> None:
    fs = _ReadOnly()
    desk = Desk(tmp_path, fs=fs)
    desk.write("a.txt", "x")
    done = desk.archive(UNC)
    assert done.record.state is RunState.FAILED_FILES
    assert done.failed == [rf"{UNC}\a.txt"]
    assert "MARKER_FAILED" in done.read("error_log.txt")
    assert len(desk.catalogue.rows) == 1
    fs.refuses = False
    assert desk.archive(UNC).record.state is RunState.DONE
    assert desk.markers() == {"a.txt_archived.txt"}
    assert desk.store.writes == ["fsx01/share/a.txt"]


def test_a_file_that_vanishes_after_the_check_is_one_failure(desk: Desk) -> None:
    gone = desk.write("gone.txt", "x")
    desk.write("here.txt", "x")
    run = desk.new_run(f"{UNC}\\gone.txt\n{UNC}\\here.txt".encode())
    run.begin(run.check())
    gone.unlink()
    record = run.execute(lambda: desk.store, desk.stop)
    assert (record.state, record.archived_files) == (RunState.FAILED_FILES, 1)
    log = (run.folder.path / "error_log.txt").read_text()
    assert rf"ERROR: {UNC}\gone.txt - ファイルが存在しません" in log
    assert "(SOURCE_NOT_FOUND)" in log


def test_a_failure_of_one_upload_does_not_stop_the_others(desk: Desk) -> None:
    for number in range(50):
        desk.write(f"{number:02}.txt", str(number))

    def refuse(call: str, key: str) -> None:
        if key.endswith(("07.txt", "13.txt")):
            raise ItemError(Code.UPLOAD_FAILED, "InternalError")

    desk.store.before = refuse
    done = desk.archive(UNC)
    assert done.record.archived_files == 48
    assert done.failed == [rf"{UNC}\07.txt", rf"{UNC}\13.txt"]
    raw = (done.folder / "failed_uploads.txt").read_bytes()
    assert raw == ("\ufeff" + f"{UNC}\\07.txt\r\n{UNC}\\13.txt\r\n").encode()
    desk.store.before = lambda _call, _key: None
    assert desk.run(raw).record.state is RunState.DONE
    assert len(desk.catalogue.rows) == 50


def test_a_broken_environment_stops_the_run(desk: Desk) -> None:
    for number in range(200):
        desk.write(f"{number:03}.txt", str(number))

    def expire(call: str, key: str) -> None:
        if call == "create" and len(desk.store.writes) >= 40:
            raise FatalError(Code.CREDENTIALS_REJECTED, "ExpiredToken")

    desk.store.before = expire
    done = desk.archive(UNC)
    assert done.record.state is RunState.ERROR
    assert "認証情報" in done.record.message
    settled = {row.path for row in desk.catalogue.rows}
    assert len(settled) >= 40
    assert len(settled) == len(desk.store.objects) == len(desk.markers())
    assert set(done.failed) == {item.path for item in done.plan.items} - settled
    desk.store.before = lambda _call, _key: None
    assert desk.run((done.folder / "failed_uploads.txt").read_bytes()).record.state is RunState.DONE
    assert len(desk.catalogue.rows) == len(desk.store.writes) == 200


def test_a_share_that_goes_away_stops_the_run(desk: Desk) -> None:
    for number in range(50):
        desk.write(f"{number:02}.txt", str(number))
    run = desk.new_run(UNC.encode())
    run.begin(run.check())
    desk.share.rename(desk.root / "elsewhere")
    desk.share.mkdir()
    record = run.execute(lambda: desk.store, desk.stop)
    assert record.state is RunState.ERROR
    assert "共有フォルダーに接続できません" in record.message
    assert len((run.folder.path / "failed_uploads.txt").read_text().splitlines()) == 50


def test_a_stop_leaves_the_rest_in_the_error_file_list(desk: Desk) -> None:
    for number in range(200):
        desk.write(f"{number:03}.txt", str(number))

    def stop(call: str, key: str) -> None:
        if len(desk.store.writes) >= 20:
            desk.stop.request()

    desk.store.before = stop
    done = desk.archive(UNC)
    assert done.record.state is RunState.STOPPED
    assert 20 <= done.record.archived_files < 200
    assert done.record.archived_files + len(done.failed) == 200
    assert len(desk.markers()) == done.record.archived_files
    desk.stop = StopSignal()
    desk.store.before = lambda _call, _key: None
    assert desk.archive(UNC).record.state is RunState.DONE
    assert len(desk.store.writes) == len(desk.catalogue.rows) == 200


def test_a_deadline_gives_up_a_large_file_between_two_parts(desk: Desk) -> None:
    desk.write("large.bin", b"x" * 50_000)
    now = [0.0]
    desk.stop = StopSignal(clock=lambda: now[0])

    def expire(call: str, key: str) -> None:
        if call == "part":
            desk.stop.request(within=10)
            now[0] = 11.0

    desk.store.before = expire
    done = desk.archive(UNC)
    assert done.record.state is RunState.STOPPED
    assert done.failed == [rf"{UNC}\large.bin"]
    assert desk.store.objects == {}


def test_leftover_parts_of_a_killed_run_are_given_up(desk: Desk) -> None:
    desk.write("large.bin", b"x" * 5000)
    desk.store.unfinished = {"fsx01/share/large.bin", "somebody/elses.bin"}
    assert desk.archive(UNC).record.state is RunState.DONE
    assert desk.store.unfinished == {"somebody/elses.bin"}


def test_a_refused_list_touches_nothing(desk: Desk) -> None:
    desk.write("a.txt", "x")
    done = desk.archive(rf"{UNC}\a.txt", rf"{UNC}\missing.txt")
    assert done.record.state is RunState.REFUSED
    assert desk.store.writes == []
    assert desk.markers() == set()
    assert sorted(p.name for p in done.folder.iterdir()) == [
        "error_log.txt",
        "input.csv",
        "run.json",
    ]
    log = done.read("error_log.txt")
    assert rf"ERROR: {UNC}\missing.txt - ファイルが存在しません [一覧.csv 3行目]" in log
    assert log.rstrip().endswith("(SOURCE_NOT_FOUND)")


def test_a_lost_marker_comes_back_and_the_archive_is_not_touched(desk: Desk) -> None:
    desk.write("a.txt", "x")
    desk.archive(UNC)
    (desk.share / "a.txt_archived.txt").unlink()
    assert desk.archive(UNC).record.unchanged_files == 1
    assert desk.markers() == {"a.txt_archived.txt"}
    assert desk.store.writes == ["fsx01/share/a.txt"]


def test_a_renamed_folder_case_is_the_same_file(desk: Desk) -> None:
    desk.write("Project/a.txt", "x")
    desk.archive(UNC)
    (desk.share / "Project").rename(desk.share / "PROJECT")
    assert desk.archive(UNC).record.unchanged_files == 1
    assert desk.store.writes == ["fsx01/share/Project/a.txt"]


def test_composed_and_decomposed_names_side_by_side_are_two_files(desk: Desk) -> None:
    desk.write("ガ.txt", "composed")
    desk.write("カ\u3099.txt", "decomposed")
    for _ in range(3):
        assert desk.archive(UNC).record.state is RunState.DONE
    assert len(desk.catalogue.rows) == len(desk.store.writes) == 2


def test_a_full_disk_still_leaves_the_error_file_list(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        desk.write(f"{number:02}.txt", str(number))
    written = RunFolder.add_outcomes

    def full(folder: RunFolder, outcomes: Any) -> None:
        if len(desk.store.writes) > 30:
            raise FatalError(Code.DATA_DIR_UNWRITABLE, "空き容量がありません")
        written(folder, outcomes)

    monkeypatch.setattr(RunFolder, "add_outcomes", full)
    done = desk.archive(UNC)
    assert done.record.state is RunState.ERROR
    assert "実行記録を書き込めません" in done.record.message
    assert done.record.archived_files + len(done.failed) == 100
    monkeypatch.undo()
    assert desk.archive(UNC).record.state is RunState.DONE
    assert len(desk.store.writes) == len(desk.catalogue.rows) == len(desk.markers()) == 100


def test_a_disk_that_is_really_full_does_not_cost_the_lists(desk: Desk) -> None:
    for number in range(20):
        desk.write(f"{number:02}.txt", str(number))
    run = desk.new_run(UNC.encode())
    run.begin(run.check())
    (run.folder.path / "outcomes.csv").symlink_to("/dev/full")
    record = run.execute(lambda: desk.store, desk.stop)
    assert record.state is RunState.ERROR
    assert "空き容量がありません" in record.message
    failed = Done(record, run.folder.path, run.plan).failed
    assert record.archived_files + len(failed) == 20
    assert desk.archive(UNC).record.state is RunState.DONE
    assert len(desk.store.writes) == len(desk.catalogue.rows) == len(desk.markers()) == 20


def test_what_was_typed_cannot_forge_a_line_or_break_the_database(desk: Desk) -> None:
    desk.write("a.txt", "x")
    run = ArchiveRun(
        desk.settings,
        desk.catalogue,
        [ListSource("l.csv", UNC.encode())],
        RunRequest(" R\x00-1\n", "山田\r\n太郎", "\ud800"),
    )
    run.begin(run.check())
    run.execute(lambda: desk.store, desk.stop)
    (row,) = desk.catalogue.rows
    assert (row.request_id, row.requester, row.comment) == ("R -1", "山田  太郎", "")
    with pytest.raises(ListError):
        ArchiveRun(desk.settings, desk.catalogue, [], RunRequest("R" * 256, "x"))


def test_runs_are_found_newest_first_and_only_their_files_are_served(desk: Desk) -> None:
    desk.write("a.txt", "x")
    one, two = desk.archive(UNC).record, desk.archive(UNC).record
    settings = desk.settings
    assert {r.run_id for r in records(settings)} == {one.run_id, two.run_id}
    assert record_of(settings, one.run_id) == one
    assert record_of(settings, "../" + one.run_id) is None
    report = file_of(settings, one.run_id, "report.csv")
    assert report is not None
    assert report.name == "report.csv"
    for name in ("../../catalogue.db", "input.csv.tmp", "reserve", "", "report.csv/"):
        assert file_of(settings, one.run_id, name) is None


def test_a_run_without_a_process_becomes_interrupted(desk: Desk) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        desk.write(name, name)
    run = desk.new_run(UNC.encode())
    run.begin(run.check())
    assert recover(desk.settings) == []  # it is alive: this process holds its lock
    done = desk.archive(rf"{UNC}\a.txt")
    line = (done.folder / "outcomes.csv").read_bytes()
    (run.folder.path / "outcomes.csv").write_bytes(line + b"\\\\fsx01\\share\\b.tx")  # torn
    run._lock.release()
    (record,) = recover(desk.settings)
    assert (record.state, record.archived_files, record.failed_files) == (
        RunState.INTERRUPTED,
        1,
        2,
    )
    failed = (run.folder.path / "failed_uploads.txt").read_text("utf-8-sig").splitlines()
    assert failed == [rf"{UNC}\b.txt", rf"{UNC}\c.txt"]
    assert recover(desk.settings) == []
    assert (
        desk.run((run.folder.path / "failed_uploads.txt").read_bytes()).record.archived_files == 2
    )


def test_a_run_killed_before_its_plan_was_frozen_has_nothing_to_retry(desk: Desk) -> None:
    desk.write("a.txt", "x")
    run = desk.new_run(UNC.encode())
    run.begin(run.check())
    (run.folder.path / "plan.csv").unlink()
    run._lock.release()
    (record,) = recover(desk.settings)
    assert record.state is RunState.INTERRUPTED
    assert not (run.folder.path / "failed_uploads.txt").exists()


def test_a_damaged_run_folder_harms_nothing(desk: Desk) -> None:
    desk.write("a.txt", "x")
    good = desk.archive(UNC).record
    for number, text in enumerate(["", "{", "[]", '{"state": "running"}']):
        folder = desk.settings.runs_dir / f"20260101-00000{number}-archive-abcdef"
        folder.mkdir()
        (folder / "run.json").write_text(text)
    assert recover(desk.settings) == []
    assert [r.run_id for r in records(desk.settings)] == [good.run_id]


@pytest.mark.parametrize(
    "names",
    [
        ("が.txt", "か\u3099.txt"),
        ("A.txt", "a.txt"),
        ("b.txt", "b.txt ", "b.txt\u3000", "b.txt\u00a0", "\u3000b.txt"),
        ("b?.txt", "b:c.txt", 'q"q.txt', '"q"', "<x>|*.txt", "c\u2028d.txt", "e,f.txt"),
    ],
)
def test_the_error_file_list_names_every_file_that_failed(desk: Desk, names: list[str]) -> None:
    for name in names:
        desk.write(f"d/{name}", f"content of {name}")

    def fail(call: str, key: str) -> None:
        if call == "create":
            raise ItemError(Code.UPLOAD_FAILED)

    desk.store.before = fail
    first = desk.archive(rf"{UNC}\d")
    assert first.record.failed_files == len(names)
    desk.store.before = lambda _call, _key: None
    second = desk.run((first.folder / "failed_uploads.txt").read_bytes())
    assert (second.record.state, second.plan.problems) == (RunState.DONE, ())
    assert {row.path for row in desk.catalogue.rows} == {rf"{UNC}\d\{name}" for name in names}


def test_the_error_file_list_never_means_the_neighbour(desk: Desk) -> None:
    desk.write("d/b.txt", "1")
    desk.write("d/b.txt\u3000", "2")

    def fail(call: str, key: str) -> None:
        if call == "create" and key.endswith("\u3000"):
            raise ItemError(Code.UPLOAD_FAILED)

    desk.store.before = fail
    first = desk.archive(rf"{UNC}\d")
    assert (first.record.archived_files, first.record.failed_files) == (1, 1)
    desk.store.before = lambda _call, _key: None
    second = desk.run((first.folder / "failed_uploads.txt").read_bytes())
    assert (second.record.archived_files, second.record.unchanged_files) == (1, 0)
    assert {row.sha256 for row in desk.catalogue.rows} == {sha256("1"), sha256("2")}


@pytest.mark.parametrize(
    ("first", "second"),
    [("d/が.txt", "d/か\u3099.txt"), ("d/a.txt", "d/A.TXT"), ("が/a.txt", "か\u3099/a.txt")],
)
def test_a_twin_that_comes_later_gets_its_own_row(desk: Desk, first: str, second: str) -> None:
    path = desk.write(first, "same")
    desk.archive(UNC)
    twin = desk.write(second, "same")
    os.utime(twin, ns=(0, path.stat().st_mtime_ns))
    done = desk.archive(UNC)
    assert (done.record.archived_files, done.record.unchanged_files) == (1, 1)
    assert {row.key for row in desk.catalogue.rows} == {f"fsx01/share/{n}" for n in (first, second)}
