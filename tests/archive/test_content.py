"""The memory that file content takes: bounded, and no large file keeps a small one waiting."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.archive.archiver import Archiver
from core.archive.content import ByteSemaphore
from core.errors import Code, ItemError
from core.model import ArchiveItem
from core.share.shares import Shares
from tests.support.arrange import BUCKET, REQUEST, UNC, Desk

LONG = 20.0
"""Seconds after which something that never ends is given up; nothing waits so long that works."""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A store whose parts have 1,024 bytes, and memory for three of them."""
    monkeypatch.setattr("core.archive.archiver.MEMORY_BYTES", 3 * 1024)
    return Desk(tmp_path)


def archiver(desk: Desk) -> tuple[Archiver, dict[str, ArchiveItem]]:
    made = Archiver(
        Shares(desk.settings.shares, desk.fs),
        desk.store,
        bucket=BUCKET,
        timezone=ZoneInfo("Asia/Tokyo"),
        request=REQUEST,
    )
    return made, {item.name: item for item in desk.check(UNC).items}


class Blocked:
    """Keeps parts from being stored until it is let go; counts uploads that have begun."""

    def __init__(self, uploads: int) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()
        self._uploads = uploads

    def __call__(self, call: str, _key: str) -> None:
        if call == "create_in_parts":
            self.begun.release()
        if call == "part":
            assert self.let_go.wait(LONG)

    def wait_until_begun(self) -> None:
        for _ in range(self._uploads):
            assert self.begun.acquire(timeout=LONG)


def started(work: Callable[[], Any], ends: ExitStack) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ends.callback(thread.join, LONG)
    return thread


def test_a_small_file_ends_while_large_ones_are_held_up(desk: Desk) -> None:
    for n in range(3):
        desk.write(f"large{n}.bin", os.urandom(5000))
    desk.write("small.bin", os.urandom(900))
    work, items = archiver(desk)
    blocked = desk.store.before = Blocked(3)
    keys: list[str] = []

    def store(name: str) -> None:
        keys.append(work.store(items[name], sent=lambda _size: None).key)

    with ExitStack() as ends:
        ends.callback(blocked.let_go.set)
        large = [started(lambda n=n: store(f"large{n}.bin"), ends) for n in range(3)]  # type: ignore[misc]
        blocked.wait_until_begun()
        small = started(lambda: store("small.bin"), ends)
        small.join(LONG)
        assert keys == ["fsx01/share/small.bin"]
        blocked.let_go.set()
        for thread in large:
            thread.join(LONG)
    assert sorted(keys) == sorted(items[name].key for name in items)
    assert {key: len(o.data) for key, o in desk.store.objects.items()} == {
        "fsx01/share/small.bin": 900,
        **{f"fsx01/share/large{n}.bin": 5000 for n in range(3)},
    }


def test_a_part_that_was_given_up_keeps_no_memory(desk: Desk) -> None:
    desk.write("large.bin", os.urandom(5000))
    desk.write("small.bin", os.urandom(900))
    work, items = archiver(desk)
    refused = []

    def refuse(call: str, _key: str) -> None:
        if call == "part":
            raise ItemError(Code.UPLOAD_FAILED)

    desk.store.before = refuse
    for _ in range(4):
        with pytest.raises(ItemError) as caught:
            work.store(items["large.bin"], sent=lambda _size: None)
        refused.append(caught.value)  # as a collector does, for a while
    with ExitStack() as ends:
        done: list[int] = []
        small = started(
            lambda: done.append(work.store(items["small.bin"], sent=lambda _s: None).size), ends
        )
        small.join(LONG)
        assert done == [900]


def test_a_large_file_that_only_hashed_when_a_stop_came_is_not_begun(desk: Desk) -> None:
    desk.write("large.bin", os.urandom(5000))
    work, items = archiver(desk)
    with pytest.raises(ItemError) as caught:
        work.store(items["large.bin"], sent=lambda _size: None, stopping=lambda: True)
    assert caught.value.code is Code.STOPPED
    assert (desk.store.objects, desk.store.unfinished) == ({}, set())


class Holder:
    """A thread that holds memory until it is told to let go."""

    def __init__(self, budget: ByteSemaphore, size: int, *, part: bool = False) -> None:
        self.has = threading.Event()
        self._let_go = threading.Event()
        self._thread = threading.Thread(target=self._hold, args=(budget, size, part), daemon=True)
        self._thread.start()

    def _hold(self, budget: ByteSemaphore, size: int, part: bool) -> None:
        with budget.hold(size, part=part):
            self.has.set()
            assert self._let_go.wait(LONG)

    def end(self) -> None:
        self._let_go.set()
        self._thread.join(LONG)


def waiting(budget: ByteSemaphore, number: int) -> None:
    """Return once so many threads wait for memory."""
    with budget._changed:
        assert budget._changed.wait_for(lambda: len(budget._waiting) == number, LONG)


def test_memory_is_given_in_the_order_in_which_it_was_asked_for() -> None:
    budget = ByteSemaphore(100, parts=60)
    first = Holder(budget, 50)
    assert first.has.wait(LONG)
    large = Holder(budget, 80)
    waiting(budget, 1)
    small = Holder(budget, 10)  # there is room for it, and yet it does not overtake
    waiting(budget, 2)
    assert not small.has.is_set()
    first.end()
    assert large.has.wait(LONG)
    assert small.has.wait(LONG)
    for holder in (large, small):
        holder.end()


def test_a_part_that_waits_for_other_parts_holds_nobody_up() -> None:
    budget = ByteSemaphore(100, parts=60)
    parts = [Holder(budget, 30, part=True) for _ in range(2)]
    for part in parts:
        assert part.has.wait(LONG)
    third = Holder(budget, 30, part=True)
    waiting(budget, 1)
    whole = Holder(budget, 40)
    assert whole.has.wait(LONG)
    assert not third.has.is_set()
    parts[0].end()
    assert third.has.wait(LONG)
    for holder in (parts[1], third, whole):
        holder.end()


def test_never_more_is_held_than_allowed_and_everybody_gets_some() -> None:
    budget, lock = ByteSemaphore(100, parts=60), threading.Lock()
    held = {True: 0, False: 0}
    most = {True: 0, False: 0, None: 0}

    def use(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311
        for size, part in choices(chance):
            with budget.hold(size, part=part):
                share = min(size, 60 if part else 100)
                with lock:
                    held[part] += share
                    most[part] = max(most[part], held[part])
                    most[None] = max(most[None], sum(held.values()))
                with lock:
                    held[part] -= share

    threads = [threading.Thread(target=use, args=(seed,), daemon=True) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    assert most[True] <= 60
    assert most[None] <= 100


def choices(chance: random.Random) -> Iterator[tuple[int, bool]]:
    for _ in range(100):
        yield chance.choice([0, 1, 10, 59, 60, 61, 99, 100, 101, 500]), chance.random() < 0.5
