"""The restore store: one contract for the real client (on a strict S3) and the one in memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.errors import Code, ItemError
from core.restore.model import Answer, ObjectState, Thaw, Tier, copy_expires
from core.restore.ports import FetchLane, RestoreStore
from tests.support.fakes import MemoryObject, MemoryStore
from tests.support.fakes_restore import MemoryRestoreStore
from tests.support.servers.buckets import Bucket
from tests.support.servers.processes import administer

MIB = 1024 * 1024
KEYS = [
    "a",
    "fsx01/share/営業部/見積書～B社（最終）.xlsx",
    "100%/50%20/#~[1]{2}^`'&+=@;!,$().txt",
    "decomposed カ\u3099/emoji 😀 .txt",
    " leading and trailing ",
    "x" * 1024,
]


@dataclass(frozen=True)
class Archive:
    """A store, and what a test may do to the objects behind it."""

    store: RestoreStore
    put: Callable[[str, bytes, str], None]
    """Store an object: key, content, storage class."""
    thaw: Callable[[], None]
    """Let the time pass that all requested copies take."""
    expire: Callable[[], None]
    """Let the time pass after which no copy is left."""
    now: Callable[[], datetime]

    def state(self, key: str) -> ObjectState | ItemError:
        return dict(self.store.states([key]))[key]

    def readable(self, key: str, data: bytes) -> None:
        self.put(key, data, "DEEP_ARCHIVE")
        assert self.store.thaw(key, Tier.BULK, 7) is Answer.ACCEPTED
        self.thaw()

    def fetched(self, key: str, size: int) -> bytes:
        content = bytearray()
        self.store.fetch(key, size, content.extend)
        return bytes(content)


def in_memory() -> Archive:
    objects = MemoryStore()
    store = MemoryRestoreStore(objects)

    def put(key: str, data: bytes, storage_class: str) -> None:
        objects.objects[key] = MemoryObject(data, "", "", storage_class)

    def later(by: timedelta) -> None:
        store.now += by

    return Archive(
        store,
        put,
        lambda: later(timedelta(hours=48)),
        lambda: later(timedelta(days=40)),
        lambda: store.now,
    )


def on_s3(bucket: Bucket) -> Archive:
    endpoint = bucket.client.meta.endpoint_url

    def put(key: str, data: bytes, storage_class: str) -> None:
        where: dict[str, Any] = {"Bucket": bucket.name, "Key": key}
        bucket.client.put_object(**where, Body=data, StorageClass=storage_class)

    return Archive(
        bucket.restores(),
        put,
        lambda: administer(endpoint, bucket.name, "thaw"),
        lambda: administer(endpoint, bucket.name, "expire"),
        lambda: datetime.now(UTC),
    )


@pytest.fixture(params=["s3", "memory"])
def archive(request: pytest.FixtureRequest) -> Archive:
    if request.param == "memory":
        return in_memory()
    return on_s3(request.getfixturevalue("strict_bucket"))


def refused(call: Callable[[], object]) -> Code:
    with pytest.raises(ItemError) as caught:
        call()
    return caught.value.code


@pytest.mark.parametrize("key", KEYS)
def test_an_object_thaws_is_fetched_and_freezes_again(archive: Archive, key: str) -> None:
    archive.store.check()
    archive.put(key, b"content", "DEEP_ARCHIVE")
    assert archive.state(key) == ObjectState(Thaw.FROZEN, 7)
    assert refused(lambda: archive.fetched(key, 7)) is Code.NOT_READABLE

    expiries = {copy_expires(archive.now(), 7)}
    assert archive.store.thaw(key, Tier.BULK, 7) is Answer.ACCEPTED
    expiries.add(copy_expires(archive.now(), 7))  # midnight may pass between the two
    assert archive.state(key) == ObjectState(Thaw.THAWING, 7)
    assert refused(lambda: archive.fetched(key, 7)) is Code.NOT_READABLE

    archive.thaw()
    assert archive.state(key) in {ObjectState(Thaw.READABLE, 7, until) for until in expiries}
    assert archive.fetched(key, 7) == b"content"

    archive.expire()
    assert archive.state(key) == ObjectState(Thaw.FROZEN, 7)
    assert refused(lambda: archive.fetched(key, 7)) is Code.NOT_READABLE


def test_a_second_request_changes_nothing_until_the_copy_is_there(archive: Archive) -> None:
    archive.put("k", b"1", "DEEP_ARCHIVE")
    assert archive.store.thaw("k", Tier.STANDARD, 2) is Answer.ACCEPTED
    assert archive.store.thaw("k", Tier.BULK, 30) is Answer.IN_PROGRESS
    archive.thaw()
    expiries = {copy_expires(archive.now(), 30)}
    assert archive.store.thaw("k", Tier.BULK, 30) is Answer.EXTENDED
    expiries.add(copy_expires(archive.now(), 30))
    assert archive.state("k") in {ObjectState(Thaw.READABLE, 1, until) for until in expiries}


def test_what_expired_can_be_asked_for_again(archive: Archive) -> None:
    archive.readable("k", b"1")
    archive.expire()
    assert archive.store.thaw("k", Tier.BULK, 7) is Answer.ACCEPTED
    assert archive.state("k") == ObjectState(Thaw.THAWING, 1)


def test_what_is_not_archived_is_readable_as_it_is(archive: Archive) -> None:
    archive.put("k", b"12345", "STANDARD")
    assert archive.state("k") == ObjectState(Thaw.READABLE, 5, None)
    assert archive.store.thaw("k", Tier.BULK, 7) is Answer.NOT_ARCHIVED
    assert archive.fetched("k", 5) == b"12345"


def test_what_is_not_there(archive: Archive) -> None:
    assert archive.state("k") == ObjectState(Thaw.MISSING)
    assert refused(lambda: archive.store.thaw("k", Tier.BULK, 7)) is Code.OBJECT_MISSING
    assert refused(lambda: archive.fetched("k", 5)) is Code.OBJECT_MISSING


@pytest.mark.parametrize("size", [0, 1, MIB, 5 * MIB + 3])
def test_content_comes_in_order_and_whole(archive: Archive, size: int) -> None:
    data = os.urandom(size)
    archive.readable("k", data)
    assert archive.fetched("k", size) == data


@pytest.mark.parametrize("size", [0, 4, 6, 2 * MIB])
def test_another_size_than_expected_is_said_and_never_handed_over(
    archive: Archive, size: int
) -> None:
    archive.readable("k", b"12345")
    content = bytearray()
    code = refused(lambda: archive.store.fetch("k", size, content.extend))
    assert (code, bytes(content)) == (Code.CONTENT_MISMATCH, b"")


def test_an_error_of_who_writes_goes_on(archive: Archive) -> None:
    archive.readable("k", b"12345")

    def full(_block: memoryview) -> None:
        raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        archive.store.fetch("k", 5, full)
    assert archive.fetched("k", 5) == b"12345"


def through_a_lane(store: RestoreStore, wanted: Iterable[tuple[str, int]]) -> dict[str, object]:
    """Fetch objects as one thread does it; returns what became of each key."""
    lane: FetchLane[str] | None = store.fetch_lane()
    assert lane is not None
    ended: list[tuple[str, object]] = []
    with contextlib.closing(lane):
        for key, size in wanted:
            lane.begin(key, size, key)
            while lane.is_full:
                ended += lane.wait()
        while lane.busy:
            ended += lane.wait()
    assert len(dict(ended)) == len(ended)
    return dict(ended)


def test_a_lane_fetches_what_was_stored(archive: Archive) -> None:
    objects = {key: os.urandom(n * 7) for n, key in enumerate(KEYS)}
    objects |= {f"営業部/{n}.txt": str(n).encode() for n in range(20)}
    for key, data in objects.items():
        archive.put(key, data, "STANDARD")
    ended = through_a_lane(archive.store, [(key, len(data)) for key, data in objects.items()])
    assert ended == objects


def test_a_lane_takes_as_much_as_it_says(archive: Archive) -> None:
    lane: FetchLane[str] | None = archive.store.fetch_lane()
    assert lane is not None
    data = os.urandom(lane.most_bytes)
    lane.close()
    archive.put("k", data, "STANDARD")
    assert through_a_lane(archive.store, [("k", len(data))]) == {"k": data}


def test_a_lane_leaves_what_is_not_plain_to_fetch(archive: Archive) -> None:
    archive.put("frozen", b"12345", "DEEP_ARCHIVE")
    for key in ("a", "shorter", "longer", "z"):
        archive.put(key, b"12345", "STANDARD")
    wanted = [("a", 5), ("frozen", 5), ("missing", 5), ("shorter", 6), ("longer", 4), ("z", 5)]
    assert through_a_lane(archive.store, wanted) == {
        "a": b"12345",
        "frozen": None,
        "missing": None,
        "shorter": None,
        "longer": None,
        "z": b"12345",
    }


def test_states_are_said_once_for_each_key(archive: Archive) -> None:
    keys = [f"営業部/{n:02}.txt" for n in range(30)]
    for key in keys:
        archive.put(key, key.encode(), "DEEP_ARCHIVE")
    for key in keys[::3]:
        archive.store.thaw(key, Tier.BULK, 7)
    said = list(archive.store.states([*keys, *keys, "missing"]))
    assert sorted(key for key, _ in said) == sorted([*keys, "missing"])
    assert {key for key, state in said if state == ObjectState(Thaw.THAWING, 16)} == set(keys[::3])
    assert dict(said)["missing"] == ObjectState(Thaw.MISSING)


def test_states_end_when_nobody_wants_them_any_more(archive: Archive) -> None:
    said = list(archive.store.states([f"{n}" for n in range(30)], lambda: True))
    assert len(said) < 30


def test_nothing_is_wanted(archive: Archive) -> None:
    assert list(archive.store.states([])) == []
