"""What is said of many objects: the same from listings as from HEAD, and cheaper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ItemError
from core.restore.model import ObjectState, Thaw
from core.s3.object_states import PAGE_WORTH, S3States
from core.s3.restore_store import S3RestoreStore
from tests.support.servers.buckets import PAGE_KEYS, Bucket, new_bucket
from tests.support.servers.processes import administer
from tests.support.servers.proxy import Fault

SIGNS = "%+ #~[]{}^&='～ー😀カ\u3099\u3000"
NAMES = [f"営業部/見積{SIGNS[n % len(SIGNS)]}{n:03}.txt" for n in range(120)]
ABSENT = [f"営業部/見積{sign}none.txt" for sign in SIGNS] + ["0", "営業部", "～"]
KINDS = ["READABLE", "FROZEN", "THAWING", "THAWED"]
"""What the objects of ``NAMES`` are, in turn."""


@dataclass
class Pool:
    """A bucket that holds objects of every kind, and what a person knows of them."""

    bucket: Bucket
    store: S3RestoreStore
    kinds: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, kind: str, storage_class: str) -> None:
        self.kinds[key] = kind
        where = {"Bucket": self.bucket.name, "Key": key}
        self.bucket.client.put_object(**where, Body=key.encode(), StorageClass=storage_class)

    def restore(self, key: str) -> None:
        self.bucket.client.restore_object(
            Bucket=self.bucket.name, Key=key, RestoreRequest={"Days": 7}
        )

    def expected(self, key: str) -> tuple[Thaw, int, bool]:
        """Return state, size, and whether a date stands with it."""
        kind = self.kinds.get(key, "MISSING")
        thaw = Thaw.READABLE if kind == "THAWED" else Thaw[kind]
        return thaw, len(key.encode()) if key in self.kinds else 0, kind == "THAWED"

    def asked(self, keys: list[str]) -> list[tuple[str, tuple[Thaw, int, bool]]]:
        found = []
        for key, state in self.store.states(keys):
            assert isinstance(state, ObjectState)
            found.append((key, (state.thaw, state.size, state.readable_until is not None)))
        return sorted(found)

    def calls(self) -> tuple[int, int]:
        """Return how many listings and HEADs were sent since the last time."""
        with self.bucket.proxy.lock:
            methods = [method for method, _, _ in self.bucket.proxy.seen]
            self.bucket.proxy.seen.clear()
        return methods.count("GET"), methods.count("HEAD")


@pytest.fixture(scope="module")
def pool(strict_endpoint: str) -> Iterator[Pool]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        new_bucket(strict_endpoint, monkeypatch) as bucket,
    ):
        made = Pool(bucket, bucket.restores())
        for n, name in enumerate(NAMES):
            kind = KINDS[n % len(KINDS)]
            archived = "GLACIER" if n % 3 == 0 else "DEEP_ARCHIVE"
            made.add(name, kind, "STANDARD" if kind == "READABLE" else archived)
        for sign in SIGNS[:3]:
            made.add(f"営業部/{sign}tier.txt", "READABLE", "INTELLIGENT_TIERING")
        for kind in ("THAWED", "THAWING"):
            for name in [key for key, its in made.kinds.items() if its == kind]:
                made.restore(name)
            if kind == "THAWED":
                administer(strict_endpoint, bucket.name, "thaw")
        yield made


@pytest.fixture
def fresh(strict_bucket: Bucket) -> Pool:
    return Pool(strict_bucket, strict_bucket.restores())


def test_everything_at_once(pool: Pool) -> None:
    keys = [*pool.kinds, *ABSENT]
    pool.calls()
    assert pool.asked(keys) == sorted((key, pool.expected(key)) for key in keys)
    listings, heads = pool.calls()
    # 123 keys in pages of 40, the first of each by HEAD, and what only HEAD knows.
    assert listings <= -(-len(pool.kinds) // PAGE_KEYS) + 1
    assert heads <= listings + 3 + len(ABSENT)


@settings(max_examples=15)
@given(
    keys=st.lists(st.sampled_from([*NAMES, *ABSENT]), max_size=20),
    run=st.tuples(st.integers(0, 120), st.integers(0, 60)),
)
def test_each_key_is_said_once_and_truly(pool: Pool, keys: list[str], run: tuple[int, int]) -> None:
    wanted = keys + sorted(NAMES)[run[0] : sum(run)]
    assert pool.asked(wanted) == sorted((key, pool.expected(key)) for key in set(wanted))


def test_few_keys_are_asked_one_by_one(pool: Pool) -> None:
    pool.calls()
    pool.asked(NAMES[:PAGE_WORTH])
    assert pool.calls() == (0, PAGE_WORTH)


def test_scattered_keys_cost_hardly_more_than_their_heads(pool: Pool) -> None:
    """Every fourth key: a page of 40 settles 10 of them at most, fewer than it is worth."""
    wanted = sorted(NAMES)[::4]
    pool.calls()
    pool.asked(wanted)
    listings, heads = pool.calls()
    assert listings <= 2
    assert len(wanted) - 2 * 10 <= heads <= len(wanted)


def test_a_listing_that_fails_leaves_all_to_head(pool: Pool) -> None:
    bucket, wanted = pool.bucket, NAMES[:20]
    bucket.proxy.decide = lambda method, _path: Fault.LOST if method == "GET" else Fault.NONE
    try:
        found = pool.asked(wanted)
    finally:
        bucket.proxy.decide = lambda _method, _path: Fault.NONE
    assert found == sorted((key, pool.expected(key)) for key in wanted)


def test_one_head_that_fails_is_told_and_the_others_go_on(pool: Pool) -> None:
    bad = "営業部/ない.txt"
    bucket = pool.bucket
    bucket.proxy.decide = lambda _method, path: Fault.RESET if bad in path else Fault.NONE
    try:
        said = dict(pool.store.states([NAMES[1], bad]))
    finally:
        bucket.proxy.decide = lambda _method, _path: Fault.NONE
    assert isinstance(said[bad], ItemError)
    assert said[NAMES[1]] == ObjectState(Thaw.FROZEN, len(NAMES[1].encode()))


class FarApart:
    """A client of a bucket so large that no page shows a second of the wanted keys."""

    listings = heads = 0

    def list_objects_v2(self, StartAfter: str, **_: object) -> dict[str, Any]:  # noqa: N803
        self.listings += 1
        other = {"Key": f"{StartAfter}/", "Size": 1, "StorageClass": "DEEP_ARCHIVE"}
        return {"IsTruncated": True, "Contents": [other]}

    def head_object(self, **_: object) -> dict[str, Any]:
        self.heads += 1
        return {"ContentLength": 1, "StorageClass": "DEEP_ARCHIVE"}


def test_pages_are_tried_less_and_less_often() -> None:
    client = FarApart()
    unheard = SimpleNamespace(granted=lambda _action: None)
    connection: Any = SimpleNamespace(bucket="himuro-x", denials=unheard)
    keys = [f"{n:03}" for n in range(1000)]
    said = dict(S3States(connection, client).of(keys, lambda: False))
    assert said == dict.fromkeys(keys, ObjectState(Thaw.FROZEN, 1))
    assert client.heads == 1000
    # After 13, 26, 52, 104, 208, 416 keys; fewer than 832 are left then.
    assert client.listings == 7


def test_frozen_objects_are_believed_after_a_sample(fresh: Pool) -> None:
    for n in range(30):
        fresh.add(f"{n:02}", "FROZEN", "DEEP_ARCHIVE")
    keys = list(fresh.kinds)
    assert fresh.asked(keys) == sorted((key, fresh.expected(key)) for key in keys)
    listings, heads = fresh.calls()
    assert listings == 1
    assert heads <= 1 + 8


def test_listings_that_know_nothing_of_copies_are_found_out(
    fresh: Pool, strict_endpoint: str
) -> None:
    """As those of moto: then archived objects are asked one by one."""
    administer(strict_endpoint, fresh.bucket.name, "plain")
    for n in range(36):
        kind = "FROZEN" if n % 3 == 0 else "THAWING"
        fresh.add(f"{n:02}", kind, "DEEP_ARCHIVE")
        if kind == "THAWING":
            fresh.restore(f"{n:02}")
    keys = list(fresh.kinds)
    assert fresh.asked(keys) == sorted((key, fresh.expected(key)) for key in keys)
    assert fresh.calls()[1] == 36
    # It is remembered: a sample of these, every third of the 24 after the first, would find
    # frozen ones only.
    some = keys[2:27]
    assert fresh.asked(some) == sorted((key, fresh.expected(key)) for key in some)
    assert fresh.calls()[1] == len(some)
