"""Files made in the background: their lives, their bounds, and how they end."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from core.config.settings import load_settings
from core.errors import Code, FatalError, ListError
from core.export import background as module
from core.export import disk_quota as room
from core.export.background import Exports
from core.export.disk_quota import KEPT
from core.export.job import Export, ExportState
from core.export.queue import AWAY, NOBODY, Asker
from core.export.writer import Form
from core.model import Entry, SearchQuery
from core.ports import Hits
from core.runs.locks import RunLock
from tests.support.entries import entry
from tests.support.fakes import MemoryCatalogue

PATIENCE = 60
"""Seconds: far more than anything takes."""


class GatedCatalogue(MemoryCatalogue):
    """Hits whose batches, two rows each, come only when the test lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)
        """Released when a batch is asked for."""
        self.open = True

    def hits(self, query: SearchQuery) -> Hits:
        found = super().hits(query)
        return found if self.open else Hits(found.total, self._gated(found.batches))

    def _gated(self, batches: Iterator[Sequence[Entry]]) -> Iterator[Sequence[Entry]]:
        for batch in batches:
            self.asked.release()
            assert self.gate.acquire(timeout=PATIENCE)
            yield batch


@dataclass
class Bench:
    """Exports of a small archive list, with a clock and a disk moved by hand."""

    root: Path
    catalogue: GatedCatalogue = field(default_factory=GatedCatalogue)
    now: datetime = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)
    free: int = 10**12

    def __post_init__(self) -> None:
        self.catalogue.add([entry(f"{n}.txt", size=1000) for n in range(6)])
        self.exports = self.opened()

    def opened(self) -> Exports:
        settings = load_settings({"HIMURO_DATA_DIR": str(self.root)})
        return Exports(
            settings, self.catalogue, now=lambda: self.now, free_bytes=lambda _place: self.free
        )

    @property
    def files(self) -> list[Path]:
        return sorted(
            f for f in (self.root / "exports").rglob("*") if f.suffix in (".csv", ".xlsx")
        )

    def view(self, export_id: str) -> Export:
        found = self.exports.view(export_id)
        assert found is not None
        return found

    def until(self, holds: Callable[[], bool]) -> None:
        waiting = threading.Event()
        for _ in range(PATIENCE * 200):
            if holds():
                return
            waiting.wait(0.005)
        raise AssertionError("it never came about")

    def ended(self, export_id: str) -> Export:
        self.until(lambda: self.view(export_id).state.is_final)
        return self.view(export_id)

    def make(self, form: Form = Form.CSV, asker: Asker = NOBODY) -> Export:
        return self.ended(self.exports.start(SearchQuery(), form, asker))

    @contextmanager
    def held(self, form: Form = Form.CSV, asker: Asker = NOBODY) -> Iterator[str]:
        """Yield a file whose making has stopped before its first rows."""
        self.catalogue.open = False
        export_id = self.exports.start(SearchQuery(), form, asker)
        assert self.catalogue.asked.acquire(timeout=PATIENCE)
        self.catalogue.open = True
        yield export_id
        for _ in range(10):
            self.catalogue.gate.release()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for _ in range(100):
        bench.catalogue.gate.release()
    bench.exports.close()


@pytest.mark.parametrize(
    ("form", "name"),
    [
        (Form.CSV, "アーカイブ一覧_20261125-1830.csv"),
        (Form.XLSX, "アーカイブ一覧_20261125-1830.xlsx"),
        (Form.RESTORE, "復元一覧_20261125-1830.csv"),
    ],
)
def test_a_file_of_everything(bench: Bench, form: Form, name: str) -> None:
    made = bench.make(form)
    assert (made.state, made.name, made.message) == (ExportState.DONE, name, "")
    assert made.written is not None
    assert (made.written.rows, made.written.total, made.written.listed_bytes) == (6, 6, 6000)
    found = bench.exports.file(made.export_id)
    assert found is not None
    path, called = found
    assert (called, path.stat().st_size) == (name, made.written.size)
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_of_chosen_rows(bench: Bench) -> None:
    chosen = [bench.catalogue.rows[4], bench.catalogue.rows[1]]
    made = bench.ended(bench.exports.start(chosen, Form.CSV))
    found = bench.exports.file(made.export_id)
    assert found is not None
    lines = found[0].read_text("utf-8-sig").splitlines()
    assert [line.split(",")[2] for line in lines[1:]] == [row.archived_name for row in chosen]


def test_progress_and_what_is_not_there_yet(bench: Bench) -> None:
    with bench.held() as export_id:
        bench.catalogue.gate.release()
        bench.until(lambda: (w := bench.view(export_id).written) is not None and w.rows == 2)
        halfway = bench.view(export_id)
        assert halfway.written is not None
        assert (halfway.state, halfway.written.total) == (ExportState.WORKING, 6)
        assert bench.exports.file(export_id) is None
    assert bench.ended(export_id).state is ExportState.DONE


def test_stopping(bench: Bench) -> None:
    with bench.held() as export_id:
        bench.exports.cancel(export_id)
    assert bench.ended(export_id).state is ExportState.STOPPED
    assert (bench.files, bench.exports.file(export_id)) == ([], None)
    bench.exports.cancel(export_id)
    bench.exports.cancel("unknown")


def test_few_at_once_and_the_others_in_line(bench: Bench) -> None:
    with bench.held(), bench.held():
        third, fourth = (bench.exports.start(SearchQuery(), Form.CSV) for _ in range(2))
        views = [bench.view(export_id) for export_id in (third, fourth)]
        assert [(v.state, v.ahead) for v in views] == [
            (ExportState.WAITING, 2),
            (ExportState.WAITING, 3),
        ]
        bench.exports.cancel(third)
        assert bench.view(third).state is ExportState.STOPPED
        assert bench.view(fourth).ahead == 2
    assert bench.ended(fourth).state is ExportState.DONE


def test_a_large_one_leaves_a_turn_to_small_ones(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LARGE", 5)
    with bench.held() as large:
        second = bench.exports.start(SearchQuery(), Form.XLSX)
        bench.until(lambda: bench.view(second).written is not None)
        small = bench.ended(bench.exports.start(bench.catalogue.rows[:2], Form.CSV))
        waiting = bench.view(second)
        assert small.state is ExportState.DONE
        assert (waiting.state, waiting.ahead) == (ExportState.WAITING, 1)
    assert bench.ended(large).state is ExportState.DONE
    assert bench.ended(second).state is ExportState.DONE


def test_a_line_that_is_too_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    with bench.held(), bench.held():
        waiting = bench.exports.start(SearchQuery(), Form.CSV)
        with pytest.raises(ListError, match="混み合っています"):
            bench.exports.start(SearchQuery(), Form.CSV)
        bench.exports.cancel(waiting)
        bench.exports.start(SearchQuery(), Form.CSV)


def test_files_end_after_half_an_hour(bench: Bench) -> None:
    made = bench.make()
    bench.now += KEPT - timedelta(seconds=1)
    assert bench.exports.file(made.export_id)
    bench.now += timedelta(seconds=1)
    assert bench.exports.file(made.export_id) is None
    assert bench.exports.view(made.export_id) is None
    assert bench.files == []


def test_a_full_disk_takes_the_oldest_files_and_then_nothing(bench: Bench) -> None:
    old = bench.make()
    bench.now += timedelta(minutes=3)
    young = bench.make()
    bench.free = room.RESERVE - 1
    refused = bench.make()
    assert refused.state is ExportState.FAILED
    assert "空き容量が足りない" in refused.message
    assert bench.exports.file(old.export_id) is None
    # Somebody is about to fetch it.
    assert bench.exports.file(young.export_id) is not None
    assert len(bench.files) == 1


def test_all_files_together_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bench.make()
    assert first.written is not None
    monkeypatch.setattr(room, "MAX_BYTES", first.written.size * 2 - 1)
    bench.now += timedelta(minutes=3)
    second = bench.make()
    assert second.state is ExportState.DONE
    assert bench.exports.file(first.export_id) is None
    third = bench.make()
    assert third.state is ExportState.FAILED


def test_a_database_that_goes_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(_query: SearchQuery) -> Hits:
        def batches() -> Iterator[list[Entry]]:
            yield bench.catalogue.rows[:2]
            raise FatalError(Code.DATABASE_UNAVAILABLE, "接続が切れました")

        return Hits(6, batches())

    monkeypatch.setattr(bench.catalogue, "hits", gone)
    ended = bench.make()
    assert ended.state is ExportState.FAILED
    # Anybody may ask for a file; why it failed is for the log.
    assert ended.message == "データベースに接続できません。続くときは管理者に連絡してください。"
    assert "データベースに接続できません（接続が切れました）" in caplog.text
    assert bench.files == []


def test_a_list_that_is_too_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.export.restore_list_writer.MAX_ROWS", 5)
    ended = bench.make(Form.RESTORE)
    assert (ended.state, "絞り込み" in ended.message) == (ExportState.FAILED, True)


def test_what_nobody_foresaw_is_said_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_query: SearchQuery) -> Hits:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.catalogue, "hits", broken)
    ended = bench.make()
    assert (ended.state, "予期しないエラー" in ended.message) == (ExportState.FAILED, True)
    monkeypatch.undo()
    assert bench.make().state is ExportState.DONE


def test_a_machine_without_threads_is_asked_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        for _ in range(3):
            with pytest.raises(FatalError, match="スレッドを開始できません"):
                bench.exports.start(SearchQuery(), Form.CSV)
    assert bench.make().state is ExportState.DONE


def test_a_directory_that_cannot_be_made(bench: Bench) -> None:
    (bench.root / "exports").write_text("in the way")
    with pytest.raises(ListError, match="管理者に連絡") as caught:
        bench.exports.start(SearchQuery(), Form.CSV)
    assert str(bench.root) not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "空き容量が足りない"), (errno.EIO, "保存できない")]
)
def test_a_disk_that_takes_no_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    def refuse(path: Path) -> NoReturn:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(module, "create_private", refuse)
    ended = bench.make()
    assert (ended.state, reason in ended.message) == (ExportState.FAILED, True)
    assert str(bench.root) not in ended.message


def test_closing_ends_all_of_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench.make()
    monkeypatch.setattr(module, "_END_SECONDS", 0)
    with bench.held() as running, bench.held():
        waiting = bench.exports.start(SearchQuery(), Form.CSV)
        bench.exports.close()
        assert bench.view(waiting).state is ExportState.FAILED
        assert "コンソールが終了した" in bench.view(waiting).message
    assert "コンソールが終了した" in bench.ended(running).message
    assert bench.exports.file(made.export_id) is None
    assert bench.files == []
    with pytest.raises(ListError, match="コンソールが終了した"):
        bench.exports.start(SearchQuery(), Form.CSV)


def test_closing_while_hits_are_looked_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looking, closed = threading.Event(), threading.Event()

    def slowly(_query: SearchQuery) -> Hits:
        looking.set()
        assert closed.wait(PATIENCE)
        return Hits(0, iter(()))

    monkeypatch.setattr(bench.catalogue, "hits", slowly)
    monkeypatch.setattr(module, "_END_SECONDS", 0)
    export_id = bench.exports.start(SearchQuery(), Form.CSV)
    assert looking.wait(PATIENCE)
    bench.exports.close()
    closed.set()
    assert "コンソールが終了した" in bench.ended(export_id).message
    assert caplog.records == []


def test_of_too_many_the_ones_without_a_file_are_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KNOWN", 2)
    first = bench.make()
    with bench.held() as stopped:
        bench.exports.cancel(stopped)
    bench.ended(stopped)
    bench.make()
    assert bench.exports.view(stopped) is None
    assert bench.exports.file(first.export_id) is not None
    bench.make()
    assert bench.exports.file(first.export_id) is None


def test_files_of_processes_that_died_are_removed(bench: Bench) -> None:
    exports = bench.root / "exports"
    dead = exports / "dead"
    dead.mkdir(parents=True)
    (dead / "left.csv").write_text("x")
    (dead / "lock").write_text("")
    owner = RunLock(exports / "alive")
    owner.acquire()
    (exports / "alive" / "theirs.csv").write_text("x")
    (exports / "20261125").mkdir()
    (exports / "20261125" / "of somebody else.csv").write_text("x")
    bench.exports.begin()
    assert not dead.exists()
    assert len(bench.files) == 2
    owner.release()


def test_what_nobody_may_remove_keeps_nobody_from_work(bench: Bench) -> None:
    left = bench.root / "exports" / "left"
    (left / "lock").mkdir(parents=True)  # as if it were another user's
    assert bench.make().state is ExportState.DONE
    assert left.exists()


# Fairness


@dataclass
class Page:
    """An open page at some address."""

    address: str
    open: bool = True

    @property
    def asker(self) -> Asker:
        return Asker(self.address, lambda: self.open)


def test_one_machine_has_two_in_line_and_the_turn_goes_round(bench: Bench) -> None:
    """22 exports of one machine kept everybody else waiting."""
    greedy, other = Page("192.0.2.1").asker, Page("192.0.2.2").asker
    with bench.held(asker=greedy) as first, bench.held(asker=greedy):
        mine = [bench.exports.start(SearchQuery(), Form.CSV, greedy) for _ in range(2)]
        for _ in range(20):
            with pytest.raises(ListError, match="このパソコンの書き出しが2件、順番を待って"):
                bench.exports.start(SearchQuery(), Form.CSV, greedy)
        theirs = bench.exports.start(SearchQuery(), Form.CSV, other)
        again = bench.exports.start(SearchQuery(), Form.CSV, other)
        assert [bench.view(e).ahead for e in (theirs, again, *mine)] == [2, 3, 4, 5]
        bench.exports.cancel(first)
        bench.catalogue.gate.release()
        assert bench.ended(theirs).state is ExportState.DONE
    assert {bench.ended(e).state for e in (again, *mine)} == {ExportState.DONE}
    bench.exports.start(SearchQuery(), Form.CSV, greedy)


@pytest.mark.parametrize("kind", ["waiting", "working"])
def test_who_has_left_gets_no_file(bench: Bench, kind: str) -> None:
    page = Page("192.0.2.1")
    with bench.held(asker=page.asker) as working, bench.held():
        waiting = bench.exports.start(SearchQuery(), Form.CSV, page.asker)
        page.open = False
        bench.exports.tidy()
        bench.now += AWAY - timedelta(seconds=1)
        bench.exports.tidy()
        assert bench.view(waiting).state is ExportState.WAITING  # the network failed, perhaps
        bench.now += timedelta(seconds=1)
        bench.exports.tidy()
        assert bench.view(waiting).state is ExportState.FAILED
    ended = bench.ended(working if kind == "working" else waiting)
    assert ended.state is ExportState.FAILED
    assert "接続が切れたため" in ended.message
    assert bench.exports.file(ended.export_id) is None


def test_who_comes_back_in_time_has_lost_nothing(bench: Bench) -> None:
    page = Page("192.0.2.1")
    with bench.held(asker=page.asker) as export_id:
        page.open = False
        bench.exports.tidy()
        bench.now += AWAY - timedelta(seconds=1)
        page.open = True
        bench.exports.tidy()
        page.open = False
        bench.now += timedelta(seconds=2)
        bench.exports.tidy()
        page.open = True
    assert bench.ended(export_id).state is ExportState.DONE


def test_who_has_left_is_in_nobodys_way(bench: Bench) -> None:
    """A page that is loaded again and again leaves two in line each time."""
    gone, here = Page("192.0.2.1"), Page("192.0.2.1")
    with bench.held(), bench.held():
        for _ in range(2):
            bench.exports.start(SearchQuery(), Form.CSV, gone.asker)
        gone.open = False
        bench.exports.tidy()
        bench.now += AWAY
        bench.exports.start(SearchQuery(), Form.CSV, here.asker)


def test_one_machines_files_displace_its_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KNOWN", 3)
    other = bench.make(asker=Page("192.0.2.2").asker)
    mine = [bench.make(asker=Page("192.0.2.1").asker) for _ in range(6)]
    assert bench.exports.file(other.export_id) is not None
    assert [bench.exports.file(e.export_id) is not None for e in mine] == [False] * 4 + [True] * 2


def test_room_is_made_by_who_has_most_of_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    other = bench.make(asker=Page("192.0.2.2").asker)
    assert other.written is not None
    monkeypatch.setattr(room, "MAX_BYTES", other.written.size * 3)
    for _ in range(2):
        bench.now += timedelta(minutes=3)
        mine = bench.make(asker=Page("192.0.2.1").asker)
    bench.now += timedelta(minutes=3)
    assert bench.make(asker=Page("192.0.2.1").asker).state is ExportState.DONE
    assert bench.exports.file(other.export_id) is not None
    assert bench.exports.file(mine.export_id) is not None


# Too large for now


def test_what_is_too_large_for_now_says_when_to_come_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bench.make()
    assert first.written is not None
    monkeypatch.setattr(room, "MAX_BYTES", first.written.size * 2 - 1)
    bench.now += timedelta(seconds=30)
    refused = bench.make()
    assert (refused.state, bench.files[1:]) == (ExportState.FAILED, [])
    # Half past nine and two minutes in London is 18:32 in Tokyo; and then it is so.
    assert "18:32を過ぎてから、もう一度" in refused.message
    bench.now = datetime(2026, 11, 25, 9, 32, tzinfo=UTC)
    assert bench.make().state is ExportState.DONE


def test_what_is_too_large_for_ever_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_BYTES", 10)
    refused = bench.make()
    assert refused.state is ExportState.FAILED
    assert "条件で絞り込んでください" in refused.message
    assert "もう一度" not in refused.message


def test_a_full_disk_is_the_administrators(bench: Bench) -> None:
    bench.free = room.RESERVE - 1
    refused = bench.make()
    assert (refused.state, "管理者に連絡" in refused.message) == (ExportState.FAILED, True)
