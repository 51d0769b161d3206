"""What S3 denies for one object fails that file; the run stops when the bucket itself denies."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from core.concurrency.cancellation import StopSignal
from core.errors import Code, FatalError, HimuroError, ItemError
from core.model import ListSource, RunState
from core.restore.model import Stage, Tier
from core.restore.ports import FetchLane
from core.restore.run import OpenRestore, RestoreRun
from core.restore.target import find_target
from core.s3.denials import DENIALS_IN_A_ROW, Denials
from tests.s3.test_archive_store import new, parts, through_a_lane
from tests.support.arrange import REQUEST, UNC, Desk
from tests.support.servers.buckets import Bucket
from tests.support.servers.processes import administer
from tests.support.servers.proxy import Fault

MIB = 1024 * 1024
DENIED = "denied"


def deny(bucket: Bucket, *, also: Callable[[str, str], bool] = lambda _m, _p: False) -> None:
    """Deny every call for keys that have ``DENIED`` in their name, and what ``also`` says."""
    bucket.proxy.decide = lambda m, path: (
        Fault.DENIED if DENIED in path or also(m, path) else Fault.NONE
    )


def everything(_method: str, _path: str) -> bool:
    return True


def asked_of_bucket(bucket: Bucket) -> int:
    with bucket.proxy.lock:
        return sum(m == "HEAD" and path == f"/{bucket.name}" for m, path, _ in bucket.proxy.seen)


def calls(bucket: Bucket) -> dict[str, Callable[[], object]]:
    store, restores = bucket.store(), bucket.restores()
    data = b"x" * (6 * MIB)

    def state() -> None:
        ((_, found),) = restores.states([DENIED])
        if isinstance(found, HimuroError):
            raise found

    return {
        "put": lambda: store.create(new(DENIED, b"x"), b"x"),
        "parts": lambda: store.create_in_parts(new(DENIED, data), parts(data, 5 * MIB)),
        "head": lambda: store.head(DENIED),
        "state": state,
        "thaw": lambda: restores.thaw(DENIED, Tier.BULK, 7),
        "fetch": lambda: restores.fetch(DENIED, 1, bytearray().extend),
    }


def meanings(bucket: Bucket) -> set[tuple[type[HimuroError], Code]]:
    """Return what each kind of call makes of what it meets."""
    found: set[tuple[type[HimuroError], Code]] = set()
    for call in calls(bucket).values():
        with pytest.raises((ItemError, FatalError)) as caught:
            call()
        assert isinstance(caught.value, ItemError | FatalError)
        found.add((type(caught.value), caught.value.code))
    return found


def test_one_denied_object_fails_alone(bucket: Bucket) -> None:
    deny(bucket)
    assert meanings(bucket) == {(ItemError, Code.OBJECT_DENIED)}


def test_a_bucket_that_denies_stops_the_run(bucket: Bucket) -> None:
    deny(bucket, also=everything)
    assert meanings(bucket) == {(FatalError, Code.ACCESS_DENIED)}


def test_credentials_that_expired_are_still_everybodys(bucket: Bucket) -> None:
    bucket.proxy.decide = lambda _m, _path: Fault.EXPIRED
    assert meanings(bucket) == {(FatalError, Code.CREDENTIALS_REJECTED)}


def test_the_bucket_is_not_asked_for_each_of_many_denied_objects(bucket: Bucket) -> None:
    deny(bucket)
    store = bucket.store()
    for n in range(15):
        with pytest.raises(ItemError):
            store.create(new(f"{DENIED}{n}", b"x"), b"x")
    assert asked_of_bucket(bucket) <= 2


@pytest.fixture
def five(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many denials in a row are enough, instead of 50."""
    monkeypatch.setattr("core.s3.denials.DENIALS_IN_A_ROW", 5)
    return 5


def test_an_action_that_is_denied_for_every_object_stops_the_run(bucket: Bucket, five: int) -> None:
    """The bucket answers HEAD all the same: so the policies that forget ``s3:PutObject``."""
    deny(bucket, also=lambda m, _path: m in ("PUT", "POST"))
    store = bucket.store()
    found = []
    for n in range(five):
        with pytest.raises(HimuroError) as caught:
            store.create(new(f"{n}", b"x"), b"x")
        found.append(caught.value)
    assert {type(cause) for cause in found[:-1]} == {ItemError}
    assert isinstance(found[-1], FatalError)
    assert (found[-1].code, found[-1].detail) == (Code.ACCESS_DENIED, "s3:PutObject")


def test_many_denied_objects_in_a_row_stop_nothing_while_others_are_allowed(
    bucket: Bucket, five: int
) -> None:
    deny(bucket)
    store = bucket.store()
    for n in range(2 * five + 1):
        with pytest.raises(ItemError):
            store.create(new(f"{DENIED}{n}", b"x"), b"x")
    assert store.create(new("good", b"x"), b"x")
    assert bucket.unfinished() == []
    assert bucket.object_keys() == ["good"]


def test_what_goes_through_a_lane_is_a_success_between_denials(bucket: Bucket, five: int) -> None:
    """Where the key with which an action is tried is denied as well, as by a policy for the
    folders of the shares only, nothing else could tell."""
    deny(bucket, also=lambda _m, path: ".himuro-doctor" in path)
    store, restores = bucket.store(), bucket.restores()
    bucket.client.put_object(Bucket=bucket.name, Key="there", Body=b"1")
    for n in range(2 * five):
        with pytest.raises(ItemError):
            store.create(new(f"{DENIED}{n}", b"x"), b"x")
        assert through_a_lane(store, {f"good{n}": b"x"}) == {f"good{n}": True}
        with pytest.raises(ItemError):
            restores.fetch(DENIED, 1, bytearray().extend)
        lane: FetchLane[str] | None = restores.fetch_lane()
        assert lane is not None
        with contextlib.closing(lane):
            lane.begin("there", 1, "there")
            assert lane.wait() == [("there", b"1")]


# A run


def put_of(bucket: Bucket, desk: Desk, files: int, bad: int) -> None:
    for n in range(files):
        desk.write(f"{n:03}{DENIED if n == bad else ''}.txt", f"{n}")
    desk.environ = {"HIMURO_BUCKET": bucket.name}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def through(desk: Desk, bucket: Bucket) -> Any:
    desk.store = bucket.store()  # type: ignore[assignment]
    return desk.archive(UNC)


def test_one_run_archives_all_the_others(bucket: Bucket, desk: Desk) -> None:
    put_of(bucket, desk, 200, 10)
    deny(bucket)
    done = through(desk, bucket)
    assert done.record.state is RunState.FAILED_FILES
    assert (done.record.archived_files, done.record.failed_files) == (199, 1)
    assert done.failed == [rf"{UNC}\010{DENIED}.txt"]
    log = done.read("error_log.txt")
    assert rf"ERROR: {UNC}\010{DENIED}.txt - S3がこのファイルだけを許可していません" in log
    assert "(OBJECT_DENIED)" in log
    assert len(bucket.object_keys()) == 199


def test_the_log_names_the_file_at_which_a_run_stops(bucket: Bucket, desk: Desk) -> None:
    put_of(bucket, desk, 1, 0)
    deny(bucket, also=lambda m, path: m == "HEAD" and DENIED not in path and bool(called))
    called: list[int] = []
    store = bucket.store()
    check = store.check

    def check_once() -> None:
        check()
        called.append(1)

    store.check = check_once  # type: ignore[method-assign]
    desk.store = store  # type: ignore[assignment]
    done = desk.archive(UNC)
    assert done.record.state is RunState.ERROR
    (line, _left) = done.read("error_log.txt").splitlines()
    assert rf"ERROR: {UNC}\000{DENIED}.txt - S3バケットへのアクセスが許可されていません" in line
    assert done.failed == [rf"{UNC}\000{DENIED}.txt"]


# A restore


def test_a_denied_file_keeps_no_other_from_being_restored(
    strict_bucket: Bucket, desk: Desk
) -> None:
    files = 15
    bad = rf"{UNC}\003{DENIED}.txt"
    put_of(strict_bucket, desk, files, 3)
    assert through(desk, strict_bucket).record.archived_files == files
    deny(strict_bucket)
    target = desk.root / "restored"
    target.mkdir()
    desk.environ = {**desk.environ, "HIMURO_RESTORE_ROOTS": str(target)}
    content = f"ディレクトリパス,復元対象ファイル名\r\n{UNC},\r\n".encode("cp932")
    run = RestoreRun(
        desk.settings,
        desk.catalogue,
        [ListSource("復元.csv", content)],
        REQUEST,
        tier=Tier.BULK,
        days=7,
    )
    run.begin(run.check())
    record = run.execute(strict_bucket.restores, StopSignal())
    assert (record.state, record.failed_files) == (RunState.WAITING, 1)
    assert record.thawing_files == files - 1
    administer(strict_bucket.client.meta.endpoint_url, strict_bucket.name, "thaw")
    opened = OpenRestore(desk.settings, record.run_id)
    counts = opened.status(strict_bucket.restores()).counts
    assert counts[Stage.READY] == files - 1
    opened.begin("tanaka")
    placed = opened.place(
        strict_bucket.restores, find_target(desk.settings, str(target)), StopSignal()
    )
    assert (placed.placed_files, placed.failed_files) == (files - 1, 1)
    assert len(list(target.iterdir())) == files - 1
    log = (desk.settings.runs_dir / record.run_id / "restore_errors.txt").read_text("utf-8-sig")
    assert f"ERROR: {bad} - S3がこのファイルだけを許可していません" in log


# Without a server


class Policies:
    """A client whose bucket allows what it is told."""

    def __init__(self, *denied: str) -> None:
        self.denied = denied
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., dict[str, str]]:
        def call(**_: object) -> dict[str, str]:
            operation = name.replace("_", " ").title().replace(" ", "")
            self.asked.append(operation)
            if operation in self.denied:
                raise ClientError({"Error": {"Code": "AccessDenied"}}, operation)
            if operation in ("HeadObject", "RestoreObject"):
                raise ClientError({"Error": {"Code": "NoSuchKey"}}, operation)
            return {"UploadId": "u"}

        return call


@pytest.mark.parametrize(
    ("operation", "probe"),
    [
        ("PutObject", "CreateMultipartUpload"),
        ("UploadPart", "CreateMultipartUpload"),
        ("HeadObject", "HeadObject"),
        ("GetObject", "HeadObject"),
        ("RestoreObject", "RestoreObject"),
    ],
)
def test_the_action_itself_is_tried_after_many_denials(operation: str, probe: str) -> None:
    clock = itertools.count()
    for denied in ([probe], []):
        client = Policies(*denied)
        judge = Denials(client, "b", "", lambda: None, lambda: float(next(clock)))
        found = [
            judge.meaning(operation, "AccessDenied", Code.UPLOAD_FAILED)
            for _ in range(DENIALS_IN_A_ROW)
        ]
        assert {type(cause) for cause in found[:-1]} == {ItemError}
        assert isinstance(found[-1], FatalError if denied else ItemError)
        assert client.asked[0] == probe
        if probe == "CreateMultipartUpload" and not denied:
            assert client.asked == [probe, "AbortMultipartUpload"]


def test_a_success_between_denials_begins_the_count_anew() -> None:
    client = Policies("CreateMultipartUpload")
    judge = Denials(client, "b", "", lambda: None)
    for _ in range(3 * DENIALS_IN_A_ROW):
        cause = judge.meaning("PutObject", "403", Code.UPLOAD_FAILED)
        assert isinstance(cause, ItemError)
        judge.granted("s3:PutObject")
    assert client.asked == []


def test_a_bad_request_of_a_head_is_one_objects_when_the_bucket_answers() -> None:
    judge = Denials(Policies(), "b", "", lambda: None)
    cause = judge.meaning("HeadObject", "400", Code.DOWNLOAD_FAILED)
    assert (type(cause), cause.code) == (ItemError, Code.DOWNLOAD_FAILED)  # type: ignore[attr-defined]
