"""Restores from list to placed files: the archive in memory, its clock moved by hand."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from core.concurrency.cancellation import StopSignal
from core.config.settings import Settings
from core.errors import Code, FatalError, ItemError, ListError
from core.jobs.recovery import recover
from core.model import ListSource, RunRecord, RunState
from core.paths.normalization import near_key
from core.restore import check
from core.restore.model import Stage, Tier
from core.restore.preview import PlacePreview, preview
from core.restore.run import OpenRestore, RestoreRun, chosen_tier
from core.restore.status import RestoreStatus
from core.restore.target import Directory, find_target
from core.share.shares import FileSystem
from tests.support.arrange import REQUEST, UNC, Desk
from tests.support.fakes import MemoryStore
from tests.support.fakes_restore import MemoryRestoreStore

START = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
NIGHT = "20261125"
"""The local day two days and an hour after the start, when a Bulk restore is ready."""


def restore_list(*lines: str) -> bytes:
    return "\r\n".join(["ディレクトリパス,復元対象ファイル名,アーカイブ日時", *lines]).encode(
        "cp932"
    )


@dataclass
class Counter:
    """An operator's desk with an archive, and a directory that files come back to."""

    desk: Desk
    store: MemoryRestoreStore
    stop: StopSignal = field(default_factory=StopSignal)

    @property
    def settings(self) -> Settings:
        return self.desk.settings

    @property
    def target(self) -> Path:
        return self.desk.share / "復元先"

    @property
    def to(self) -> str:
        return rf"{UNC}\復元先"

    def now(self) -> datetime:
        return self.store.now

    def pass_time(self, **parts: float) -> None:
        self.store.now += timedelta(**parts)

    def archive(self, **files: bytes | str) -> None:
        for name, content in files.items():
            self.desk.write(name, content)
        assert self.desk.archive(UNC).record.state is RunState.DONE

    def new(self, *lines: str, tier: Tier = Tier.BULK, days: int = 7) -> RestoreRun:
        sources = [ListSource("復元.csv", restore_list(*lines))]
        return RestoreRun(
            self.settings,
            self.desk.catalogue,
            sources,
            REQUEST,
            tier=tier,
            days=days,
            now=self.now,
        )

    def request(self, *lines: str, tier: Tier = Tier.BULK, days: int = 7) -> RunRecord:
        run = self.new(*lines, tier=tier, days=days)
        plan = run.check()
        if plan.refused:
            return run.refuse(plan)
        run.begin(plan)
        return run.execute(lambda: self.store, self.stop)

    def ready(self, *lines: str) -> str:
        """Request and wait until all is readable; returns the run."""
        record = self.request(*lines)
        self.pass_time(hours=49)
        return record.run_id

    def opened(self, run_id: str) -> OpenRestore:
        return OpenRestore(self.settings, run_id, self.now)

    def place(self, run_id: str, to: str = "", again: bool = False) -> RunRecord:
        restore = self.opened(run_id)
        keys = [s.item.key for s in self.preview(run_id, to).lost] if again else []
        restore.begin("tanaka")
        target = find_target(self.settings, to or self.to)
        return restore.place(lambda: self.store, target, self.stop, again=keys)

    def request_again(self, run_id: str) -> RunRecord:
        restore = self.opened(run_id)
        restore.begin("tanaka")
        return restore.request(lambda: self.store, self.stop)

    def preview(self, run_id: str, to: str = "") -> PlacePreview:
        target = find_target(self.settings, to or self.to)
        return preview(self.settings, self.opened(run_id), target, self.store)

    def status(self, run_id: str) -> RestoreStatus:
        return self.opened(run_id).status(self.store)

    def stages(self, run_id: str) -> dict[str, Stage]:
        return {file.item.name: file.stage for file in self.status(run_id).files}

    def placed(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.target.iterdir()}

    def read(self, run_id: str, name: str) -> str:
        return (self.settings.runs_dir / run_id / name).read_text("utf-8-sig")

    def key(self, name: str) -> str:
        return next(key for key in self.store.objects if key.endswith("/" + name))


@pytest.fixture
def counter(tmp_path: Path) -> Counter:
    memory = MemoryStore()
    desk = Desk(tmp_path, store=memory, environ={"HIMURO_RESTORE_ROOTS": rf"{UNC}\復元先"})
    counter = Counter(desk, MemoryRestoreStore(memory, START))
    counter.target.mkdir()
    return counter


# Step 1


def test_from_request_to_placed_files(counter: Counter) -> None:
    before = counter.desk.write("営業部/見積.xlsx", b"1" * 1000)
    os.utime(before, ns=(0, 1_444_444_444_123_456_700))
    counter.archive(**{"営業部/b.txt": "b", "c.txt": ""})
    record = counter.request(rf"{UNC}\営業部,見積.xlsx,", rf"{UNC},c.txt_archived.txt,")
    assert (record.state, record.total_files, record.total_bytes) == (RunState.WAITING, 2, 1000)
    assert (record.thawing_files, record.placed_files) == (2, 0)
    assert record.ready_by == START + timedelta(hours=48)
    assert [r[1:] for r in counter.store.requests] == [(Tier.BULK, 7)] * 2
    assert set(counter.stages(record.run_id).values()) == {Stage.THAWING}

    counter.pass_time(hours=49)
    assert set(counter.stages(record.run_id).values()) == {Stage.READY}
    done = counter.place(record.run_id)
    assert (done.state, done.placed_files, done.placed_bytes) == (RunState.DONE, 2, 1000)
    assert (done.request, done.last_by) == (REQUEST, "tanaka")
    assert counter.placed() == {"見積.xlsx": b"1" * 1000, "c.txt": b""}
    assert (counter.target / "見積.xlsx").stat().st_mtime_ns == 1_444_444_444_123_456_000
    assert counter.read(record.run_id, "restore_requests.txt") == ""
    assert counter.read(record.run_id, "report.csv").splitlines() == [
        "ファイル名,結果,復元日時,配置先,元のパス,理由",
        rf"見積.xlsx,成功,2026/11/25 19:30:00,{UNC}\復元先\見積.xlsx,{UNC}\営業部\見積.xlsx,",
        rf"c.txt,成功,2026/11/25 19:30:00,{UNC}\復元先\c.txt,{UNC}\c.txt,",
    ]


def test_rows_that_match_nothing_are_left_out_and_nothing_is_asked_for_them(
    counter: Counter,
) -> None:
    counter.archive(**{"営業部/データ.txt": "1", "b.txt": "2"})
    record = counter.request(rf"{UNC}\営業部,ﾃﾞｰﾀ.txt,", rf"{UNC},b.txt,", rf"{UNC},x.txt,")
    assert (record.state, record.total_files, record.left_out_rows) == (RunState.WAITING, 1, 2)
    assert [key for key, *_ in counter.store.requests] == [counter.key("b.txt")]
    log = counter.read(record.run_id, "restore_errors.txt")
    assert rf"{UNC}\営業部\ﾃﾞｰﾀ.txt - アーカイブ一覧に見つかりません" in log
    assert rf"もしかして: {UNC}\営業部\データ.txt" in log
    assert counter.read(record.run_id, "error_log.txt") == log
    counter.pass_time(hours=49)
    done = counter.place(record.run_id)
    assert (done.state, done.placed_files) == (RunState.FAILED_FILES, 1)
    assert done.message == "2行は対象外です"
    report = counter.read(record.run_id, "report.csv").splitlines()
    assert report[2].startswith(rf"{UNC}\営業部\ﾃﾞｰﾀ.txt,対象外,,,,アーカイブ一覧に見つかりません")


def test_neighbours_are_looked_through_once_for_all_rows(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row by itself took minutes for thousands of typos in a large directory."""
    counter.archive(**{f"d/{n} 月.txt": str(n) for n in range(60)})
    looks = []

    def counted(name: str) -> str:
        looks.append(name)
        return near_key(name)

    monkeypatch.setattr(check, "near_key", counted)
    plan = counter.new(*(f"{UNC}\\d,{n}月.txt," for n in range(40))).check()
    assert [p.code for p in plan.problems] == [Code.NOT_ARCHIVED] * 40
    assert rf"もしかして: {UNC}\d\7 月.txt" in plan.problems[7].reason
    assert len(looks) <= 60 + 40


def test_a_list_that_matches_nothing_is_refused(counter: Counter) -> None:
    counter.archive(**{"a.txt": "1"})
    record = counter.request(rf"{UNC},none.txt,")
    assert (record.state, record.left_out_rows) == (RunState.REFUSED, 1)
    assert record.message == "アーカイブ一覧に一致する行がありません"
    assert counter.store.requests == []


def test_the_newest_generation_unless_the_list_names_another(counter: Counter) -> None:
    counter.archive(**{"a.txt": "old"})
    rows = counter.desk.catalogue.rows
    rows[0] = replace(rows[0], archived_at=datetime(2016, 11, 23, 9, 30, 59, tzinfo=UTC))
    counter.archive(**{"a.txt": "new!"})
    counter.place(counter.ready(rf"{UNC},a.txt,"))
    assert counter.placed() == {"a.txt": b"new!"}
    counter.place(counter.ready(rf"{UNC},a.txt,2016/11/23 18:30"))
    assert sorted(counter.placed().values()) == [b"new!", b"old"]
    other = counter.request(rf"{UNC},a.txt,2016/11/23 18:31")
    assert other.state is RunState.REFUSED
    log = counter.read(other.run_id, "restore_errors.txt")
    assert "アーカイブ日時は 2016/11/23 18:30:59、2" in log


def test_a_directory_means_everything_below_it(counter: Counter) -> None:
    counter.archive(**{"d/a.txt": "1", "d/e/b.txt": "2", "dd/c.txt": "3"})
    record = counter.request(rf"{UNC.upper()}\D,,", rf"{UNC}\d,a.txt,")
    assert record.total_files == 2
    assert {key.rpartition("/")[2] for key, *_ in counter.store.requests} == {"a.txt", "b.txt"}


def test_objects_of_another_bucket_are_left_out(counter: Counter) -> None:
    counter.archive(**{"a.txt": "1", "b.txt": "2"})
    rows = counter.desk.catalogue.rows
    rows[0] = replace(rows[0], bucket="another")
    record = counter.request(f"{UNC},,")
    assert (record.total_files, record.left_out_rows) == (1, 1)
    assert "another" in counter.read(record.run_id, "restore_errors.txt")


@pytest.mark.parametrize(
    ("tier", "days"), [(Tier.BULK, 2), (Tier.BULK, 0), (Tier.STANDARD, 0), (Tier.BULK, 366)]
)
def test_days_that_end_before_the_files_are_ready_are_refused(
    counter: Counter, tier: Tier, days: int
) -> None:
    with pytest.raises(ListError, match="保持日数"):
        counter.new(f"{UNC},,", tier=tier, days=days)


def test_expedited_is_refused_with_the_reason() -> None:
    with pytest.raises(ListError, match="Expedited は S3 Glacier Deep Archive にはありません"):
        chosen_tier("Expedited")
    assert (chosen_tier("bulk"), chosen_tier("Standard")) == (Tier.BULK, Tier.STANDARD)


def test_only_what_needs_it_is_asked_for(counter: Counter) -> None:
    names = ("thawing", "readable", "normal", "gone", "frozen")
    counter.archive(**{name: name for name in names})
    store = counter.store
    store.thaw(counter.key("readable"), Tier.STANDARD, 30)
    counter.pass_time(hours=13)
    store.thaw(counter.key("thawing"), Tier.BULK, 7)
    normal = counter.key("normal")
    store.objects[normal] = replace(store.objects[normal], storage_class="STANDARD")
    del store.objects[counter.key("gone")]
    store.requests.clear()
    record = counter.request(*(f"{UNC},{name}," for name in names))
    assert store.requests == [(counter.key("frozen"), Tier.BULK, 7)]
    assert counter.stages(record.run_id) == {
        "thawing": Stage.THAWING,
        "readable": Stage.READY,
        "normal": Stage.READY,
        "gone": Stage.FAILED,
        "frozen": Stage.THAWING,
    }


def test_a_copy_that_would_expire_too_soon_is_extended(counter: Counter) -> None:
    counter.archive(**{"a.txt": "1"})
    counter.store.thaw(counter.key("a.txt"), Tier.STANDARD, 1)
    counter.pass_time(hours=13)
    until = counter.store.state(counter.key("a.txt")).readable_until
    assert until == datetime(2026, 11, 25, tzinfo=UTC)
    record = counter.request(f"{UNC},a.txt,")
    assert (record.state, record.thawing_files) == (RunState.WAITING, 0)
    until = counter.store.state(counter.key("a.txt")).readable_until
    assert until == datetime(2026, 12, 1, tzinfo=UTC)
    assert counter.place(record.run_id).state is RunState.DONE


def test_a_request_that_s3_refuses_fails_alone_and_can_be_asked_again(counter: Counter) -> None:
    counter.archive(**{"a.txt": "1", "b.txt": "2"})
    counter.store.throttled.add(counter.key("a.txt"))
    record = counter.request(f"{UNC},,")
    assert (record.state, record.failed_files, record.thawing_files) == (RunState.WAITING, 1, 1)
    assert "SlowDown" in counter.read(record.run_id, "restore_errors.txt")
    assert counter.stages(record.run_id)["a.txt"] is Stage.FAILED
    counter.store.throttled.clear()
    again = counter.request_again(record.run_id)
    assert (again.state, again.failed_files, again.thawing_files) == (RunState.WAITING, 0, 2)


def test_a_broken_environment_stops_the_requests(counter: Counter) -> None:
    counter.archive(**{f"{n}.txt": str(n) for n in range(5)})

    def gone(call: str, _key: str) -> None:
        if call == "thaw":
            raise FatalError(Code.ACCESS_DENIED)

    counter.store.before = gone
    record = counter.request(f"{UNC},,")
    assert (record.state, record.total_files) == (RunState.ERROR, 5)
    assert len(counter.read(record.run_id, "restore_requests.txt").splitlines()) == 5
    counter.store.before = lambda _call, _key: None
    assert counter.request_again(record.run_id).thawing_files == 5


def test_a_stop_leaves_the_rest_for_the_next_time(counter: Counter) -> None:
    counter.archive(**{f"{n}.txt": str(n) for n in range(200)})

    def stop(call: str, _key: str) -> None:
        if call == "thaw":
            counter.stop.request()

    counter.store.before = stop
    record = counter.request(f"{UNC},,")
    assert record.state is RunState.STOPPED
    asked = len(counter.store.requests)
    assert 0 < asked < 200
    counter.store.before = lambda _call, _key: None
    counter.stop = StopSignal()
    assert counter.request_again(record.run_id).thawing_files == 200
    assert len(counter.store.requests) == 200  # what thaws already is not asked for again


# Status


def test_status_from_ready_to_expired(counter: Counter) -> None:
    counter.archive(**{"a.txt": "1", "b.txt": "2"})
    run_id = counter.ready(f"{UNC},,")
    # Asked on the 23rd for seven days: until midnight of UTC on the 1st of December.
    assert counter.status(run_id).first_expiry == datetime(2026, 12, 1, tzinfo=UTC)
    counter.store.now = datetime(2026, 11, 30, 0, 0, tzinfo=UTC)
    assert set(counter.stages(run_id).values()) == {Stage.EXPIRING}
    counter.store.now = datetime(2026, 12, 1, 0, 0, tzinfo=UTC)
    assert set(counter.stages(run_id).values()) == {Stage.EXPIRED}
    record = counter.place(run_id)
    assert (record.state, record.failed_files) == (RunState.FAILED_FILES, 2)
    assert record.message == "2件は期限切れです"
    assert counter.placed() == {}
    assert counter.request_again(run_id).thawing_files == 2
    counter.pass_time(hours=48)
    assert counter.place(run_id).state is RunState.DONE


def test_what_is_not_ready_is_carried_over(counter: Counter) -> None:
    counter.archive(**{"a.txt": "1", "b.txt": "2"})
    counter.store.thaw(counter.key("a.txt"), Tier.STANDARD, 7)
    counter.pass_time(hours=11)
    run_id = counter.request(f"{UNC},,").run_id
    counter.pass_time(hours=1)
    record = counter.place(run_id)
    assert (record.state, record.placed_files, record.thawing_files) == (RunState.WAITING, 1, 1)
    assert record.message == "1件は取り出し準備中です"
    assert counter.read(run_id, "restore_requests.txt") == counter.key("b.txt") + "\n"
    assert "b.txt,取り出し準備中,,," in counter.read(run_id, "report.csv")
    counter.pass_time(hours=48)
    assert counter.place(run_id).state is RunState.DONE
    assert counter.placed() == {"a.txt": b"1", "b.txt": b"2"}


# Step 2: names


def test_a_taken_name_gets_the_day_and_then_a_counter(counter: Counter) -> None:
    counter.archive(**{"1/a.txt": "one", "2/A.TXT": "two", "3/a.txt": "three"})
    (counter.target / "a.txt").write_text("somebody's")
    run_id = counter.ready(f"{UNC},,")
    assert [name for _, name in counter.preview(run_id).renamed] == [
        f"a_{NIGHT}.txt",
        f"A_{NIGHT}_2.TXT",
        f"a_{NIGHT}_3.txt",
    ]
    assert counter.place(run_id).state is RunState.DONE
    placed = counter.placed()
    assert placed.pop("a.txt") == b"somebody's"
    assert sorted(placed) == sorted([f"a_{NIGHT}.txt", f"A_{NIGHT}_2.TXT", f"a_{NIGHT}_3.txt"])
    assert set(placed.values()) == {b"one", b"two", b"three"}


def test_a_name_of_85_japanese_characters(counter: Counter) -> None:
    """255 bytes, all that Linux takes; what is added to it cuts the stem."""
    name = "あ" * 81 + ".txt"
    counter.archive(**{f"1/{'あ' * 76}.txt": "short"})
    rows = counter.desk.catalogue.rows
    assert (len(name), len(name.encode())) == (85, 247)
    rows[0] = replace(rows[0], archived_name=name + "_archived.txt")
    run_id = counter.ready(f"{UNC}\\1,,")
    (counter.target / name).write_text("taken")
    assert counter.place(run_id).state is RunState.DONE
    placed = counter.placed()
    del placed[name]
    ((given, content),) = placed.items()
    assert content == b"short"
    assert given.endswith(f"_{NIGHT}.txt")
    assert len(given.encode()) <= 255

    # The run was killed before it could say so: what the cut name holds is known again.
    outcomes = counter.settings.runs_dir / run_id / "outcomes.csv"
    lines = outcomes.read_bytes().splitlines(keepends=True)
    outcomes.write_bytes(b"".join(line for line in lines if b",placed," not in line))
    assert counter.place(run_id).state is RunState.DONE
    assert set(counter.placed()) == {name, given}


def test_names_that_are_no_names_never_leave_the_target(counter: Counter) -> None:
    counter.archive(**{"d/a.txt": "1", "d/b.txt": "2"})
    rows = counter.desk.catalogue.rows
    rows[0] = replace(rows[0], archived_name="../../x.txt_archived.txt")
    run_id = counter.ready(rf"{UNC}\d,,")
    record = counter.place(run_id)
    assert (record.state, record.placed_files, record.failed_files) == (
        RunState.FAILED_FILES,
        1,
        1,
    )
    assert counter.placed() == {"b.txt": b"2"}
    assert not list(counter.desk.root.rglob("x.txt"))


# Step 2: content


def test_altered_content_never_gets_a_name(counter: Counter) -> None:
    counter.archive(**{"a.txt": b"1" * 10, "big.bin": b"2" * 1000, "c.txt": b"3"})
    for name in ("a.txt", "big.bin"):
        data = counter.store.objects[counter.key(name)].data
        counter.store.altered[counter.key(name)] = b"x" + data[1:]
    run_id = counter.ready(f"{UNC},,")
    record = counter.place(run_id)
    assert (record.placed_files, record.failed_files) == (1, 2)
    assert record.state is RunState.FAILED_FILES
    assert counter.placed() == {"c.txt": b"3"}
    log = counter.read(run_id, "restore_errors.txt")
    assert log.count("S3から届いた内容がアーカイブした内容と一致しません") == 2
    counter.store.altered.clear()
    assert counter.place(run_id).state is RunState.DONE
    assert counter.placed()["big.bin"] == b"2" * 1000


@pytest.mark.parametrize("size", [10, 1000])
def test_truncated_content_never_gets_a_name(counter: Counter, size: int) -> None:
    counter.archive(**{"a.bin": b"1" * size})
    run_id = counter.ready(f"{UNC},,")
    counter.store.altered[counter.key("a.bin")] = b"1" * (size - 1)
    assert counter.place(run_id).failed_files == 1
    assert counter.placed() == {}


def test_a_copy_that_expires_between_status_and_download(counter: Counter) -> None:
    counter.archive(**{"a.txt": "1", "b.txt": "2"})
    run_id = counter.ready(f"{UNC},,")
    key = counter.key("b.txt")

    def expire(call: str, asked: str) -> None:
        if call == "fetch" and asked == key:
            counter.store.now = datetime(2026, 12, 1, tzinfo=UTC)

    counter.store.before = expire
    record = counter.place(run_id)
    assert (record.placed_files, record.failed_files) == (1, 1)
    assert record.message == "1件は期限切れです"
    assert counter.stages(run_id) == {"a.txt": Stage.PLACED, "b.txt": Stage.EXPIRED}


def test_a_lost_connection_fails_one_file_and_the_next_run_completes(counter: Counter) -> None:
    counter.archive(**{f"{n}.txt": str(n) for n in range(10)})
    run_id = counter.ready(f"{UNC},,")
    key = counter.key("3.txt")

    def cut(call: str, asked: str) -> None:
        if call == "fetch" and asked == key:
            raise ItemError(Code.DOWNLOAD_FAILED, "ConnectionReset")

    counter.store.before = cut
    record = counter.place(run_id)
    assert (record.placed_files, record.failed_files) == (9, 1)
    counter.store.before = lambda _call, _key: None
    assert counter.place(run_id).state is RunState.DONE
    assert len(counter.placed()) == 10


# Step 2: the target


def test_only_below_the_restore_roots(counter: Counter, tmp_path: Path) -> None:
    counter.archive(**{"a.txt": "1"})
    (counter.target / "link").symlink_to(tmp_path)
    for text in (
        str(tmp_path),
        UNC,
        rf"{UNC}\復元先\..\営業部",
        rf"{UNC}\復元先\link",
        rf"{UNC}\復元先と",
        r"\\other\share",
        "",
        "relative",
    ):
        with pytest.raises(ListError):
            find_target(counter.settings, text)
    inside = find_target(counter.settings, rf"{UNC.upper()}\復元先\中")
    assert (inside.exists, inside.local) == (False, str(counter.target / "中"))
    assert inside.typed.endswith(r"\復元先\中")


def test_a_missing_directory_is_made(counter: Counter) -> None:
    counter.archive(**{"a.txt": "1"})
    run_id = counter.ready(f"{UNC},a.txt,")
    assert counter.place(run_id, rf"{UNC}\復元先\2026").state is RunState.DONE
    assert (counter.target / "2026" / "a.txt").read_bytes() == b"1"


def test_a_restore_root_is_never_made(counter: Counter) -> None:
    """It may be where something is to be mounted."""
    counter.archive(**{"a.txt": "1"})
    run_id = counter.ready(f"{UNC},a.txt,")
    counter.target.rmdir()
    with pytest.raises(FatalError, match="HIMURO_RESTORE_ROOTS のフォルダーがありません"):
        counter.place(run_id)
    assert not counter.target.exists()


def test_nothing_is_made_for_nothing(counter: Counter) -> None:
    counter.archive(**{"a.txt": "1"})
    run_id = counter.request(f"{UNC},a.txt,").run_id
    assert counter.place(run_id, rf"{UNC}\復元先\2026").state is RunState.WAITING
    assert counter.placed() == {}


def test_a_target_without_room_takes_nothing(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter.archive(**{"a.txt": b"1" * 4096})
    run_id = counter.ready(f"{UNC},,")
    monkeypatch.setattr("core.restore.preview.free_bytes", lambda _target: 4095)
    with pytest.raises(FatalError, match="空き容量が足りません（必要 4.0 KB、空き 4.0 KB）"):
        counter.preview(run_id)
    monkeypatch.setattr("core.restore.step.free_bytes", lambda _target: 4095)
    record = counter.place(run_id)
    assert (record.state, record.placed_files) == (RunState.ERROR, 0)
    assert "空き容量が足りません" in record.message
    assert counter.placed() == {}


def failing(
    monkeypatch: pytest.MonkeyPatch, name: str, code: int, after: int
) -> Callable[..., object]:
    """Let a call of ``os`` fail from its n-th time on."""
    real = getattr(os, name)
    calls = [0]

    def call(*args: object, **kwargs: object) -> object:
        calls[0] += 1
        if calls[0] > after:
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    monkeypatch.setattr(f"core.restore.placer.os.{name}", call)
    return cast(Callable[..., object], real)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills_up_stops_the_placing(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    counter.archive(**{f"{n}.txt": str(n) for n in range(10)})
    run_id = counter.ready(f"{UNC},,")
    with monkeypatch.context() as broken:
        failing(broken, "write", code, after=3)
        record = counter.place(run_id)
    assert record.state is RunState.ERROR
    assert record.placed_files <= 3
    for name, content in counter.placed().items():
        assert content == name.removesuffix(".txt").encode()
    assert counter.place(run_id).state is RunState.DONE
    assert len(counter.placed()) == 10


def test_a_file_gets_its_name_only_when_the_disk_has_it(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter.archive(**{f"{n}.txt": str(n) for n in range(10)}, big=b"1" * 500)
    run_id = counter.ready(f"{UNC},,")
    real = Directory.sync
    with monkeypatch.context() as broken:

        def full(_self: Directory) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        broken.setattr(Directory, "sync", full)
        record = counter.place(run_id)
    assert (record.state, record.placed_files) == (RunState.ERROR, 0)
    assert "空き容量がありません" in record.message
    assert counter.placed() == {}

    synced: set[str] = set()

    def sync(self: Directory) -> None:
        real(self)
        synced.update(counter.placed())

    def publish(self: Directory, temporary: str, name: str) -> bool:
        assert temporary in synced
        return give(self, temporary, name)

    give = Directory.publish
    monkeypatch.setattr(Directory, "sync", sync)
    monkeypatch.setattr(Directory, "publish", publish)
    assert counter.place(run_id).state is RunState.DONE
    assert len(counter.placed()) == 11


def test_a_target_that_is_removed_meanwhile(counter: Counter) -> None:
    counter.archive(**{f"{n}.txt": str(n) for n in range(10)})
    run_id = counter.ready(f"{UNC},,")
    there = counter.target / "中"
    there.mkdir()

    def remove(call: str, _key: str) -> None:
        if call == "fetch" and there.exists():
            there.rename(counter.desk.root / "moved")
            for path in (counter.desk.root / "moved").iterdir():
                path.unlink()
            (counter.desk.root / "moved").rmdir()

    counter.store.before = remove
    record = counter.place(run_id, rf"{UNC}\復元先\中")
    assert (record.state, record.placed_files) == (RunState.ERROR, 0)
    assert "配置先に書き込めません" in record.message
    counter.store.before = lambda _call, _key: None
    assert counter.place(run_id).state is RunState.DONE


@pytest.mark.parametrize("size", [5, 500])
@pytest.mark.parametrize("link", [False, True])
def test_a_target_that_is_moved_meanwhile(
    counter: Counter, tmp_path: Path, size: int, link: bool
) -> None:
    """Its descriptor would follow it out of the restore roots."""
    counter.archive(**{f"{n}.bin": str(n) * size for n in range(10)})
    run_id = counter.ready(f"{UNC},,")
    there, elsewhere = counter.target / "中", tmp_path / "elsewhere"
    there.mkdir()
    (tmp_path / "other").mkdir()

    def move(call: str, _key: str) -> None:
        if call == "fetch" and not elsewhere.exists():
            there.rename(elsewhere)
            if link:
                there.symlink_to(tmp_path / "other")
            else:
                there.mkdir()

    counter.store.before = move
    record = counter.place(run_id, rf"{UNC}\復元先\中")
    assert (record.state, record.placed_files) == (RunState.ERROR, 0)
    assert "置き換えられました" in record.message
    assert list(elsewhere.iterdir()) == list((tmp_path / "other").iterdir()) == []
    assert counter.place(run_id).state is RunState.DONE


def test_a_target_that_was_let_go_of_takes_nothing(counter: Counter) -> None:
    """A thread that was given up may come back at any time."""
    directory = Directory(find_target(counter.settings, counter.to))
    os.close(directory.create("begun"))
    directory.close()
    with pytest.raises(FatalError, match="配置先に書き込めません"):
        directory.create("new")
    with pytest.raises(ItemError):
        directory.publish("begun", "name")
    assert set(counter.placed()) == {"begun"}


def test_a_pipe_is_never_taken_for_a_file(counter: Counter) -> None:
    counter.archive(**{"a.txt": ""})
    run_id = counter.ready(f"{UNC},,")
    (item,) = (s.item for s in counter.opened(run_id).standings())
    pipe = counter.target / "a.txt"
    os.mkfifo(pipe)
    os.utime(pipe, (item.modified_at.timestamp(),) * 2)
    # Who would wait for content gets none at once.
    writer = threading.Thread(target=lambda: os.close(os.open(pipe, os.O_WRONLY)), daemon=True)
    writer.start()
    assert counter.place(run_id).state is RunState.DONE
    assert (counter.target / f"a_{NIGHT}.txt").read_bytes() == b""
    os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
    writer.join()


def test_a_target_that_takes_no_file_is_refused(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a read-only share answers; the mode bits would not stop root."""
    counter.archive(**{"a.txt": "1"})
    run_id = counter.ready(f"{UNC},,")

    def refuse(_self: FileSystem, path: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(FileSystem, "create_empty", refuse)
    with pytest.raises(ListError, match="配置先に書き込めません.*書き込みが禁止されています"):
        counter.preview(run_id)


# Again


def test_placing_again_places_only_what_is_missing(counter: Counter) -> None:
    counter.archive(**{"a.txt": "1", "b.txt": "2", "c.txt": "3"})
    run_id = counter.ready(f"{UNC},,")
    counter.place(run_id)
    (counter.target / "a.txt").unlink()
    (counter.target / "b.txt").write_text("edited")
    assert counter.place(run_id).state is RunState.DONE
    assert counter.placed() == {"b.txt": b"edited", "c.txt": b"3"}
    assert [s.item.name for s in counter.preview(run_id).lost] == ["a.txt", "b.txt"]
    assert counter.place(run_id, again=True).state is RunState.DONE
    assert counter.placed() == {
        "a.txt": b"1",
        "b.txt": b"edited",
        f"b_{NIGHT}.txt": b"2",
        "c.txt": b"3",
    }


def test_two_steps_of_one_restore_exclude_each_other(counter: Counter) -> None:
    counter.archive(**{"a.txt": "1"})
    run_id = counter.ready(f"{UNC},,")
    first = counter.opened(run_id)
    first.begin("tanaka")
    with pytest.raises(ListError, match="ほかの処理の途中"):
        counter.opened(run_id).begin("sato")
    first.place(lambda: counter.store, find_target(counter.settings, counter.to), counter.stop)
    assert counter.place(run_id).state is RunState.DONE


@pytest.mark.parametrize("size", [5, 500])
def test_what_a_killed_run_had_placed_is_found_again(counter: Counter, size: int) -> None:
    """Names are there, the lines that say so are not, and one file is half done."""
    counter.archive(**{f"{n}.bin": str(n) * size for n in range(6)}, **{"d/5.bin": "other"})
    run_id = counter.ready(f"{UNC},,")
    counter.place(run_id)
    folder = counter.settings.runs_dir / run_id
    lines = (folder / "outcomes.csv").read_bytes().splitlines(keepends=True)
    placed = [line for line in lines if b",placed," in line]
    kept = [line for line in lines if line not in placed[3:]]
    (folder / "outcomes.csv").write_bytes(b"".join(kept) + placed[3][:40])
    record = counter.opened(run_id).folder.read_record()
    assert record is not None
    counter.opened(run_id).folder.write_record(replace(record, state=RunState.RUNNING))
    short = run_id.rpartition("-")[2]
    (counter.target / f".himuro-{short}-7.tmp").write_bytes(b"half")
    (counter.target / ".himuro-123456-7.tmp").write_bytes(b"of another installation")

    (found,) = recover(counter.settings, counter.now)
    assert (found.state, found.placed_files) == (RunState.INTERRUPTED, 3)
    counter.pass_time(days=1)  # what would be named now would have another name
    assert counter.preview(run_id).renamed == ()
    assert counter.place(run_id).state is RunState.DONE
    assert counter.placed() == {
        **{f"{n}.bin": str(n).encode() * size for n in range(6)},
        f"5_{NIGHT}.bin": b"other",
        ".himuro-123456-7.tmp": b"of another installation",
    }
    report = counter.read(run_id, "report.csv")
    assert report.count("同じ内容のファイルが既にありました") == 4


def test_a_run_that_was_killed_before_its_first_line(counter: Counter) -> None:
    counter.archive(**{"a.txt": "1"})
    run_id = counter.ready(f"{UNC},,")
    (counter.opened(run_id).folder.path / "outcomes.csv").write_bytes(b"")
    assert counter.place(run_id).placed_files == 1
    assert counter.stages(run_id) == {"a.txt": Stage.PLACED}


def test_a_damaged_plan_is_still_known_to_be_one_after_a_crash(counter: Counter) -> None:
    counter.archive(**{f"{n}.txt": str(n) for n in range(5)})
    run_id = counter.ready(f"{UNC},,")
    folder = counter.opened(run_id).folder
    record = folder.read_record()
    assert record is not None
    folder.write_record(replace(record, state=RunState.RUNNING))
    plan = folder.path / "plan.csv"
    plan.write_bytes(b"".join(plan.read_bytes().splitlines(keepends=True)[:3]))
    (found,) = recover(counter.settings, counter.now)
    assert (found.state, found.total_files) == (RunState.INTERRUPTED, 5)
    with pytest.raises(ListError, match="plan.csv.*壊れています"):
        counter.opened(run_id)


def test_hashes_of_everything_that_has_a_name(counter: Counter) -> None:
    counter.archive(**{f"{n}.bin": os.urandom(n * 37) for n in range(40)})
    run_id = counter.ready(f"{UNC},,")
    counter.place(run_id)
    rows = counter.desk.catalogue.rows
    wanted = {row.name: row.sha256 for row in rows}
    assert wanted == {
        name: hashlib.sha256(content).hexdigest() for name, content in counter.placed().items()
    }
