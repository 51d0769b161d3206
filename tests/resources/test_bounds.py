"""What is held has a bound: what waits to be registered, threads, descriptors."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from core.concurrency.background import Lookups
from core.concurrency.parallel import parallel
from core.concurrency.worker_pool import MAX_UNSETTLED
from core.errors import Code, FatalError
from core.export.job import ExportState
from core.export.writer import Form
from core.health.background import Checkup
from core.health.checks import Check
from core.health.checks import run as examine
from core.health.findings import Finding, Status
from core.jobs.pending_checks import DraftState
from core.model import Entry, RunState, SearchQuery
from core.resources import shortage
from core.runs.folder import RunFolder
from core.share.shares import FileSystem, Kind
from pages.http.health_routes import Readiness
from pages.http.shutdown import ending_with
from tests.export.test_background import Bench
from tests.jobs.test_queue import Office
from tests.restore.test_run import START, Counter
from tests.support.arrange import UNC, Desk, Done
from tests.support.environment import CHECKOUT
from tests.support.fakes import MemoryStore
from tests.support.fakes_restore import MemoryRestoreStore

SECONDS = 30


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_commit_that_hangs_holds_uploads_back(desk: Desk) -> None:
    for number in range(MAX_UNSETTLED + 200):
        desk.write(f"{number}.txt", str(number))
    full, beyond = threading.Event(), threading.Event()

    def count(call: str, _key: str) -> None:
        if call == "create" and len(desk.store.objects) >= MAX_UNSETTLED:
            (beyond if len(desk.store.objects) > MAX_UNSETTLED else full).set()

    def hang_and_fail(_entries: Sequence[Entry]) -> None:
        assert full.wait(SECONDS)
        beyond.wait(0.2)
        raise FatalError(Code.DATABASE_UNAVAILABLE)

    desk.store.after, desk.catalogue.before_add = count, hang_and_fail
    done = desk.archive(UNC)
    assert done.record.state is RunState.ERROR
    assert len(desk.store.objects) == MAX_UNSETTLED == 1000
    assert len(done.failed) == MAX_UNSETTLED + 200


def test_uploads_go_on_after_a_commit_that_took_its_time(desk: Desk) -> None:
    for number in range(2 * MAX_UNSETTLED):
        desk.write(f"{number}.txt", str(number))
    full = threading.Event()

    def count(call: str, _key: str) -> None:
        if call == "create" and len(desk.store.objects) == MAX_UNSETTLED:
            full.set()

    def hang(_entries: Sequence[Entry]) -> None:
        assert full.wait(SECONDS)

    desk.store.after, desk.catalogue.before_add = count, hang
    done = desk.archive(UNC)
    assert (done.record.state, done.record.archived_files) == (RunState.DONE, 2 * MAX_UNSETTLED)
    assert len(desk.markers()) == len(desk.catalogue.rows) == 2 * MAX_UNSETTLED


@pytest.fixture
def few_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Let so many threads of a name be started from now on; the system refuses the others."""
    left: dict[str, int] = {}
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        for name in left:
            if thread.name.startswith(name):
                if not left[name]:
                    raise RuntimeError("can't start new thread")
                left[name] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(shortage, "WAIT_SECONDS", 0)
    return left.__setitem__


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_a_run_works_with_the_threads_there_are(
    desk: Desk, few_threads: Callable[[str, int], None], allowed: int
) -> None:
    desk.store.part_bytes = 8 * 1024 * 1024
    for number in range(5):  # so large that all threads are wanted at once
        desk.write(f"{number}.bin", bytes([number]) * 1_100_000)
    few_threads("himuro-archive", allowed)
    done = desk.archive(UNC)
    if allowed:
        assert (done.record.state, done.record.archived_files) == (RunState.DONE, 5)
        return
    assert done.record.state is RunState.ERROR
    assert "このサーバーの資源が足りません（スレッドを開始できません）" in done.record.message
    assert done.failed == [rf"{UNC}\{number}.bin" for number in range(5)]
    assert "(MACHINE_SHORT)" in done.read("error_log.txt")
    assert desk.store.objects == {}


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_round_of_placing_works_with_the_threads_there_are(
    tmp_path: Path, few_threads: Callable[[str, int], None], allowed: int
) -> None:
    memory = MemoryStore()
    desk = Desk(tmp_path, store=memory, environ={"HIMURO_RESTORE_ROOTS": rf"{UNC}\復元先"})
    counter = Counter(desk, MemoryRestoreStore(memory, START))
    counter.target.mkdir()
    counter.archive(**{"a.txt": "A", "b.txt": "B"})
    run_id = counter.ready(f"{UNC},,")
    few_threads("himuro-place", allowed)
    record = counter.place(run_id)
    if allowed:
        assert (record.state, record.placed_files) == (RunState.DONE, 2)
        return
    assert record.state is RunState.ERROR
    assert "スレッドを開始できません" in record.message
    assert len(counter.read(run_id, "restore_requests.txt").splitlines()) == 2


def test_a_check_works_with_one_thread_and_says_when_there_is_none(
    few_threads: Callable[[str, int], None],
) -> None:
    few_threads("himuro-check", 1)
    started = threading.Event()
    pause = threading.Event()

    def slow(number: int) -> int:  # so slow that more threads are wanted
        if not started.is_set():
            pause.wait(0.1)
            started.set()
        return number * number

    assert sorted(parallel(slow, range(100))) == [(n, n * n) for n in range(100)]
    with pytest.raises(FatalError) as caught:
        list(parallel(slow, range(100)))
    assert caught.value.code is Code.MACHINE_SHORT
    assert list(parallel(slow, [])) == []


def test_a_check_whose_caller_stops_for_a_while_is_held_back() -> None:
    items, done = 5 * MAX_UNSETTLED, 0
    full, beyond = threading.Event(), threading.Event()

    def work(number: int) -> int:
        nonlocal done
        done += 1
        if done >= MAX_UNSETTLED:
            (beyond if done > MAX_UNSETTLED else full).set()
        return number * number

    pairs = parallel(work, range(items), threads=1)
    first = next(pairs)
    assert full.wait(SECONDS)
    beyond.wait(0.2)
    assert done == MAX_UNSETTLED
    assert sorted([first, *pairs]) == [(n, n * n) for n in range(items)]


def test_a_list_that_cannot_be_checked_now_is_told_and_recorded(
    tmp_path: Path, few_threads: Callable[[str, int], None]
) -> None:
    office = Office(tmp_path)
    office.desk.write("a.txt", "x")
    few_threads("himuro-draft", 0)
    draft = office.draft(office.check(UNC))
    assert draft.state is DraftState.ERROR
    assert "スレッドを開始できません" in draft.message
    assert office.state(draft.run_id) is RunState.ERROR
    few_threads("himuro-draft", 1)
    assert office.checked(UNC).state is DraftState.READY
    office.jobs.close(within=0)


def test_a_queue_that_cannot_work_now_can_be_opened_later(
    tmp_path: Path, few_threads: Callable[[str, int], None]
) -> None:
    few_threads("himuro-jobs", 0)
    with pytest.raises(FatalError, match="スレッドを開始できません"):
        Office(tmp_path)
    few_threads("himuro-jobs", 1)
    office = Office(tmp_path)
    office.desk.write("a.txt", "x")
    run_id = office.jobs.start(office.checked(UNC).draft_id)
    office.ended(run_id)
    assert office.state(run_id) is RunState.DONE
    office.jobs.close(within=0)


def test_a_check_up_whose_thread_is_refused_has_ended(
    few_threads: Callable[[str, int], None],
) -> None:
    ended = threading.Event()

    def examine() -> Iterator[Finding]:
        yield Finding("runs", Status.OK, "1件")
        ended.set()

    checkup = Checkup(examine)
    few_threads("himuro-checkup", 0)
    assert checkup.start()
    view = checkup.view()
    assert not view.running
    (finding,) = view.findings
    assert (finding.name, finding.status) == ("process", Status.FAILED)
    assert "スレッドを開始できません" in finding.what
    few_threads("himuro-checkup", 1)
    assert checkup.start()
    assert ended.wait(SECONDS)


def test_one_check_of_a_check_up_that_cannot_be_made_fails_alone(
    few_threads: Callable[[str, int], None],
) -> None:
    few_threads("himuro-doctor-runs", 0)
    well = Finding("database", Status.OK, "ok")
    findings = list(examine([Check("database", lambda: [well]), Check("runs", list)], SECONDS))
    assert well in findings
    (other,) = (finding for finding in findings if finding != well)
    assert (other.name, other.status) == ("runs", Status.FAILED)
    assert "スレッドを開始できません" in other.what


def test_a_question_whose_thread_is_refused_is_answered_with_the_reason(
    few_threads: Callable[[str, int], None],
) -> None:
    lookups: Lookups[int] = Lookups()
    few_threads("himuro-lookup", 0)
    found = lookups.ask("a", lambda: 1, 60, patience=SECONDS)
    assert (found.working, found.value) == (False, None)
    assert "スレッドを開始できません" in found.message
    few_threads("himuro-lookup", 1)
    assert lookups.ask("a", lambda: 1, 60, patience=SECONDS).value == 1


def test_an_export_whose_thread_is_refused_is_not_left_waiting(
    tmp_path: Path, few_threads: Callable[[str, int], None]
) -> None:
    bench = Bench(tmp_path)
    few_threads("himuro-export", 0)
    for _ in range(30):  # more than may wait
        with pytest.raises(FatalError, match="スレッドを開始できません"):
            bench.exports.start(SearchQuery(), Form.CSV)
    few_threads("himuro-export", 1)
    export_id = bench.exports.start(SearchQuery(), Form.CSV)
    assert bench.ended(export_id).state is ExportState.DONE
    bench.exports.close()


def test_readiness_asks_again_after_a_thread_was_refused(
    few_threads: Callable[[str, int], None],
) -> None:
    readiness = Readiness(lambda: "")
    few_threads("himuro-ready", 0)
    assert asyncio.run(readiness.problem()).startswith("MACHINE_SHORT ")
    few_threads("himuro-ready", 1)
    assert asyncio.run(readiness.problem()) == ""


class FewDescriptors(FileSystem):
    """A share on which this process may open nothing while some files are looked at."""

    def __init__(self) -> None:
        self.short = False
        self.refused: tuple[str, ...] = ()

    def open(self, path: str) -> int:
        self.short = path.endswith(self.refused) if self.refused else False
        if self.short:
            raise OSError(errno.EMFILE, "Too many open files", path)
        return super().open(path)

    def list(self, directory: str) -> list[tuple[str, Kind]]:
        if self.short:
            raise OSError(errno.EMFILE, "Too many open files", directory)
        return super().list(directory)


def test_files_for_which_no_descriptor_comes_back_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortage, "WAIT_SECONDS", 0)
    fs = FewDescriptors()
    desk = Desk(tmp_path, fs=fs)
    for number in range(6):
        desk.write(f"{number}.txt", str(number))
    run = desk.new_run(UNC.encode())
    run.begin(run.check())
    fs.refused = ("2.txt", "4.txt")
    record = run.execute(lambda: desk.store, desk.stop)
    assert record.state is RunState.ERROR
    assert "このサーバーの資源が足りません（このプログラムが開けるファイルの数" in record.message
    failed = (run.folder.path / "failed_uploads.txt").read_text("utf-8-sig").splitlines()
    assert {rf"{UNC}\{n}.txt" for n in (2, 4)} <= set(failed)
    assert len(failed) == 6 - record.archived_files
    log = (run.folder.path / "error_log.txt").read_text("utf-8")
    assert "(MACHINE_SHORT)" in log
    assert "SHARE_NOT_MOUNTED" not in log


_NO_DESCRIPTOR = """
import os, resource, sys
from pathlib import Path
from core.resources import shortage
from core.errors import FatalError
from core.config.settings import load_settings
from core.share.shares import Shares
from core.runs.history import records
settings = load_settings({"HIMURO_SHARES": rf"\\\\fsx01\\share={sys.argv[1]}",
                          "HIMURO_DATA_DIR": sys.argv[1]})
shortage.WAIT_SECONDS = 0
shares = Shares(settings.shares)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1,) * 2)
for ask in (lambda: shares.require_mounted(settings.shares), lambda: records(settings)):
    try:
        ask()
    except FatalError as exc:
        print(exc.code.name)
"""


def test_what_cannot_be_asked_is_not_called_absent(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "a.txt").touch()
    asked = subprocess.run(
        [sys.executable, "-c", _NO_DESCRIPTOR, str(tmp_path)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.stdout.split() == ["MACHINE_SHORT", "MACHINE_SHORT"], asked.stderr


def test_a_full_disk_while_a_note_is_written_is_called_a_full_disk(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = desk.write("a.txt", "before")

    def database_is_gone(_entries: object) -> None:
        raise FatalError(Code.DATABASE_UNAVAILABLE)

    desk.catalogue.before_add = database_is_gone
    desk.archive(UNC)
    desk.catalogue.before_add = lambda _entries: None
    path.write_text("after")
    written = RunFolder.log_lines

    def full(folder: RunFolder, lines: Iterable[str]) -> None:
        """Take nothing until the room that was set aside is given back."""
        if (folder.path / "reserve").exists():
            raise FatalError(Code.DATA_DIR_UNWRITABLE, "空き容量がありません")
        written(folder, lines)

    run = desk.new_run(UNC.encode())
    plan = run.check()
    run.begin(plan)
    monkeypatch.setattr(RunFolder, "log_lines", full)
    done = Done(run.execute(lambda: desk.store, desk.stop), run.folder.path, plan)
    assert done.record.state is RunState.ERROR
    assert "実行記録を書き込めません（空き容量がありません）" in done.record.message
    assert done.read("error_log.txt").count("(OBJECT_UNLISTED)") == 1


def test_a_console_without_a_thread_to_spare_still_ends_its_runs(
    few_threads: Callable[[str, int], None],
) -> None:
    closed: list[str] = []

    async def live() -> None:
        async with ending_with(lambda: closed.append("closed")):
            few_threads("himuro-close", 0)
            few_threads("asyncio", 0)

    asyncio.run(live())
    assert closed == ["closed"]
