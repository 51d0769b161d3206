"""Which generation of a file is the newest, whatever clocks said, on both databases."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.archive.run import ArchiveRun
from core.concurrency.cancellation import StopSignal
from core.errors import Code
from core.model import ListSource, RunState
from core.share.shares import OpenFile
from db import SqlCatalogue
from tests.support.arrange import BUCKET, REQUEST, UNC, archive_list
from tests.support.entries import entry
from tests.support.fakes import MemoryObject
from tests.support.office import START, Office, restore_list

HOUR = timedelta(hours=1)
BROKEN = [
    910_692_730_085_477_580_700,  # year 30828, the last that Windows counts
    253_402_300_800 * 10**9,  # a nanosecond after the year 9999
    -62_135_596_800 * 10**9 - 1,  # one before the year 1
    2**80,
    -(2**80),
]
STRANGE = [
    -11_644_473_600 * 10**9,  # 1601, where Windows begins to count
    -11_644_473_600 * 10**9 + 1_234_567_891,
    -1,
    253_402_300_799_999_999_999,
    -62_135_596_800 * 10**9,
    1_444_444_444_123_456_700,
]


@pytest.fixture
def office(tmp_path: Path, catalogue: SqlCatalogue) -> Office:
    return Office(tmp_path / "office", catalogue)


def content_of_a(office: Office) -> str:
    (content,) = office.bring_back(restore_list(f"{UNC},a.txt")).values()
    return content


def test_a_clock_that_was_an_hour_ahead(office: Office) -> None:
    file = office.write("a.txt", "old")
    office.clock = START + HOUR
    assert office.archive().archived_files == 1
    office.clock = START
    file.write_text("changed")
    assert office.archive().archived_files == 1
    for _ in range(2):
        record = office.archive()
        assert (record.archived_files, record.unchanged_files) == (0, 1)
    assert len(office.store.writes) == 2
    first, second = office.rows()
    assert (first.archived_at, second.archived_at) == (
        START + HOUR,
        START + HOUR + timedelta(microseconds=1),
    )
    assert content_of_a(office) == "changed"
    assert office.bring_back(restore_list(f"{UNC},")) == {"a.txt": "changed"}


def test_the_list_before_this_rule_may_hold_times_in_any_order(office: Office) -> None:
    """The newest is what was stored last; a further generation is later than all of them."""
    for hours in (5, 3, 4):
        row = entry("a.txt", UNC, key=f"a_{hours}", content=str(hours), bucket=BUCKET)
        office.catalogue.add([replace(row, archived_at=START + hours * HOUR)])
        office.store.objects[row.key] = MemoryObject(str(hours).encode(), row.sha256, row.path)
    assert content_of_a(office) == "4"
    office.write("a.txt", "4")
    assert office.archive().unchanged_files == 1
    office.write("a.txt", "5")
    assert office.archive().archived_files == 1
    assert office.rows()[-1].archived_at == START + 5 * HOUR + timedelta(microseconds=1)
    assert content_of_a(office) == "5"


def test_each_generation_has_a_time_of_its_own(office: Office) -> None:
    """With a clock that stands still, each can still be asked for by its time."""
    file = office.write("a.txt", "")
    for number in range(5):
        file.write_text(f"content {number}")
        os.utime(file, ns=(0, 10**18))
        office.archive()
    rows = office.rows()
    assert len({row.archived_at for row in rows}) == 5
    for number, row in enumerate(rows):
        when = row.archived_at.isoformat(" ", "microseconds")
        titles = "ディレクトリパス,復元対象ファイル名,アーカイブ日時"
        back = office.bring_back(restore_list(f"{UNC},a.txt,{when}", titles=titles))
        assert back == {"a.txt": f"content {number}"}


def test_what_was_stored_between_check_and_run_is_known(office: Office) -> None:
    """Two lists wait with the same file; the second one's plan does not know the first one's
    generation."""
    file = office.write("a.txt", "first")
    office.archive()
    waiting = office.checked()
    office.clock += HOUR
    file.write_text("second")
    assert office.archive().archived_files == 1
    office.clock -= HOUR
    record = waiting.execute(lambda: office.store, StopSignal())
    assert (record.archived_files, record.unchanged_files) == (0, 1)

    waiting = office.checked()
    office.clock += 2 * HOUR
    file.write_text("third")
    assert office.archive().archived_files == 1
    office.clock -= 2 * HOUR
    file.write_text("second")  # what the waiting plan takes for the newest
    assert waiting.execute(lambda: office.store, StopSignal()).archived_files == 1
    times = [row.archived_at for row in office.rows()]
    assert (len(times), times) == (4, sorted(times))
    assert content_of_a(office) == "second"


# Modification times


class Dated(OpenFile):
    """A file whose modification time is one that this machine's disk may not hold."""

    times: dict[str, int] = {}

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if name in self.times:
            self.status = dated(self.status, self.times[name])


def dated(status: os.stat_result, mtime_ns: int) -> os.stat_result:
    return os.stat_result(status, {"st_mtime_ns": mtime_ns, "st_mtime": mtime_ns / 1e9})


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Modification times by name, as the share shows them from now on."""
    found: dict[str, int] = {}
    real = os.stat
    monkeypatch.setattr(Dated, "times", found)
    monkeypatch.setattr("core.share.shares.OpenFile", Dated)

    def stat(path: str) -> os.stat_result:
        name = Path(path).name
        return dated(real(path), found[name]) if name in found else real(path)

    monkeypatch.setattr("core.share.shares.FileSystem.stat", lambda _self, path: stat(path))
    return found


@pytest.mark.parametrize("mtime_ns", BROKEN)
def test_a_time_that_no_calendar_holds_is_said_by_the_check(
    office: Office, times: dict[str, int], mtime_ns: int
) -> None:
    office.write("broken.txt", "b")
    office.write("good.txt", "g")
    times["broken.txt"] = mtime_ns
    sources = [ListSource("一覧.csv", archive_list(UNC))]
    plan = ArchiveRun(office.settings, office.catalogue, sources, REQUEST).check()
    (problem,) = plan.problems
    assert (problem.code, problem.path) == (Code.TIME_NOT_STORABLE, rf"{UNC}\broken.txt")
    assert problem.reason.startswith("更新日時が壊れているため記録できません")


@pytest.mark.parametrize(
    ("mtime_ns", "size"), [*((time, 1) for time in BROKEN), (BROKEN[0], 500), (BROKEN[0], 5000)]
)
def test_a_time_that_breaks_after_the_check_fails_that_file_before_its_upload(
    office: Office, times: dict[str, int], mtime_ns: int, size: int
) -> None:
    office.write("broken.bin", "b" * size)
    office.write("good.txt", "g")
    run = office.checked()
    times["broken.bin"] = mtime_ns
    record = run.execute(lambda: office.store, StopSignal())
    assert (record.state, record.archived_files, record.failed_files) == (
        RunState.FAILED_FILES,
        1,
        1,
    )
    assert office.store.writes == ["fsx01/share/good.txt"]
    assert "(TIME_NOT_STORABLE)" in (run.folder.path / "error_log.txt").read_text()
    del times["broken.bin"]
    assert office.archive().archived_files == 1


@pytest.mark.parametrize("mtime_ns", STRANGE)
def test_a_strange_time_is_the_same_time_at_the_next_run(
    office: Office, times: dict[str, int], mtime_ns: int
) -> None:
    """A float of a year 1601 is some microseconds off, which read as "changed"."""
    office.write("a.txt", "1")
    times["a.txt"] = mtime_ns
    assert office.archive().archived_files == 1
    (row,) = office.rows()
    assert (row.modified_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) == (
        mtime_ns // 1000
    )
    run = office.checked()
    assert [item.standing.value for item in run.plan.items] == ["archived"]
    assert run.execute(lambda: office.store, StopSignal()).unchanged_files == 1
    office.write("a.txt", "2")
    assert office.archive().archived_files == 1  # its second key holds that time, too
    assert content_of_a(office) == "2"
