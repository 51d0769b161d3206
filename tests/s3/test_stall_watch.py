"""A run notices that nothing succeeds any more, and everything it has not done is listed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.config.settings import load_settings
from core.errors import Code, FatalError, ItemError
from core.model import RunState
from core.restore.model import Tier
from core.s3.http.stall_watch import Pieces, Watch, answered, try_failed
from core.s3.restore_store import S3RestoreStore
from tests.restore.test_run import Counter
from tests.s3.test_archive_store import new, parts, through_a_lane
from tests.s3.test_proof import is_completion
from tests.support.arrange import UNC, Desk
from tests.support.clock import Clock
from tests.support.fakes import MemoryStore
from tests.support.fakes_restore import MemoryRestoreStore
from tests.support.servers.buckets import Bucket
from tests.support.servers.proxy import Fault

MIB = 1024 * 1024


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> Watch:
    return Watch(40, clock)


def stalled(watch: Watch) -> bool:
    try:
        watch.require()
    except FatalError as exc:
        return exc.code is Code.S3_STALLED
    return False


def test_a_call_that_hangs_is_noticed_by_whoever_looks(watch: Watch, clock: Clock) -> None:
    with watch.call():
        clock.now += 39.9
        assert not stalled(watch)
        clock.now += 0.1
        assert stalled(watch)


def test_calls_that_fail_one_after_another_add_up(watch: Watch, clock: Clock) -> None:
    for _ in range(4):
        with watch.call():
            clock.now += 10
        clock.now += 200  # somebody reads a large file; nobody waits for S3
    with pytest.raises(FatalError) as caught, watch.call():
        pass
    assert caught.value.code is Code.S3_STALLED
    assert "40秒間" in str(caught.value)


def test_what_was_found_out_is_forgotten_when_nobody_asks(watch: Watch, clock: Clock) -> None:
    with watch.call():
        clock.now += 60
        for _ in range(3):
            watch.in_vain()
        assert stalled(watch)
    clock.now += 299
    assert stalled(watch)
    clock.now += 1
    assert not stalled(watch)
    with watch.call():
        clock.now += 39
        assert not stalled(watch)
        clock.now += 1
        assert stalled(watch)


def test_one_success_of_anybody_begins_anew(watch: Watch, clock: Clock) -> None:
    with watch.call():
        clock.now += 39
        watch.answered()
        clock.now += 39
        assert not stalled(watch)
        clock.now += 1
        assert stalled(watch)
        watch.answered()
    clock.now += 10_000
    assert not stalled(watch)


def test_bytes_that_go_are_life_until_their_try_fails(watch: Watch, clock: Clock) -> None:
    with watch.call():
        for _ in range(100):  # an hour over a slow line
            clock.now += 39
            watch.moved()
            assert not stalled(watch)
        with pytest.raises(FatalError):
            watch.try_failed()


def test_putting_parts_together_takes_as_long_as_it_has_to(watch: Watch, clock: Clock) -> None:
    with watch.call():
        with watch.patience():
            clock.now += 600
            assert not stalled(watch)
            with pytest.raises(FatalError):  # but only in its first try
                watch.try_failed()
        assert stalled(watch)


def test_a_file_server_that_is_slow_is_not_s3(bucket: Bucket, watch: Watch, clock: Clock) -> None:
    """While it fails over, every thread hangs in what it writes, and S3 has nothing to answer."""
    data = b"x" * (3 * MIB)
    bucket.client.put_object(Bucket=bucket.name, Key="k", Body=data)
    settings = load_settings({"HIMURO_BUCKET": bucket.name})
    store = S3RestoreStore(settings, watch=lambda: watch)
    written = bytearray()

    def write(block: memoryview) -> None:
        clock.now += 60
        store.require_life()
        written.extend(block)

    store.fetch("k", len(data), write)
    assert written == data
    store.require_life()


def test_answers_belong_to_the_call_of_their_thread(clock: Clock) -> None:
    puts, looks = Watch(40, clock), Watch(40, clock)
    answered()  # nobody's
    with puts.call():
        clock.now += 39
        with looks.call():
            answered()
        try_failed()
        clock.now += 1
        assert stalled(puts)
        assert not stalled(looks)


def test_pieces_are_bytes_that_tell_when_they_go() -> None:
    told: list[int] = []
    data = bytes(range(256)) * 16 * 1024  # 4 MiB
    pieces = Pieces(data, lambda: told.append(pieces.tell()))
    for _ in range(2):  # a second try begins anew
        pieces.seek(0)
        assert b"".join(iter(lambda: pieces.read(16 * 1024), b"")) == data
    assert told == [MIB, 2 * MIB, 3 * MIB, 4 * MIB] * 2


# On the wire


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for module in ("archive.collector", "restore.place_collector"):
        monkeypatch.setattr(f"core.{module}.STALLED_DRAIN_SECONDS", 0.1)
    return Desk(tmp_path)


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.SLOW_DOWN, Fault.PAGE])
def test_puts_in_vain_stop_the_run_while_the_bucket_answers(
    bucket: Bucket, desk: Desk, fault: Fault
) -> None:
    files = [f"{n}.txt" for n in range(4)]
    for name in files:
        desk.write(name, name)
    desk.environ = {"HIMURO_BUCKET": bucket.name}
    bucket.proxy.decide = lambda m, _path: fault if m == "PUT" else Fault.NONE
    desk.store = bucket.store(limit=0.2)  # type: ignore[assignment]
    done = desk.archive(UNC)
    assert done.record.state is RunState.ERROR
    assert "S3は応答しますが、何も成功しません" in done.record.message
    assert sorted(done.failed) == [rf"{UNC}\{name}" for name in files]
    first, *_ = [line for line in done.read("error_log.txt").splitlines() if "S3_STALLED" in line]
    assert rf"ERROR: {UNC}" in first
    assert done.read("outcomes.csv").count("archived") == 0
    assert bucket.object_keys() == []


def everything_hangs(method: str, path: str) -> Fault:
    """But the bucket itself answers."""
    is_bucket = method == "HEAD" and path.count("/") == 1
    return Fault.NONE if is_bucket else Fault.HANG


@pytest.mark.parametrize("call", ["put", "lane", "head", "thaw", "fetch", "states"])
@pytest.mark.usefixtures("impatience")
def test_every_kind_of_call_ends_when_nothing_succeeds(bucket: Bucket, call: str) -> None:
    store, restores = bucket.store(limit=0.1), bucket.restores(limit=0.1)
    bucket.proxy.decide = everything_hangs

    def lane() -> None:
        through_a_lane(store, {"k": b"x"})
        store.require_life()

    calls: dict[str, Callable[[], object]] = {
        "put": lambda: store.create(new("k", b"x"), b"x"),
        "lane": lane,
        "head": lambda: store.head("k"),
        "thaw": lambda: restores.thaw("k", Tier.BULK, 7),
        "fetch": lambda: restores.fetch("k", 1, bytearray().extend),
        "states": lambda: list(restores.states(["k"])),
    }
    with pytest.raises(FatalError) as caught:
        calls[call]()
    assert caught.value.code is Code.S3_STALLED


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.HANG])
@pytest.mark.usefixtures("impatience")
def test_parts_in_vain_stop_the_run_and_leave_nothing(bucket: Bucket, fault: Fault) -> None:
    store = bucket.store(limit=0.1)
    data = b"x" * 6 * MIB
    bucket.proxy.decide = lambda m, _path: fault if m == "PUT" else Fault.NONE
    with pytest.raises(FatalError) as caught:
        store.create_in_parts(new("k", data), parts(data, 5 * MIB))
    assert caught.value.code is Code.S3_STALLED
    assert bucket.unfinished() == []


@pytest.mark.usefixtures("one_attempt")
def test_uploads_that_all_fail_at_their_end_stop_the_run(bucket: Bucket) -> None:
    """Their parts are stored, which looks like life for as long as anybody pays for it."""
    store = bucket.store()
    data = b"x" * 6 * MIB

    def create(key: str) -> bool:
        return store.create_in_parts(new(key, data), parts(data, 5 * MIB))

    broken = [True]
    bucket.proxy.decide = lambda m, path: (
        Fault.SLOW_DOWN if broken[0] and is_completion(m, path) else Fault.NONE
    )
    for key in ("a", "b"):
        with pytest.raises(ItemError):
            create(key)
    broken[0] = False
    assert create("c") is True
    broken[0] = True
    for key in ("d", "e", "f"):
        with pytest.raises(ItemError):
            create(key)
    with pytest.raises(FatalError) as caught:
        create("g")
    assert (caught.value.code, caught.value.detail) == (Code.S3_STALLED, "3件続けて")
    assert bucket.unfinished() == []


# A restore


@pytest.fixture
def counter(desk: Desk) -> Counter:
    counter = Counter(desk, MemoryRestoreStore(MemoryStore()))
    counter.store.objects = desk.store.objects
    counter.target.mkdir()
    desk.environ = {"HIMURO_RESTORE_ROOTS": str(desk.share)}
    return counter


@pytest.fixture
def hang(counter: Counter) -> Iterator[Callable[[str], None]]:
    """Make one kind of call hang, and life end as soon as one does."""
    hanging, over = threading.Event(), threading.Event()

    def begin(kind: str) -> None:
        def wait(call: str, _key: str) -> None:
            if call == kind:
                hanging.set()
                over.wait(20)
                raise ItemError(Code.INTERNAL)

        def life() -> None:
            if hanging.is_set():
                raise FatalError(Code.S3_STALLED)

        counter.store.before, counter.store.life = wait, life

    yield begin
    over.set()


def test_requests_that_hang_stop_with_everything_still_to_do(
    counter: Counter, hang: Callable[[str], None]
) -> None:
    counter.archive(**{f"{n}.txt": str(n) for n in range(3)})
    hang("thaw")
    record = counter.request(f"{UNC},,")
    assert record.state is RunState.ERROR
    assert "S3_STALLED" in counter.read(record.run_id, "restore_errors.txt")
    assert len(counter.read(record.run_id, "restore_requests.txt").splitlines()) == 3


def test_placing_that_hangs_stops_with_everything_still_to_do(
    counter: Counter, hang: Callable[[str], None]
) -> None:
    counter.archive(**{f"{n}.txt": "x" * 100 for n in range(3)})
    run_id = counter.ready(f"{UNC},,")
    hang("fetch")
    record = counter.place(run_id)
    assert (record.state, record.placed_files) == (RunState.ERROR, 0)
    log = counter.read(run_id, "restore_errors.txt")
    assert rf"ERROR: {UNC}" in log
    assert "(S3_STALLED)" in log
    assert len(counter.read(run_id, "restore_requests.txt").splitlines()) == 3
