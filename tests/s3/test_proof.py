"""An answer of 200 proves nothing: gateways that answer in S3's place, on the wire.

Whatever they say, an object counts as stored only when it is in the bucket, and a copy as on
its way only when S3 says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.archive.ports import NewObject, ObjectStore, Part, StoredObject
from core.errors import Code, HimuroError, ItemError
from core.model import RunState
from core.restore.model import Answer, ObjectState, Thaw, Tier
from tests.s3.test_archive_store import new, parts, through_a_lane
from tests.support.arrange import UNC, Desk
from tests.support.servers.buckets import Bucket
from tests.support.servers.proxy import PAGE, Fault

MIB = 1024 * 1024
FOREIGN = [
    Fault.PAGE,
    Fault.PAGE_AFTER,
    Fault.EMPTY,
    Fault.ERROR_200,
    Fault.STATUS_LINE,
    Fault.WRONG_SUM,
    Fault.LOST,
]


def always(bucket: Bucket, fault: Fault, wanted: Callable[[str, str], bool]) -> None:
    bucket.proxy.decide = lambda m, path: fault if wanted(m, path) else Fault.NONE


def once(bucket: Bucket, fault: Fault, wanted: Callable[[str, str], bool]) -> None:
    left = [fault]
    bucket.proxy.decide = lambda m, path: left.pop() if left and wanted(m, path) else Fault.NONE


def is_put(method: str, _path: str) -> bool:
    return method == "PUT"


def is_completion(method: str, path: str) -> bool:
    return method == "POST" and "uploadId" in path


def is_beginning(method: str, path: str) -> bool:
    return method == "POST" and path.endswith("?uploads")


def is_in_bucket(bucket: Bucket, wanted: NewObject) -> bool:
    return sums(bucket).get(wanted.key) == wanted.sha256


def stored(store: ObjectStore, wanted: NewObject, create: Callable[[], bool]) -> bool:
    """Return whether a caller takes the object for stored: created, or adopted after a look."""
    ours = StoredObject(wanted.size, wanted.sha256, wanted.source_path, "DEEP_ARCHIVE")
    try:
        return create() or store.head(wanted.key) == ours
    except ItemError:
        return False


@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_a_put_counts_as_stored_only_when_it_is(bucket: Bucket, size: int) -> None:
    store, counts = bucket.store(), {}
    for fault in FOREIGN:
        data = os.urandom(size)
        always(bucket, fault, is_put)
        wanted = new(fault.name, data)
        counts[fault] = stored(store, wanted, lambda w=wanted, d=data: store.create(w, d))  # type: ignore[misc]
        assert counts[fault] is is_in_bucket(bucket, wanted), fault
    assert [fault for fault in FOREIGN if counts[fault]] == [Fault.PAGE_AFTER, Fault.LOST]


@pytest.mark.usefixtures("one_attempt")
def test_a_lane_says_created_only_of_what_is_proven(bucket: Bucket) -> None:
    store = bucket.store()
    for fault in FOREIGN:
        always(bucket, fault, lambda m, path: m == "PUT" and path.endswith("/bad"))
        keys = {f"{fault.name}a": b"1", f"{fault.name}/bad": b"2", f"{fault.name}z": b"3"}
        ended = through_a_lane(store, keys)
        assert list(ended.items()) != []
        assert {key for key, created in ended.items() if created} == {
            f"{fault.name}a",
            f"{fault.name}z",
        }, fault


@pytest.mark.usefixtures("one_attempt")
def test_a_completion_counts_only_when_it_is(bucket: Bucket) -> None:
    data = os.urandom(6 * MIB)
    for fault in FOREIGN:
        store = bucket.store()  # three failures in a row would stop a run
        always(bucket, fault, is_completion)
        wanted = new(fault.name, data)
        counts = stored(
            store,
            wanted,
            lambda s=store, w=wanted: s.create_in_parts(w, parts(data, 5 * MIB)),  # type: ignore[misc]
        )
        assert counts is is_in_bucket(bucket, wanted), fault
        assert bucket.unfinished() == []


@pytest.mark.parametrize("fault", [Fault.EMPTY, Fault.PAGE_AFTER])
def test_a_part_whose_answer_is_none_of_s3s_is_sent_again(bucket: Bucket, fault: Fault) -> None:
    data = os.urandom(6 * MIB)
    store = bucket.store()
    once(bucket, fault, is_put)
    assert store.create_in_parts(new("k", data), parts(data, 5 * MIB)) is True
    assert is_in_bucket(bucket, new("k", data))


@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize("fault", [Fault.EMPTY])
def test_a_part_that_never_comes_to_s3_fails_the_file(bucket: Bucket, fault: Fault) -> None:
    data = os.urandom(6 * MIB)
    store = bucket.store()
    always(bucket, fault, is_put)
    with pytest.raises(ItemError) as caught:
        store.create_in_parts(new("other", data), parts(data, 5 * MIB))
    assert caught.value.code is Code.UPLOAD_FAILED
    assert bucket.unfinished() == []


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.EMPTY])
def test_no_upload_of_which_nobody_heard_stays_behind(bucket: Bucket, fault: Fault) -> None:
    """S3 bills the parts of unfinished uploads, and nobody would ever find them."""
    data = os.urandom(6 * MIB)
    store = bucket.store()
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="k2")  # somebody else's
    once(bucket, fault, is_beginning)
    with contextlib.suppress(ItemError):
        store.create_in_parts(new("k", data), parts(data, 5 * MIB))
    assert bucket.unfinished() == ["k2"]


def test_what_could_not_be_given_up_is_given_up_by_the_next_run(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the file has its row, so that nothing is left to be done with it."""
    monkeypatch.setattr("core.s3.archive_store.PART_BYTES", 5 * MIB)
    desk = Desk(tmp_path)
    desk.write("a.bin", "x" * (6 * MIB))
    desk.environ = {"HIMURO_BUCKET": bucket.name}
    desk.store = bucket.store()  # type: ignore[assignment]
    assert desk.archive(UNC).record.archived_files == 1
    (key,) = bucket.object_keys()
    for name in (key, f"{key}2"):  # the second is somebody else's
        bucket.client.create_multipart_upload(Bucket=bucket.name, Key=name)
    desk.store = bucket.store()  # type: ignore[assignment]
    assert desk.archive(UNC).record.state is RunState.DONE
    assert bucket.unfinished() == [f"{key}2"]


def test_an_upload_that_breaks_off_leaves_none_of_its_tries(bucket: Bucket) -> None:
    store = bucket.store()

    def breaking() -> Iterator[Part]:
        yield from parts(os.urandom(5 * MIB), 5 * MIB)
        raise ItemError(Code.CHANGED_WHILE_READING)

    once(bucket, Fault.LOST, is_beginning)
    with pytest.raises(ItemError, match="変更"):
        store.create_in_parts(new("k", b""), breaking())
    assert bucket.unfinished() == []


@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize("fault", [Fault.PAGE, Fault.EMPTY])
def test_a_look_that_a_gateway_answers_says_nothing(bucket: Bucket, fault: Fault) -> None:
    """Neither that something has the key, nor that an archived object can be read."""
    store, restores = bucket.store(), bucket.restores()
    store.create(new("k", b"x"), b"x")
    always(bucket, fault, lambda m, path: m == "HEAD" and path.endswith("/k"))
    with pytest.raises(ItemError) as caught:
        store.head("k")
    assert caught.value.code is Code.UPLOAD_FAILED
    ((_, state),) = restores.states(["k"])
    assert isinstance(state, ItemError)
    assert state.code is Code.DOWNLOAD_FAILED


# Restores


@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize("fault", [Fault.PAGE, Fault.EMPTY, Fault.STATUS_LINE])
def test_a_request_for_a_copy_that_never_came_to_s3_is_not_accepted(
    strict_bucket: Bucket, fault: Fault
) -> None:
    store = strict_bucket.restores()
    strict_bucket.store().create(new("k", b"x"), b"x")
    always(strict_bucket, fault, lambda m, _path: m == "POST")
    with pytest.raises(ItemError) as caught:
        store.thaw("k", Tier.BULK, 7)
    assert caught.value.code is Code.RESTORE_REFUSED
    strict_bucket.proxy.decide = lambda _m, _path: Fault.NONE
    assert dict(store.states(["k"])) == {"k": ObjectState(Thaw.FROZEN, 1)}


@pytest.mark.usefixtures("one_attempt")
def test_a_request_that_a_page_answers_for_s3_is_found_under_way(strict_bucket: Bucket) -> None:
    strict_bucket.store().create(new("k", b"x"), b"x")
    always(strict_bucket, Fault.PAGE_AFTER, lambda m, _path: m == "POST")
    assert strict_bucket.restores().thaw("k", Tier.BULK, 7) in (Answer.ACCEPTED, Answer.EXTENDED)


@pytest.mark.usefixtures("one_attempt")
def test_a_page_is_never_the_content(bucket: Bucket) -> None:
    always(bucket, Fault.PAGE, lambda m, path: m == "GET" and path.endswith("/k"))
    content = bytearray()
    with pytest.raises(HimuroError) as caught:
        bucket.restores().fetch("k", 7, content.extend)
    assert isinstance(caught.value, ItemError)
    assert (caught.value.code, bytes(content)) == (Code.DOWNLOAD_FAILED, b"")
    # One of just the right length is for the caller, who knows the SHA-256.
    bucket.restores().fetch("k", len(PAGE), content.extend)
    assert content == PAGE


@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize("fault", [Fault.PAGE, Fault.EMPTY])
def test_a_listing_that_is_a_page_leaves_all_to_head(strict_bucket: Bucket, fault: Fault) -> None:
    keys = [f"{n:02}" for n in range(20)]
    store = strict_bucket.store()
    for key in keys:
        store.create(NewObject(key, 1, hashlib.sha256(b"x").hexdigest(), key), b"x")
    always(strict_bucket, fault, lambda m, path: m == "GET" and "list-type" in path)
    said = dict(strict_bucket.restores().states(keys))
    assert said == dict.fromkeys(keys, ObjectState(Thaw.FROZEN, 1))


@pytest.mark.usefixtures("one_attempt")
def test_an_object_is_not_missing_because_a_gateway_says_so(strict_bucket: Bucket) -> None:
    store = strict_bucket.restores()
    strict_bucket.store().create(new("k", b"x"), b"x")
    always(strict_bucket, Fault.NOT_FOUND, lambda _m, path: path.split("?")[0].endswith("/k"))
    ((_, state),) = store.states(["k"])
    assert isinstance(state, ItemError)
    found = [state.code]
    for call in (
        lambda: store.thaw("k", Tier.BULK, 7),
        lambda: store.fetch("k", 1, bytearray().extend),
    ):
        with pytest.raises(ItemError) as caught:
            call()
        found.append(caught.value.code)
    assert found == [Code.DOWNLOAD_FAILED, Code.RESTORE_REFUSED, Code.DOWNLOAD_FAILED]


# A run


@pytest.mark.usefixtures("one_attempt")
def test_no_row_without_its_object_whatever_a_gateway_says(bucket: Bucket, tmp_path: Path) -> None:
    """And the list of what failed, run again, ends as one clean run would have."""
    desk = Desk(tmp_path, environ={"HIMURO_BUCKET": bucket.name})
    names = [f"{n:02}.bin" for n in range(20)]
    for n, name in enumerate(names):
        desk.write(name, os.urandom(300_000 if n % 8 == 0 else n))
    asked: Counter[tuple[str, str]] = Counter()

    def decide(method: str, path: str) -> Fault:
        """The same for each file, in whatever order they come."""
        asked[method, path] += 1
        if method not in ("PUT", "HEAD") or not path.endswith(".bin"):
            return Fault.NONE
        chance = random.Random(f"{method} {path[-6:]} {asked[method, path]}")  # noqa: S311
        return chance.choice(
            [*FOREIGN, Fault.NONE] if method == "PUT" else [Fault.NONE] * 2 + [Fault.PAGE]
        )

    bucket.proxy.decide = decide
    desk.store = bucket.store()  # type: ignore[assignment]
    done = desk.archive(UNC)
    assert done.record.state is RunState.FAILED_FILES
    stored = sums(bucket)
    rows = {row.key: row.sha256 for row in desk.catalogue.rows}
    assert rows.items() <= stored.items()
    assert 0 < len(rows) < len(names)
    assert len(done.failed) == len(names) - len(rows)

    bucket.proxy.decide = lambda _m, _path: Fault.NONE
    again = desk.run("\r\n".join(done.failed).encode())
    assert again.record.state is RunState.DONE
    rows = {row.key: row.sha256 for row in desk.catalogue.rows}
    assert sorted(rows) == [f"fsx01/share/{name}" for name in names]
    assert rows == sums(bucket)


def sums(bucket: Bucket) -> dict[str, str]:
    """Return the SHA-256 of what lies in a bucket, by key."""
    keys = bucket.object_keys()
    heads = {key: bucket.client.head_object(Bucket=bucket.name, Key=key) for key in keys}
    return {key: head["Metadata"]["sha256"] for key, head in heads.items()}
