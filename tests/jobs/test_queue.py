"""The console's queue: one run at a time, started once, stopped in order, seen by everybody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import Code, FatalError, ListError
from core.jobs.pending_checks import Draft, DraftState
from core.jobs.queue import Jobs
from core.model import ListSource, RunRecord, RunState
from core.runs.folder import RunFolder
from tests.support.arrange import REQUEST, UNC, Desk, archive_list, no_restores

SECONDS = 30


class Gate:
    """Holds uploads back until it is opened, and tells when one has come."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, call: str, _key: str) -> None:
        if call == "create":
            self.reached.set()
            assert self.opened.wait(SECONDS)


class Office:
    """A console's queue on a small installation."""

    def __init__(self, root: Path) -> None:
        self.desk = Desk(root)
        self.jobs = Jobs(
            self.desk.settings, self.desk.catalogue, lambda _settings: self.desk.store, no_restores
        )
        self.jobs.open()

    def check(self, *paths: str) -> str:
        return self.jobs.check([ListSource("一覧.csv", archive_list(*paths))], REQUEST)

    def checked(self, *paths: str) -> Draft:
        draft_id = self.check(*paths)
        self.until(lambda: self.draft(draft_id).state is not DraftState.CHECKING)
        return self.draft(draft_id)

    def draft(self, draft_id: str) -> Draft:
        draft = self.jobs.draft(draft_id)
        assert draft is not None
        return draft

    def record(self, run_id: str) -> RunRecord:
        record = self.jobs.record(run_id)
        assert record is not None
        return record

    def state(self, run_id: str) -> RunState:
        return self.record(run_id).state

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait for another thread; the pause only keeps the wait from burning the processor."""
        pause = threading.Event()
        for _ in range(SECONDS * 100):
            if reached():
                return
            pause.wait(0.01)
        raise AssertionError("it never came to that")

    def ended(self, run_id: str) -> None:
        self.until(lambda: all(job.run_id != run_id for job in self.jobs.active()))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.jobs.close(within=0)


def test_a_list_is_checked_confirmed_run_and_remembered(office: Office) -> None:
    office.desk.write("a.txt", "x")
    draft = office.checked(UNC)
    assert (draft.state, draft.sources, draft.run_id) == (DraftState.READY, ("一覧.csv",), "")
    assert draft.plan is not None
    assert len(draft.plan.items) == 1
    assert not list(office.desk.settings.runs_dir.glob("*"))
    run_id = office.jobs.start(draft.draft_id)
    office.ended(run_id)
    record = office.jobs.record(run_id)
    assert record is not None
    assert (record.state, record.archived_files) == (RunState.DONE, 1)
    assert office.jobs.records(10) == (record,)
    assert office.jobs.file(run_id, "report.csv")


def test_clicking_twice_or_two_operators_start_it_once(office: Office) -> None:
    office.desk.write("a.txt", "x")
    draft = office.checked(UNC)
    started: list[str] = []
    threads = [
        threading.Thread(target=lambda: started.append(office.jobs.start(draft.draft_id)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(started)) == 1
    assert len(started) == 8
    office.ended(started[0])
    assert office.jobs.start(draft.draft_id) == started[0]
    assert len(office.jobs.records(10)) == 1


def test_a_refused_list_is_recorded_and_cannot_be_started(office: Office) -> None:
    office.desk.write("a.txt", "x")
    draft = office.checked(rf"{UNC}\missing.txt")
    assert draft.state is DraftState.REFUSED
    assert "1件の誤り" in draft.message
    record = office.jobs.record(draft.run_id)
    assert record is not None
    assert record.state is RunState.REFUSED
    with pytest.raises(ListError):
        office.jobs.start(draft.draft_id)
    with pytest.raises(ListError):
        office.jobs.start("unknown")


def test_a_broken_environment_is_said_and_recorded(office: Office) -> None:
    office.desk.write("a.txt", "x")

    def expired(_call: str, _key: str) -> None:
        raise FatalError(Code.CREDENTIALS_REJECTED)

    office.desk.store.before = expired
    draft = office.checked(UNC)
    assert draft.state is DraftState.ERROR
    assert "認証情報" in draft.message
    record = office.jobs.record(draft.run_id)
    assert record is not None
    assert record.state is RunState.ERROR


def test_an_environment_that_breaks_between_check_and_run_ends_the_run(office: Office) -> None:
    office.desk.write("a.txt", "x")
    draft = office.checked(UNC)

    def expired(_call: str, _key: str) -> None:
        raise FatalError(Code.CREDENTIALS_REJECTED)

    office.desk.store.before = expired
    run_id = office.jobs.start(draft.draft_id)
    office.ended(run_id)
    record = office.jobs.record(run_id)
    assert record is not None
    assert (record.state, record.failed_files) == (RunState.ERROR, 1)
    assert office.jobs.file(run_id, "failed_uploads.txt")


def test_others_wait_in_view_and_can_be_cancelled(office: Office) -> None:
    for name in ("a", "b", "c"):
        office.desk.write(f"{name}/1.txt", name)
    gate = office.desk.store.before = Gate()
    runs = [
        office.jobs.start(office.checked(rf"{UNC}\{name}").draft_id) for name in ("a", "b", "c")
    ]
    assert gate.reached.wait(SECONDS)
    active = office.jobs.active()
    assert [job.run_id for job in active] == runs
    assert [job.queued for job in active] == [False, True, True]
    assert active[0].progress.total_files == 1
    office.jobs.stop(runs[1])
    assert [job.run_id for job in office.jobs.active()] == [runs[0], runs[2]]
    assert office.state(runs[1]) is RunState.STOPPED
    office.jobs.stop(runs[1])
    gate.opened.set()
    office.ended(runs[2])
    states = [office.state(run_id) for run_id in runs]
    assert states == [RunState.DONE, RunState.STOPPED, RunState.DONE]
    failed = office.jobs.file(runs[1], "failed_uploads.txt")
    assert failed is not None
    assert failed.read_text("utf-8-sig") == f"{UNC}\\b\\1.txt\n"


def test_a_retry_takes_the_error_file_list_and_the_same_request(office: Office) -> None:
    for name in ("a", "b"):
        office.desk.write(f"{name}.txt", name)

    def refuse(call: str, key: str) -> None:
        if call == "create" and key.endswith("b.txt"):
            raise FatalError(Code.NO_SUCH_BUCKET)

    office.desk.store.before = refuse
    run_id = office.jobs.start(office.checked(UNC).draft_id)
    office.ended(run_id)
    office.desk.store.before = lambda _call, _key: None
    draft_id = office.jobs.retry(run_id, "another seat")
    office.until(lambda: office.draft(draft_id).state is DraftState.READY)
    draft = office.draft(draft_id)
    assert draft.request.request_id == REQUEST.request_id
    assert draft.request.started_by == "another seat"
    again = office.jobs.start(draft_id)
    office.ended(again)
    assert office.state(again) is RunState.DONE
    assert len(office.desk.catalogue.rows) == len(office.desk.store.writes) == 2
    with pytest.raises(ListError):
        office.jobs.retry(again, "x")


def test_closing_stops_what_runs_and_what_waits(office: Office) -> None:
    for number in range(100):
        office.desk.write(f"a/{number}.txt", str(number))
    office.desk.write("b/1.txt", "b")
    gate = office.desk.store.before = Gate()
    first = office.jobs.start(office.checked(rf"{UNC}\a").draft_id)
    second = office.jobs.start(office.checked(rf"{UNC}\b").draft_id)
    assert gate.reached.wait(SECONDS)
    closing = threading.Thread(target=office.jobs.close)
    closing.start()
    # Its record says so a moment before it leaves the queue.
    office.until(lambda: len(office.jobs.active()) == 1)
    assert office.state(second) is RunState.STOPPED
    assert [(job.run_id, job.stopping) for job in office.jobs.active()] == [(first, True)]
    gate.opened.set()
    closing.join(SECONDS)
    assert not closing.is_alive()
    records = [office.record(run_id) for run_id in (first, second)]
    assert [r.state for r in records] == [RunState.STOPPED, RunState.STOPPED]
    assert records[0].archived_files + records[0].failed_files == 100
    assert records[0].archived_files == len(office.desk.markers()) <= 16
    assert records[1].failed_files == 1


def test_the_next_console_ends_the_runs_of_one_that_was_killed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("a.txt", "x")
    run = desk.new_run(archive_list(UNC))
    run.begin(run.check())
    run._lock.release()  # as the operating system does when a process is killed
    office = Office(tmp_path)
    record = office.record(run.record.run_id)
    assert record.state is RunState.INTERRUPTED
    draft_id = office.jobs.retry(run.record.run_id, "")
    office.until(lambda: office.draft(draft_id).state is DraftState.READY)
    office.jobs.close(within=0)


def test_a_discarded_check_is_gone(office: Office) -> None:
    office.desk.write("a.txt", "x")
    draft = office.checked(UNC)
    office.jobs.discard(draft.draft_id)
    assert office.jobs.draft(draft.draft_id) is None
    with pytest.raises(ListError):
        office.jobs.start(draft.draft_id)


def test_a_start_that_failed_can_be_tried_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.desk.write("a.txt", "x")
    draft = office.checked(UNC)

    def full(_folder: RunFolder, _items: object) -> None:
        raise FatalError(Code.DATA_DIR_UNWRITABLE, "空き容量がありません")

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_plan", full)
        with pytest.raises(FatalError):
            office.jobs.start(draft.draft_id)
    (failed,) = office.jobs.records(10)
    assert failed.state is RunState.ERROR
    run_id = office.jobs.start(draft.draft_id)
    office.ended(run_id)
    assert [(r.run_id, r.state) for r in office.jobs.records(10)] == [(run_id, RunState.DONE)]
    assert run_id == failed.run_id


def test_a_check_that_hangs_does_not_keep_the_console_from_closing(office: Office) -> None:
    office.desk.write("a.txt", "x")
    reached, released = threading.Event(), threading.Event()

    def hang(_call: str, _key: str) -> None:
        reached.set()
        assert released.wait(SECONDS)

    office.desk.store.before = hang
    draft_id = office.check(UNC)
    assert reached.wait(SECONDS)
    office.jobs.close()
    assert not released.is_set()
    assert office.draft(draft_id).state is DraftState.CHECKING
    with pytest.raises(ListError):
        office.jobs.start(draft_id)
    released.set()


def test_runs_that_wait_are_ended_by_a_queue_that_was_never_opened(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("a.txt", "x")
    office = Office(tmp_path)
    office.jobs.close()
    office.jobs = Jobs(desk.settings, desk.catalogue, lambda _settings: desk.store, no_restores)
    run_id = office.jobs.start(office.checked(UNC).draft_id)
    office.jobs.close()
    assert office.jobs.active() == ()
    assert office.state(run_id) is RunState.STOPPED
    assert office.jobs.file(run_id, "failed_uploads.txt")
