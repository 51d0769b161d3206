"""What the console holds: nothing of what has ended, the rest within bounds, no lock for long."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.concurrency.background import Lookups
from core.errors import ListError
from core.jobs.pending_checks import DraftState
from core.jobs.queue import Jobs
from core.model import ArchiveItem, ListSource, RunState
from core.restore.model import Tier
from core.runs.folder import RunFolder
from tests.jobs.test_queue import SECONDS, Gate, Office
from tests.support.arrange import REQUEST, UNC, archive_list, no_restores


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.jobs.close(within=0)


def held(path: str) -> int:
    """Return how many objects of this process stand for a file of a plan."""
    gc.collect()
    return sum(type(o) is ArchiveItem and o.path == path for o in gc.get_objects())


def uploaded(name: str) -> int:
    """Return how many uploaded lists of a name are still in memory."""
    gc.collect()
    return sum(type(o) is ListSource and o.name == name for o in gc.get_objects())


class Frozen:
    """Holds the writing of plans back until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        write = RunFolder.write_plan

        def held_back(folder: RunFolder, items: tuple[ArchiveItem, ...]) -> None:
            self.reached.set()
            assert self.go_on.wait(SECONDS)
            write(folder, items)

        monkeypatch.setattr(RunFolder, "write_plan", held_back)


def test_nobody_waits_while_a_plan_is_written(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.desk.write("a.txt", "x")
    one, two = office.checked(UNC).draft_id, office.checked(UNC).draft_id
    frozen = Frozen(monkeypatch)
    with ThreadPoolExecutor(4) as clicks:
        first = clicks.submit(office.jobs.start, one)
        assert frozen.reached.wait(SECONDS)
        second = clicks.submit(office.jobs.start, one)
        seen = clicks.submit(lambda: (office.jobs.active(), office.jobs.draft(two)))
        active, other = seen.result(SECONDS)
        assert (active, other) == ((), office.draft(two))
        assert office.checked(UNC).state is DraftState.READY
        frozen.go_on.set()
        assert first.result(SECONDS) == second.result(SECONDS)
    office.ended(first.result())
    assert office.state(first.result()) is RunState.DONE
    assert len(office.jobs.records(10)) == 1


def test_a_run_that_is_being_begun_ends_with_the_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(tmp_path)
    office.desk.write("a.txt", "x")
    draft_id = office.checked(UNC).draft_id
    frozen = Frozen(monkeypatch)
    with ThreadPoolExecutor(2) as clicks:
        begun = clicks.submit(office.jobs.start, draft_id)
        assert frozen.reached.wait(SECONDS)
        closing = clicks.submit(office.jobs.close)
        office.until(lambda: _refuses(office.jobs))
        frozen.go_on.set()
        closing.result(SECONDS)
        run_id = begun.result(SECONDS)
    assert office.state(run_id) is RunState.STOPPED
    assert office.jobs.active() == ()
    failed = office.jobs.file(run_id, "failed_uploads.txt")
    assert failed is not None
    assert failed.read_text("utf-8-sig").splitlines() == [rf"{UNC}\a.txt"]


def _refuses(jobs: Jobs) -> bool:
    """Return whether the queue takes nothing any more."""
    return jobs._closing


def test_a_start_that_failed_gives_the_draft_to_the_next_one_who_waits(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.desk.write("a.txt", "x")
    draft_id = office.checked(UNC).draft_id
    with pytest.raises(ListError, match="アーカイブの一覧です"):
        office.jobs.start_restore(draft_id, Tier.BULK, 7)
    office.ended(office.jobs.start(draft_id))
    assert office.desk.store.writes == ["fsx01/share/a.txt"]


def test_of_a_run_that_has_ended_nothing_is_kept(office: Office) -> None:
    office.desk.write("kept.txt", "x")
    path = rf"{UNC}\kept.txt"
    draft_id = office.jobs.check([ListSource("kept.csv", archive_list(UNC))], REQUEST)
    office.until(lambda: office.draft(draft_id).state is DraftState.READY)
    assert held(path) == 1
    gate = Gate()
    office.desk.store.before = gate
    run_id = office.jobs.start(draft_id)
    assert gate.reached.wait(SECONDS)
    assert uploaded("kept.csv") == 0  # its bytes lie in the run folder
    gate.opened.set()
    office.ended(run_id)
    office.until(lambda: held(path) == 0)
    draft = office.draft(draft_id)
    assert (draft.state, draft.run_id, draft.plan) == (DraftState.READY, run_id, None)
    assert office.jobs.start(draft_id) == run_id
    assert [p.name for p, _ in office.jobs.files(run_id)][0] == "input.csv"


def test_the_bytes_of_a_list_that_was_refused_or_discarded_are_not_kept(office: Office) -> None:
    for name, paths in (("誤り.csv", [rf"{UNC}\missing.txt"]), ("やめる.csv", [UNC])):
        office.desk.write("a.txt", "x")
        draft_id = office.jobs.check([ListSource(name, archive_list(*paths))], REQUEST)
        office.until(lambda: office.draft(draft_id).state is not DraftState.CHECKING)  # noqa: B023
        if name == "誤り.csv":
            assert office.draft(draft_id).plan is not None  # the page shows what was wrong
        else:
            office.jobs.discard(draft_id)
        office.until(lambda: uploaded(name) == 0)  # noqa: B023


def test_checks_that_wait_are_bounded_in_bytes_and_in_time(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        office.desk.write(f"{number}.txt", "x")
    monkeypatch.setattr("core.jobs.pending_checks._MAX_BYTES", 20_000)  # two such plans
    drafts = [office.checked(UNC).draft_id for _ in range(4)]
    assert [office.jobs.draft(draft) is not None for draft in drafts] == [False, False, True, True]
    monkeypatch.setattr("core.jobs.pending_checks._MAX_BYTES", 10)
    largest = office.checked(UNC)  # never so large that it cannot be shown at all
    assert (largest.state, office.jobs.draft(drafts[-1])) == (DraftState.READY, None)


def test_a_check_that_nobody_confirms_for_a_day_is_dropped(tmp_path: Path) -> None:
    now = datetime(2026, 11, 27, tzinfo=UTC)
    office = Office(tmp_path)
    desk = office.desk
    desk.write("a.txt", "x")
    jobs = Jobs(
        desk.settings, desk.catalogue, lambda _settings: desk.store, no_restores, now=lambda: now
    )
    office.jobs.close(within=0)
    office.jobs = jobs
    old = office.checked(UNC).draft_id
    now += timedelta(hours=23)
    recent = office.checked(UNC).draft_id
    assert jobs.draft(old) is not None
    now += timedelta(hours=2)
    office.checked(UNC)
    assert jobs.draft(old) is None
    assert jobs.draft(recent) is not None


def test_the_queue_is_bounded_by_the_files_that_wait(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        office.desk.write(f"{number}.txt", "x")
    monkeypatch.setattr("core.jobs.queue._MAX_FILES", 5)
    gate = Gate()
    office.desk.store.before = gate
    first = office.jobs.start(office.checked(UNC).draft_id)
    late = office.checked(UNC).draft_id
    with pytest.raises(ListError, match="順番を待っている"):
        office.jobs.start(late)
    gate.opened.set()
    office.ended(first)
    office.ended(office.jobs.start(late))


def asked(lookups: Lookups[bytes], key: str, size: int, max_age: float = 60) -> bytes | None:
    return lookups.ask(key, lambda: bytes(size), max_age, patience=SECONDS).value


def test_answers_are_bounded_in_bytes_and_the_newest_is_always_given() -> None:
    lookups: Lookups[bytes] = Lookups(size=len, most_bytes=100)
    for key in "abc":
        assert asked(lookups, key, 40) == bytes(40)
    assert lookups.held == (2, 80)
    assert asked(lookups, "large", 1000) == bytes(1000)
    assert lookups.held == (1, 1000)
    assert asked(lookups, "a", 40) == bytes(40)
    assert lookups.held == (1, 40)


def test_an_answer_that_nobody_asks_for_is_dropped() -> None:
    clock = [0.0]
    lookups: Lookups[bytes] = Lookups(lambda: clock[0], size=len, kept=600)
    asked(lookups, "a", 40)
    clock[0] = 500
    asked(lookups, "b", 40)
    clock[0] = 601
    lookups.tidy()
    assert lookups.held == (1, 40)
    clock[0] = 1101
    lookups.tidy()
    assert lookups.held == (0, 0)


def test_what_is_being_looked_for_is_not_dropped() -> None:
    clock = [0.0]
    lookups: Lookups[bytes] = Lookups(lambda: clock[0], size=len, kept=600)
    go_on = threading.Event()

    def slow() -> bytes:
        assert go_on.wait(SECONDS)
        return b"x"

    assert lookups.ask("a", slow, 60).working
    clock[0] = 10_000
    lookups.tidy()
    assert lookups.ask("a", slow, 60).working
    go_on.set()
    assert lookups.ask("a", slow, 60, patience=SECONDS).value == b"x"
