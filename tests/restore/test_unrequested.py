"""A file that was never asked for is not thawing: it is said, counted and can be asked for.

Units with the archive in memory, then the commands in processes that are killed.
"""

# Arguments have the names of the fixtures that are imported.
# ruff: noqa: F811

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from core.concurrency.cancellation import StopSignal
from core.config.settings import load_settings
from core.errors import Code
from core.jobs.recovery import recover
from core.model import RunState
from core.restore.model import RestoreOutcome, Stage, Step, Tier
from core.restore.status import is_open
from core.runs.record import dump_record, load_record
from tests.cli.test_restore import WHO, Desk, desk  # noqa: F401
from tests.restore.test_run import Counter, counter  # noqa: F401
from tests.support import crashing
from tests.support.arrange import UNC
from tests.support.servers.buckets import Bucket

NAMES = ("a.txt", "b.txt", "c.txt")


class Killed(BaseException):
    """What no code of ours catches, as ``kill -9``."""


def half_requested(counter: Counter, *, asked: int) -> str:
    """Request three files and die after so many requests; returns the interrupted run."""
    counter.archive(**{name: name for name in NAMES})
    run = counter.new(f"{UNC},,")
    run.begin(run.check())
    items = run.folder.items()
    for item in items[:asked]:
        counter.store.thaw(item.key, Tier.BULK, 7)
    done = [RestoreOutcome(i.key, Step.REQUESTED, counter.now()) for i in items[:asked]]
    run.folder.add_events(done)
    run.folder.close()
    run._lock.release()
    (found,) = recover(counter.settings, counter.now)
    assert found.state is RunState.INTERRUPTED
    return found.run_id


def words(counter: Counter, run_id: str) -> dict[str, str]:
    """Return the results of ``report.csv`` by name."""
    lines = counter.read(run_id, "report.csv").splitlines()[1:]
    return {line.split(",")[0]: line.split(",")[1] for line in lines}


@pytest.mark.parametrize("asked", [0, 1])
def test_what_was_never_requested_is_told_counted_and_requested_by_the_next_step(
    counter: Counter,
    asked: int,
) -> None:
    run_id = half_requested(counter, asked=asked)
    rest = len(NAMES) - asked
    record = counter.opened(run_id).record
    assert (record.thawing_files, record.unrequested_files) == (asked, rest)
    assert f"{rest}件はまだ要求していません" in record.message
    assert sorted(words(counter, run_id).values()) == ["未要求"] * rest + ["要求済み"] * asked

    counter.pass_time(hours=49)
    placed = counter.place(run_id)
    assert (placed.state, placed.placed_files) == (RunState.WAITING, asked)
    assert (placed.thawing_files, placed.unrequested_files, placed.failed_files) == (0, rest, 0)
    assert placed.message == f"{rest}件はまだ要求していません"
    assert is_open(placed)
    assert sorted(words(counter, run_id).values()) == sorted(["成功"] * asked + ["未要求"] * rest)

    again = counter.request_again(run_id)
    assert (again.state, again.thawing_files, again.unrequested_files) == (
        RunState.WAITING,
        rest,
        0,
    )
    assert len(counter.store.requests) == len(NAMES)  # nothing was asked for twice
    counter.pass_time(hours=49)
    assert counter.place(run_id).state is RunState.DONE
    assert counter.placed() == {name: name.encode() for name in NAMES}


def test_a_stop_tells_how_many_were_not_requested(counter: Counter) -> None:
    counter.archive(**{f"{n}.txt": str(n) for n in range(200)})

    def stop(call: str, _key: str) -> None:
        if call == "thaw":
            counter.stop.request()

    counter.store.before = stop
    record = counter.request(f"{UNC},,")
    asked = len(counter.store.requests)
    assert record.state is RunState.STOPPED
    assert (record.thawing_files, record.unrequested_files) == (asked, 200 - asked)
    assert f"{200 - asked}件はまだ要求していません" in record.message
    assert list(words(counter, record.run_id).values()).count("未要求") == 200 - asked
    counter.store.before = lambda _call, _key: None
    counter.stop = StopSignal()
    counter.pass_time(hours=49)
    placed = counter.place(record.run_id)
    assert (placed.state, placed.placed_files) == (RunState.WAITING, asked)
    assert (placed.thawing_files, placed.unrequested_files) == (0, 200 - asked)


def test_a_stop_before_the_first_request_leaves_all_of_them(counter: Counter) -> None:
    counter.archive(**{name: name for name in NAMES})
    counter.stop.request()
    record = counter.request(f"{UNC},,")
    assert (record.state, record.unrequested_files) == (RunState.STOPPED, 3)
    assert set(words(counter, record.run_id).values()) == {"未要求"}
    assert is_open(record)


def test_what_s3_thaws_is_thawing_whoever_asked(counter: Counter) -> None:
    """The request went out, the line that says so did not reach the disk; or its answer was
    lost, which the folder knows as a failure."""
    run_id = half_requested(counter, asked=0)
    folder = counter.opened(run_id).folder
    for name in ("a.txt", "b.txt"):
        counter.store.thaw(counter.key(name), Tier.BULK, 7)
    lost = RestoreOutcome(
        counter.key("b.txt"), Step.FAILED, counter.now(), Code.RESTORE_REFUSED, "RequestTimeout"
    )
    folder.add_events([lost])
    folder.close()
    assert counter.stages(run_id) == {
        "a.txt": Stage.THAWING,
        "b.txt": Stage.THAWING,
        "c.txt": Stage.UNREQUESTED,
    }
    record = counter.place(run_id)
    assert (record.thawing_files, record.unrequested_files, record.failed_files) == (2, 1, 0)
    assert record.message == "2件は取り出し準備中です、1件はまだ要求していません"
    assert words(counter, run_id) == {
        "a.txt": "取り出し準備中",
        "b.txt": "取り出し準備中",
        "c.txt": "未要求",
    }


def test_a_copy_of_somebody_elses_request_that_has_expired_is_not_on_its_way(
    counter: Counter,
) -> None:
    """Nothing was asked for, because the copy lasted long enough; then it is gone."""
    counter.archive(**{"a.txt": "1"})
    counter.store.thaw(counter.key("a.txt"), Tier.STANDARD, 3)
    counter.pass_time(hours=13)
    record = counter.request(f"{UNC},,", tier=Tier.STANDARD, days=30)
    assert len(counter.store.requests) == 1  # readable for 49 hours more: nothing to ask
    counter.pass_time(days=4)
    assert counter.stages(record.run_id) == {"a.txt": Stage.EXPIRED}
    placed = counter.place(record.run_id)
    assert (placed.state, placed.thawing_files) == (RunState.FAILED_FILES, 0)
    assert placed.message == "1件は期限切れです"
    assert counter.request_again(record.run_id).thawing_files == 1


def test_a_request_that_failed_stays_failed_beside_what_was_not_requested(
    counter: Counter,
) -> None:
    run_id = half_requested(counter, asked=1)
    key = next(s.item.key for s in counter.opened(run_id).standings() if not s.requested_at)
    failed = RestoreOutcome(key, Step.FAILED, counter.now(), Code.RESTORE_REFUSED, "SlowDown")
    folder = counter.opened(run_id).folder
    folder.add_events([failed])
    folder.close()
    counter.pass_time(hours=49)
    record = counter.place(run_id)
    assert (record.placed_files, record.failed_files, record.unrequested_files) == (1, 1, 1)
    assert record.message == "1件はまだ要求していません、1件は失敗しました"
    assert record.state is RunState.WAITING


def test_records_of_before_have_no_such_number(counter: Counter) -> None:
    counter.archive(**{"a.txt": "1"})
    record = replace(counter.request(f"{UNC},,"), unrequested_files=4)
    text = dump_record(record, counter.settings.timezone)
    assert load_record(text.encode()).unrequested_files == 4
    old = json.loads(text)
    del old["unrequested_files"]
    assert load_record(json.dumps(old).encode()).unrequested_files == 0


EVENTS = st.lists(
    st.sampled_from(["request", "answer lost", "refused", "thaws", "wait", "expire", "place"]),
    max_size=6,
)


@given(histories=st.lists(EVENTS, min_size=1, max_size=3))
@budget(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_history_makes_what_nobody_requested_look_requested(
    tmp_path_factory: pytest.TempPathFactory, histories: list[list[str]]
) -> None:
    """Whatever happened before: "in preparation" only where S3 has, or was asked for, a copy
    that is not over; and one more request brings every file to its place."""
    from tests.restore.test_run import START  # noqa: PLC0415
    from tests.support.arrange import Desk as Office  # noqa: PLC0415
    from tests.support.fakes import MemoryStore  # noqa: PLC0415
    from tests.support.fakes_restore import MemoryRestoreStore  # noqa: PLC0415

    root = tmp_path_factory.mktemp("h")
    memory = MemoryStore()
    office = Office(root, store=memory, environ={"HIMURO_RESTORE_ROOTS": rf"{UNC}\復元先"})
    counter = Counter(office, MemoryRestoreStore(memory, START))
    counter.target.mkdir()
    counter.archive(**{f"{n}.txt": str(n) for n in range(len(histories))})
    run = counter.new(f"{UNC},,")
    run.begin(run.check())
    run.folder.close()
    run._lock.release()
    recover(counter.settings, counter.now)
    run_id = run.record.run_id
    for number, history in enumerate(histories):
        key = counter.key(f"{number}.txt")
        for what in history:
            happen(counter, run_id, key, what)
    status = counter.status(run_id)
    for file in status.files:
        history = histories[int(file.item.name.removesuffix(".txt"))]
        copy = counter.store.copies.get(file.item.key)
        if file.stage in (Stage.REQUESTED, Stage.THAWING):
            assert copy is not None
            assert copy.expires_at > counter.store.now
        if file.stage is Stage.UNREQUESTED:
            assert "request" not in history
    total = len(histories)
    record = counter.place(run_id)
    sums = (record.placed_files, record.thawing_files, record.unrequested_files)
    assert sum(sums) + record.failed_files == total
    record = counter.request_again(run_id)
    assert (record.unrequested_files, record.failed_files) == (0, 0)
    counter.pass_time(hours=49)
    done = counter.place(run_id)
    assert (done.state, done.placed_files) == (RunState.DONE, total)
    assert counter.placed() == {f"{n}.txt": str(n).encode() for n in range(total)}


def happen(counter: Counter, run_id: str, key: str, what: str) -> None:
    """Let something happen to one file of a restore, in its folder and at S3."""
    folder = counter.opened(run_id).folder
    if what in ("request", "answer lost", "thaws"):
        counter.store.thaw(key, Tier.BULK, 7)
    step = {"request": Step.REQUESTED, "answer lost": Step.FAILED, "refused": Step.FAILED}
    if what in step:
        code = Code.RESTORE_REFUSED if step[what] is Step.FAILED else None
        folder.add_events([RestoreOutcome(key, step[what], counter.now(), code)])
    folder.close()
    if what == "wait":
        counter.pass_time(hours=49)
    if what == "expire":
        counter.pass_time(days=9)
    if what == "place":
        counter.place(run_id)


# The commands, in processes of their own


def killed(desk: Desk, moment: str, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return crashing.run(moment, *argv, environ={**desk.environ, **env}, cwd=desk.root)


def requests_of(bucket: Bucket) -> list[str]:
    return [w for w in bucket.writes() if w.startswith("POST") and "restore" in w]


def test_kill_9_half_way_through_the_requests(desk: Desk) -> None:
    """What was reported: ``restore-download`` placed what it had, exited with 0 and said that
    the rest was in preparation."""
    desk.archive(**{f"{n}.txt": str(n).encode() for n in range(5)})
    died = killed(desk, "thaw:4", "restore-request", desk.list(f"{UNC},"), *WHO)
    assert died.returncode == -signal.SIGKILL, died.stderr
    asked = len(set(requests_of(desk.bucket)))
    assert asked == 2
    (found,) = recover(load_settings(desk.environ))
    run, rest = found.run_id, 5 - asked
    to = ("--to", str(desk.target))

    code, status = desk.json("restore-status", run)
    assert (code, status["counts"]["thawing"], status["counts"]["unrequested"]) == (4, asked, rest)
    code, out, err = desk.run("restore-status", run)
    assert (code, err.count("- 未要求")) == (4, rest)
    assert f"restore-request {run}" in err
    code, early = desk.json("restore-download", run, *to)
    assert (code, early["counts"]["thawing"], early["counts"]["unrequested"]) == (4, asked, rest)

    desk.thaw()
    code, _, err = desk.run("restore-download", run, *to)
    assert (code, f"{rest}件はまだ要求していません" in err) == (1, True), err
    assert "準備中です" not in err
    assert f"python -m core restore-request {run}" in err
    code, status = desk.json("restore-status", run)
    assert (code, status["counts"]["placed"], status["counts"]["unrequested"]) == (1, asked, rest)
    assert desk.json("restore-status")[1]["restores"][0]["run_id"] == run  # it is open

    code, more = desk.json("restore-request", run)
    assert (code, more["run_id"], more["request_id"]) == (0, run, "FAST-1")
    assert (more["counts"]["thawing"], more["counts"]["unrequested"]) == (rest, 0)
    assert len(requests_of(desk.bucket)) == 5
    desk.thaw()
    assert desk.run("restore-download", run, *to)[0] == 0
    assert desk.placed() == {f"{n}.txt": str(n).encode() for n in range(5)}


def test_a_run_for_more_requests_is_a_number_or_a_path(desk: Desk) -> None:
    desk.archive(**{"a.txt": b"1"})
    asked = desk.json("restore-request", desk.list(f"{UNC},"), *WHO)[1]
    run, folder = asked["run_id"], asked["folder"]
    before = len(requests_of(desk.bucket))
    for name in (run, folder, folder + "/", os.path.relpath(folder, desk.root)):
        code, more = desk.json("restore-request", name)
        assert (code, more["run_id"], more["counts"]["thawing"]) == (0, run, 1), name
    # Given before; said again they are what was said then, or nothing is done.
    assert desk.json("restore-request", run, *WHO, "--tier", "bulk")[0] == 0
    for argv, said in (
        ((run, "--request-id", "OTHER"), "依頼ID"),
        ((run, "--requester", "佐藤"), "依頼者"),
        ((run, "--tier", "Standard"), "取り出しの種類"),
        ((run, "--days", "30"), "保持日数"),
        ((run, desk.list(f"{UNC},")), "一緒に指定できません"),
        ((run, run), "一緒に指定できません"),
        ((str(desk.root / "data"), *WHO), "一覧"),
        (("20261125-120000-restore-abcdef",), "見つかりません"),
        (("20261125-120000-archive-abcdef",), "復元の実行番号ではありません"),
        ((desk.list(f"{UNC},"),), "依頼ID"),
        ((desk.list(f"{UNC},"), "--request-id", "R"), "依頼者"),
    ):
        code, _, err = desk.run("restore-request", *argv)
        assert (code, said in err) == (2, True), (argv, err)
    assert len(requests_of(desk.bucket)) == before
    # A list whose name is that of a run is a list: it is what lies there.
    (desk.root / run).write_bytes(Path(desk.list(f"{UNC},")).read_bytes())
    code, _, err = desk.run("restore-request", run)
    assert (code, "依頼ID" in err) == (2, True), err


def test_nothing_of_a_run_that_was_killed_before_its_plan(desk: Desk) -> None:
    desk.archive(**{"a.txt": b"1"})
    died = killed(desk, "create:2", "restore-request", desk.list(f"{UNC},"), *WHO)
    assert died.returncode == -signal.SIGKILL
    (found,) = recover(load_settings(desk.environ))
    code, _, err = desk.run("restore-request", found.run_id)
    assert (code, "同じ一覧で新しく復元してください" in err) == (2, True), err


def test_a_folder_of_another_installation_is_no_run_of_this_one(
    desk: Desk,
    tmp_path: Path,
) -> None:
    desk.archive(**{"a.txt": b"1"})
    asked = desk.json("restore-request", desk.list(f"{UNC},"), *WHO)[1]
    other = tmp_path / "other" / "runs" / asked["run_id"]
    other.parent.mkdir(parents=True)
    Path(asked["folder"]).rename(other)
    to = ("--to", str(desk.target))
    for argv in (("restore-status",), ("restore-download", *to), ("restore-request",)):
        code, _, err = desk.run(argv[0], str(other), *argv[1:])
        assert (code, "ほかのデータディレクトリ" in err) == (2, True), (argv, err)


def test_a_path_names_a_run_wherever_one_is_named(desk: Desk) -> None:
    """What the command printed is what people paste."""
    desk.archive(**{"a.txt": b"1"})
    code, out, _ = desk.run("restore-request", desk.list(f"{UNC},"), *WHO)
    folder = out.strip()
    desk.thaw()
    relative = os.path.relpath(folder, desk.root)
    for name in (folder, folder + "/", relative, f"./{relative}/", f" {folder} "):
        code, status = desk.json("restore-status", name)
        assert (code, status["counts"]["ready"]) == (0, 1), name
    for name in (folder + "/run.json", folder + "/..", str(desk.target), "", ".."):
        argv = ("restore-download", name, "--to", str(desk.target))
        code, _, err = desk.run(*argv)
        assert (code, "実行番号" in err) == (2, True), (name, err)
    linked = desk.root / "link"
    linked.symlink_to(desk.root / "data")
    code, _, err = desk.run(
        "restore-download", f"{linked}/runs/{Path(folder).name}", "--to", str(desk.target)
    )
    assert code == 0, err
    assert desk.placed() == {"a.txt": b"1"}


def test_kill_9_at_chosen_moments_of_the_requests(desk: Desk) -> None:
    """Before the plan, before and between requests, when all are sent and nothing is written,
    and before the record is: the rest is asked for, nothing twice, and all of it comes back."""
    files = {f"{n}.txt": str(n).encode() for n in range(4)}
    desk.archive(**files)
    listed, to = desk.list(f"{UNC},"), ("--to", str(desk.target))
    for moment, asked in (
        ("write_record:3", 0),
        ("thaw:1", 0),
        ("thaw:4", 2),
        ("thaw:8", 4),
        ("write_lists:2", 4),
    ):
        before = len(requests_of(desk.bucket))
        died = killed(desk, moment, "restore-request", listed, *WHO)
        assert died.returncode == -signal.SIGKILL, (moment, died.stderr)
        assert len(requests_of(desk.bucket)) - before == asked, moment
        (found,) = recover(load_settings(desk.environ))
        run = found.run_id
        again: tuple[str, ...] = ("restore-request", run)
        code, status = desk.json("restore-status", run)
        if moment == "write_record:3":
            assert code == 2
            again = ("restore-request", listed, *WHO)
        else:
            counts = status["counts"]
            assert (counts["thawing"], counts["unrequested"]) == (asked, 4 - asked), moment
            assert code == (4 if asked else 1), moment
        code, more = desk.json(*again)
        assert (code, more["counts"]["thawing"], more["counts"]["unrequested"]) == (0, 4, 0)
        assert len(requests_of(desk.bucket)) - before == 4, moment
        desk.thaw()
        assert desk.json("restore-download", more["run_id"], *to)[0] == 0, moment
        assert desk.placed() == files, moment
        for path in desk.target.iterdir():
            path.unlink()
        desk.expire()


def test_kill_9_between_two_names_of_a_file(desk: Desk) -> None:
    """On a file server a file has both for a moment; whoever dies then leaves them."""
    files = {f"{n}.txt": str(n).encode() * (n + 1) for n in range(3)}
    desk.archive(**files)
    listed, to = desk.list(f"{UNC},"), ("--to", str(desk.target))
    # The first name is that of the file which is tried before anything is fetched.
    for moment, complete in (("link:2", 0), ("link:4", 1), ("link:8", 3)):
        run = desk.json("restore-request", listed, *WHO)[1]["run_id"]
        desk.thaw()
        died = killed(desk, moment, "restore-download", run, *to, CRASHING_MOUNT="cifs")
        assert died.returncode == -signal.SIGKILL, (moment, died.stderr)
        named = {n: c for n, c in desk.placed().items() if not n.startswith(".himuro-")}
        assert len(named) == complete, moment
        assert named.items() <= files.items()
        assert any(name.startswith(".himuro-") for name in desk.placed())
        code, done = desk.json("restore-download", run, *to)
        assert (code, done["counts"]["placed"]) == (0, 3), moment
        assert desk.placed() == files, moment
        for path in desk.target.iterdir():
            path.unlink()
        desk.expire()
