# Arguments have the names of the fixtures that are imported.
# ruff: noqa: F811
"""What restores cost grows with what there is to do, not with its square. Counted, not timed."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from core.concurrency.background import Lookup
from core.model import RunState
from core.paths.normalization import identity
from core.restore import names as place_names
from core.restore.model import Stage
from core.restore.names import Names
from core.restore.queries import Restores
from core.restore.status import RestoreStatus
from core.restore.target import Directory, Target, candidate
from tests.restore.test_run import NIGHT, Counter, counter  # noqa: F401
from tests.support.arrange import UNC


class Calls:
    """How often methods of a class were called while it was watched."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, *names: str) -> None:
        self.counts = dict.fromkeys(names, 0)
        for name in names:
            monkeypatch.setattr(owner, name, self._counted(name, getattr(owner, name)))

    def _counted(self, name: str, work: Any) -> Any:
        def counted(*args: Any, **options: Any) -> Any:
            self.counts[name] += 1
            return work(*args, **options)

        return counted

    def __getitem__(self, name: str) -> int:
        return self.counts[name]


def same_names(counter: Counter, count: int, size: int = 3) -> str:
    """Archive so many files of one name, size and time; return the run that is ready."""
    for n in range(count):
        path = counter.desk.write(f"{n}/a.txt", f"{n:03d}" * (size // 3))
        os.utime(path, ns=(0, 1_600_000_000_000_000_000))
    assert counter.desk.archive(UNC).record.state is RunState.DONE
    return counter.ready(f"{UNC},,")


def test_a_thousand_equal_names_cost_a_thousand_looks(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each began its search for a free name at the first one: 4,000 took 12 s under a lock."""
    tried = [0]
    real = identity

    def counted(name: str) -> str:
        tried[0] += 1
        return real(name)

    monkeypatch.setattr(place_names, "identity", counted)
    names = Names(None, NIGHT, "20261123-183000-restore-abcdef")
    given = [names.claim("a.txt") for _ in range(1000)]
    assert given[:3] == ["a.txt", f"a_{NIGHT}.txt", f"a_{NIGHT}_2.txt"]
    assert len(set(given)) == 1000
    assert tried[0] <= 6 * 1000


def test_names_that_somebody_has_are_passed_once(counter: Counter) -> None:
    for n in range(300):
        (counter.target / candidate("a.txt", NIGHT, n)).write_text("taken")
    directory = Directory(Target(str(counter.target), str(counter.target), exists=True))
    names = Names(directory, NIGHT, "20261123-183000-restore-abcdef")
    assert names.claim("A.txt") == f"A_{NIGHT}_300.txt"
    assert names.claim("a.TXT") == f"a_{NIGHT}_301.TXT"


@given(
    existing=st.sets(st.integers(0, 12), max_size=8),
    wanted=st.lists(
        st.sampled_from(["a.txt", "A.TXT", "b.txt", "あ" * 82 + ".txt", "あ" * 81 + "い.txt"]),
        max_size=14,
    ),
)
@budget(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_claimed_names_are_those_of_the_plain_search(
    tmp_path_factory: pytest.TempPathFactory, existing: set[int], wanted: list[str]
) -> None:
    """The first free candidate, counted from the first one each time."""
    place = tmp_path_factory.mktemp("place")
    for number in existing:
        (place / candidate("a.txt", NIGHT, number)).touch()
    taken = {identity(path.name) for path in place.iterdir()}
    names = Names(Directory(Target(str(place), str(place), exists=True)), NIGHT, "x-restore-abcdef")
    for name in wanted:
        number = 0
        while identity(candidate(name, NIGHT, number)) in taken:
            number += 1
        expected = candidate(name, NIGHT, number)
        taken.add(identity(expected))
        assert names.claim(name) == expected


@pytest.mark.parametrize("owned", [True, False])
def test_copies_beside_placed_ones_are_read_once(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, owned: bool
) -> None:
    """100 new copies beside 100 placed ones read 10,000 files."""
    count = 40
    run_id = same_names(counter, count)
    counter.place(run_id)
    if owned:
        # Half of them is to be placed once more: nothing of the other half is read for it.
        for path in sorted(counter.target.iterdir())[: count // 2]:
            path.unlink()
    else:
        # Another run, and what lies there has other content of the same size and time.
        run_id = counter.ready(f"{UNC},,")
        for path in counter.target.iterdir():
            status, text = path.stat(), path.read_text()
            path.write_text("x" + text[1:])
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    calls = Calls(monkeypatch, Directory, "open_file", "stat", "names")
    preview = counter.preview(run_id)
    assert calls["open_file"] == 0
    assert calls["stat"] <= 2 * count
    record = counter.place(run_id, again=owned)
    assert (record.state, record.placed_files) == (RunState.DONE, count)
    assert calls["open_file"] <= (0 if owned else count)
    assert calls["stat"] <= 6 * count
    assert calls["names"] <= 12
    assert len(preview.lost) == (count // 2 if owned else 0)
    assert len(counter.placed()) == (count if owned else 2 * count)


@pytest.mark.parametrize("size", [3, 300])
def test_what_a_killed_run_had_placed_is_adopted_each_once(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Equal names, sizes and times: only the content tells which is which."""
    count = 30
    run_id = same_names(counter, count, size)
    counter.place(run_id)
    folder = counter.settings.runs_dir / run_id
    lines = (folder / "outcomes.csv").read_bytes().splitlines(keepends=True)
    (folder / "outcomes.csv").write_bytes(b"".join(x for x in lines if b",placed," not in x))
    before = counter.placed()
    assert counter.preview(run_id).renamed == ()
    calls = Calls(monkeypatch, Directory, "open_file", "stat")
    record = counter.place(run_id)
    assert (record.state, record.placed_files) == (RunState.DONE, count)
    assert counter.placed() == before
    assert calls["open_file"] <= count
    assert calls["stat"] <= 4 * count
    report = counter.read(run_id, "report.csv")
    assert report.count("同じ内容のファイルが既にありました") == count
    places = [line.split(",")[3] for line in report.splitlines()[1:]]
    assert len(set(places)) == count  # no file stands for two


def test_a_file_that_is_altered_after_it_was_read_is_not_adopted(counter: Counter) -> None:
    """What was read of it once is believed only as long as it is as it was."""
    run_id = same_names(counter, 2)
    counter.place(run_id)
    directory = Directory(Target(str(counter.target), str(counter.target), exists=True))
    names = Names(directory, NIGHT, run_id)
    first, second = (s.item for s in counter.opened(run_id).standings())
    contents = {name: names.hash_of(name) for name in directory.names()}
    assert set(contents.values()) == {first.sha256, second.sha256}
    # Both are read to find the second one; then somebody writes into the other.
    found = names.find(second)
    assert found
    other = next(name for name in directory.names() if name != found)
    (counter.target / other).write_text("edited")
    assert names.find(first) is None


# The page


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files of run folders, each time that one is opened for reading."""
    from core.restore import folder as restore_folder
    from core.runs import folder as runfolder  # noqa: PLC0415

    seen: list[str] = []
    for module in (runfolder, restore_folder):
        real = module.open_plain

        def opened(path: Path, real: Any = real) -> Any:
            seen.append(path.name)
            return real(path)

        monkeypatch.setattr(module, "open_plain", opened)
    return seen


def test_rows_left_out_are_read_once_for_all_clicks(counter: Counter, opens: list[str]) -> None:
    counter.archive(**{"a.txt": "1"})
    run_id = counter.request(f"{UNC},a.txt,", *(f"{UNC},x{n}.txt," for n in range(1200))).run_id
    restores = Restores(counter.settings, lambda _settings: counter.store, now=counter.now)
    opens.clear()
    for _ in range(10):
        rows = restores.left_out(run_id)
    assert (len(rows), rows[0].text) == (1000, rf"{UNC}\x0.txt")  # what a page shows, no more
    assert opens.count("outcomes.csv") == opens.count("plan.csv") == 1
    counter.pass_time(hours=49)
    counter.place(run_id)
    opens.clear()
    assert restores.left_out(run_id) == rows
    assert opens.count("outcomes.csv") == 1  # it has grown


class Looks:
    """How a restore store was asked."""

    def __init__(self, counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passes: list[int] = []
        real = counter.store.states

        def states(keys: Any, *more: Any) -> Any:
            keys = list(keys)
            self.passes.append(len(keys))
            return real(keys, *more)

        monkeypatch.setattr(counter.store, "states", states)


def many_restores(counter: Counter, count: int, files: int = 3) -> list[str]:
    counter.archive(**{f"{n}/{m}.txt": "1" for n in range(count) for m in range(files)})
    return [counter.request(f"{UNC}\\{n},,").run_id for n in range(count)]


def test_all_open_restores_are_asked_of_s3_together(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2,000 of ten files each were 20,010 HEADs: a listing pays for many keys only."""
    from core.cli.restore import restores  # noqa: PLC0415
    from core.restore.run import statuses  # noqa: PLC0415

    runs = many_restores(counter, 12)
    looks = Looks(counter, monkeypatch)
    shown = list(statuses(restores(counter.settings, None), counter.store))
    assert looks.passes == [36]
    assert sorted(restore.record.run_id for restore, _ in shown) == sorted(runs)
    assert {status.count(Stage.THAWING) for _, status in shown} == {3}


def test_no_more_files_are_held_at_once_than_a_restore_may_have(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.cli.restore import restores  # noqa: PLC0415
    from core.restore import run  # noqa: PLC0415

    many_restores(counter, 12)
    looks = Looks(counter, monkeypatch)
    monkeypatch.setattr(run, "MAX_TOGETHER", 10)
    shown = list(run.statuses(restores(counter.settings, None), counter.store))
    assert len(shown) == 12
    assert looks.passes == [9, 9, 9, 9]


def answered(here: Restores, runs: list[str]) -> dict[str, Lookup[RestoreStatus]]:
    pause = threading.Event()
    for _ in range(3000):
        found = here.statuses(runs)
        if not any(lookup.working for lookup in found.values()):
            return found
        pause.wait(0.01)
    raise AssertionError("it takes too long")


def test_the_list_of_the_page_is_one_question(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = many_restores(counter, 12)
    looks = Looks(counter, monkeypatch)
    here = Restores(counter.settings, lambda _settings: counter.store, now=counter.now)
    found = answered(here, runs)
    assert looks.passes == [36]
    for run_id in runs:
        status = found[run_id].value
        assert status is not None
        assert status.count(Stage.THAWING) == 3
    # One that is looked at anew is asked for alone; one that is damaged harms no other.
    here.forget(runs[0])
    (counter.settings.runs_dir / runs[1] / "plan.csv").write_text("")
    here.forget(runs[1])
    found = answered(here, runs)
    assert looks.passes == [36, 3]
    assert found[runs[0]].value is not None
    assert "plan.csv" in found[runs[1]].message
