"""Sessions and seals: what ends a session, and what a browser cannot make up."""

from __future__ import annotations

import base64
import json
import os
import threading
from pathlib import Path

import pytest

from core.errors import FatalError
from core.seals import Seals
from core.sessions import IDLE_SECONDS, LONGEST_SECONDS, Refusal, Sessions

MINUTE = 60


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(tmp_path: Path, clock: Clock) -> Sessions:
    return Sessions(tmp_path / "sessions.json", clock)


def test_a_session_goes_on_while_it_is_used(sessions: Sessions, clock: Clock) -> None:
    one = sessions.begin("tanaka", "f")
    for _ in range(12):
        clock.now += 59 * MINUTE
        assert sessions.check(one, "f") is None
    clock.now += 12 * MINUTE
    assert sessions.check(one, "f") is None
    clock.now += MINUTE
    assert sessions.check(one, "f") is Refusal.TOO_OLD
    assert LONGEST_SECONDS == 12 * 60 * MINUTE


def test_an_idle_session_ends_for_good(sessions: Sessions, clock: Clock) -> None:
    one = sessions.begin("tanaka", "f")
    clock.now += IDLE_SECONDS
    assert sessions.check(one, "f") is None
    clock.now += IDLE_SECONDS + 1
    assert sessions.check(one, "f") is Refusal.IDLE
    assert sessions.check(one, "f") is Refusal.ENDED


def test_another_password_ends_it_for_good(sessions: Sessions) -> None:
    one = sessions.begin("tanaka", "f")
    assert sessions.check(one, "g") is Refusal.CHANGED
    assert sessions.check(one, "f") is Refusal.ENDED


def test_ended_and_unknown(sessions: Sessions) -> None:
    one, other = sessions.begin("tanaka", "f"), sessions.begin("tanaka", "f")
    sessions.end(one)
    sessions.end(one)
    sessions.end("never begun")
    assert sessions.check(one, "f") is Refusal.ENDED
    assert sessions.check(other, "f") is None
    assert sessions.check("never begun", "f") is Refusal.UNKNOWN
    assert sessions.check("", "f") is Refusal.UNKNOWN
    assert one != other


def test_a_restart_revives_nothing_and_ends_nothing(
    sessions: Sessions, clock: Clock, tmp_path: Path
) -> None:
    one, ended = sessions.begin("tanaka", "f"), sessions.begin("tanaka", "f")
    sessions.end(ended)
    clock.now += 30 * MINUTE
    assert sessions.check(one, "f") is None
    again = Sessions(tmp_path / "sessions.json", clock)
    clock.now += 59 * MINUTE
    assert again.check(one, "f") is None
    assert again.check(ended, "f") is Refusal.ENDED


def test_the_file_holds_no_session_and_is_private(sessions: Sessions, tmp_path: Path) -> None:
    one = sessions.begin("tanaka", "f")
    file = tmp_path / "sessions.json"
    assert one not in file.read_text()
    if os.name == "posix":
        assert file.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["sessions.json"]


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"1", b'{"a": 1}', b'{"a": {"account": 1}}', b"\xff\xfe", b"[" * 100_000],
)
def test_a_damaged_file_means_signing_in_again(damage: bytes, clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "sessions.json").write_bytes(damage)
    sessions = Sessions(tmp_path / "sessions.json", clock)
    assert sessions.check("x", "f") is Refusal.UNKNOWN
    assert sessions.check(sessions.begin("tanaka", "f"), "f") is None


def test_old_sessions_are_forgotten(sessions: Sessions, clock: Clock, tmp_path: Path) -> None:
    for n in range(50):
        sessions.begin(f"user{n}", "f")
    clock.now += LONGEST_SECONDS + 1
    sessions.begin("tanaka", "f")
    assert len(json.loads((tmp_path / "sessions.json").read_bytes())) == 1


def test_twenty_sessions_of_one_account(sessions: Sessions, clock: Clock) -> None:
    first, *others = [sessions.begin("tanaka", "f") for _ in range(21)]
    elsewhere = sessions.begin("sato", "f")
    assert sessions.check(first, "f") is Refusal.ENDED
    assert all(sessions.check(one, "f") is None for one in [*others, elsewhere])


def test_a_session_that_cannot_be_kept_is_not_opened(clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a directory is needed")
    with pytest.raises(FatalError, match="実行記録を書き込めません"):
        Sessions(tmp_path / "data" / "sessions.json", clock).begin("tanaka", "f")


def test_an_end_that_cannot_be_written_holds_all_the_same(
    sessions: Sessions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = sessions.begin("tanaka", "f")
    (tmp_path / "sessions.json").unlink()
    (tmp_path / "sessions.json").mkdir()
    sessions.end(one)
    assert sessions.check(one, "f") is Refusal.ENDED
    assert "sessions cannot be kept" in caplog.text


# Seals


@pytest.fixture
def seals(tmp_path: Path) -> Seals:
    return Seals(tmp_path / "session.key")


VALUE = {"id": "x" * 43, "account": "tanaka"}


def test_what_is_sealed_can_be_opened_after_a_restart(seals: Seals, tmp_path: Path) -> None:
    sealed = seals.seal("session.1", VALUE)
    assert seals.open("session.1", sealed) == VALUE
    assert Seals(tmp_path / "session.key").open("session.1", sealed) == VALUE
    if os.name == "posix":
        assert (tmp_path / "session.key").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["session.key"]


def test_no_letter_can_be_changed(seals: Seals) -> None:
    """The last letter of the signature has two unused bits; no other has any."""
    sealed = seals.seal("session.1", VALUE)
    for place in range(len(sealed) - 1):
        for letter in {"A", "b", "9", ".", "é"} - {sealed[place]}:
            changed = sealed[:place] + letter + sealed[place + 1 :]
            assert seals.open("session.1", changed) is None, (place, letter)
    for cut in range(len(sealed)):
        assert seals.open("session.1", sealed[:cut]) is None


def test_made_up_cookies(seals: Seals, tmp_path: Path) -> None:
    sealed = seals.seal("session.1", VALUE)
    payload, _, signature = sealed.rpartition(".")
    other = base64.urlsafe_b64encode(json.dumps({**VALUE, "account": "kanri"}).encode()).decode()
    foreign = Seals(tmp_path / "other.key").seal("session.1", VALUE)
    for made_up in (
        other.rstrip("=") + "." + signature,
        payload + ".",
        "." + signature,
        payload,
        sealed + "." + signature,
        foreign,
        "",
        "\0",
        "\ud800",
        "." * 100,
        "A" * 1_000_000,
        sealed * 40,
    ):
        assert seals.open("session.1", made_up) is None, made_up[:80]


def test_one_kind_is_no_other(seals: Seals) -> None:
    assert seals.open("device.1", seals.seal("session.1", VALUE)) is None
    assert seals.open("form.1", seals.seal("session.1", VALUE)) is None


def test_two_processes_agree_on_the_first_key(tmp_path: Path) -> None:
    sealed: list[str] = []
    start = threading.Barrier(8)

    def first() -> None:
        start.wait()
        sealed.append(Seals(tmp_path / "session.key").seal("form.1", "x"))

    threads = [threading.Thread(target=first) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(sealed)) == 1


def test_a_truncated_key_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "session.key"
    path.write_bytes(b"")
    sealed = Seals(path).seal("form.1", "x")
    assert len(path.read_bytes()) == 32
    assert Seals(path).open("form.1", sealed) == "x"


def test_a_key_that_cannot_be_read_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "session.key").mkdir()
    with pytest.raises(FatalError):
        Seals(tmp_path / "session.key").open("form.1", "x.y")
