"""Sessions and tokens: what ends a session, and what a browser cannot make up."""

from __future__ import annotations

import base64
import json
import os
import threading
from pathlib import Path

import pytest

from core.auth.sessions import LONGEST_SECONDS, Client, Refusal, Sessions
from core.auth.signed_tokens import SignedTokens
from core.auth.user_agents import in_words
from core.errors import FatalError
from tests.support.clock import Clock

MINUTE = 60
IDLE_SECONDS = 30 * MINUTE


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0)


@pytest.fixture
def sessions(tmp_path: Path, clock: Clock) -> Sessions:
    return Sessions(tmp_path / "sessions.json", clock)


def test_a_session_goes_on_while_it_is_used(sessions: Sessions, clock: Clock) -> None:
    one = sessions.begin("tanaka", "f")
    for _ in range(24):
        clock.now += 29 * MINUTE
        assert sessions.check(one, "f") is None
    clock.now += 24 * MINUTE
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
    clock.now += 29 * MINUTE
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


def test_the_idle_limit_is_a_setting(clock: Clock, tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "sessions.json", clock, 5 * MINUTE)
    one = sessions.begin("tanaka", "f")
    clock.now += 5 * MINUTE
    assert sessions.check(one, "f") is None
    clock.now += 5 * MINUTE + 1
    assert sessions.check(one, "f") is Refusal.IDLE


def test_signing_in_and_out_all_day_keeps_the_list_small(
    sessions: Sessions, clock: Clock, tmp_path: Path
) -> None:
    for _ in range(100):
        sessions.end(sessions.begin("tanaka", "f"))
        clock.now += 1
    assert len(json.loads((tmp_path / "sessions.json").read_bytes())) <= 22


def test_an_account_with_many_sessions_pushes_out_its_own(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.auth.sessions._MOST", 30)
    sessions = Sessions(tmp_path / "sessions.json", clock)
    others = [sessions.begin(f"user{n}", "f") for n in range(15)]
    for _ in range(60):
        clock.now += 1
        newest = sessions.begin("tanaka", "f")
    assert all(sessions.check(one, "f") is None for one in [*others, newest])
    assert len(json.loads((tmp_path / "sessions.json").read_bytes())) <= 31


def test_the_file_is_bounded_in_bytes(sessions: Sessions, clock: Clock, tmp_path: Path) -> None:
    long = Client("x" * 100_000, "y" * 100_000)
    one = sessions.begin("z" * 100_000, "f" * 64, long)
    assert sessions.check(one, "f" * 64, "w" * 100_000) is None
    sessions.end(one)
    file = tmp_path / "sessions.json"
    assert file.stat().st_size < 1000
    assert Sessions(file, clock).check(one, "f" * 64) is Refusal.ENDED
    file.write_bytes(b'{"a": "' + b" " * 9_000_000 + b'"}')
    assert Sessions(file, clock).check(one, "f" * 64) is Refusal.UNKNOWN


def test_a_forgotten_session_of_a_provider_does_not_come_back(
    sessions: Sessions, clock: Clock, tmp_path: Path
) -> None:
    for n in range(50):
        assert sessions.adopt(f"token{n}", "oidc s-1", "oidc", clock.now)
        sessions.end(f"token{n}")
        clock.now += 1
    for n in range(50):
        issued = clock.now - 50 + n
        assert not sessions.adopt(f"token{n}", "oidc s-1", "oidc", issued)
    again = Sessions(tmp_path / "sessions.json", clock)
    assert not again.adopt("token0", "oidc s-1", "oidc", clock.now - 50)
    assert again.adopt("token0", "oidc s-2", "oidc", clock.now - 50)
    assert again.adopt("new", "oidc s-1", "oidc", clock.now)


def test_a_file_of_the_version_before(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "sessions.json"
    sessions = Sessions(file, clock)
    one = sessions.begin("tanaka", "f")
    data = json.loads(file.read_bytes())
    for value in data.values():
        for name in ("address", "browser", "last"):
            del value[name]
    file.write_text(json.dumps(data))
    again = Sessions(file, clock)
    assert again.check(one, "f", "10.0.0.9") is None
    (view,) = again.of("tanaka", one)
    assert (view.first, view.address, view.this) == (Client(""), "10.0.0.9", True)


# The list that a person sees


def test_the_list_of_ones_own(sessions: Sessions, clock: Clock) -> None:
    first = sessions.begin("tanaka", "f", Client("10.0.0.1", "Edge（Windows）"))
    clock.now += MINUTE
    second = sessions.begin("tanaka", "f", Client("10.0.0.2", "Chrome（Mac）"))
    sessions.begin("sato", "f", Client("10.0.0.3"))
    clock.now += MINUTE
    assert sessions.check(first, "f", "192.0.2.1") is None
    mine = sessions.of("tanaka", second)
    assert [(each.first.browser, each.address, each.this) for each in mine] == [
        ("Chrome（Mac）", "10.0.0.2", True),
        ("Edge（Windows）", "192.0.2.1", False),
    ]
    assert [clock.now - each.issued for each in mine] == [MINUTE, 2 * MINUTE]
    assert [clock.now - each.seen for each in mine] == [MINUTE, 0]
    # One that was opened with the password of before would not go on.
    third = sessions.begin("tanaka", "g", Client("10.0.0.4"))
    assert [each.this for each in sessions.of("tanaka", third)] == [True]
    clock.now += 30 * MINUTE
    assert [each.address for each in sessions.of("tanaka", second)] == ["192.0.2.1"]
    assert sessions.of("tanaka", "never begun") == []


def test_nobody_ends_what_is_not_his(sessions: Sessions) -> None:
    mine, other = sessions.begin("tanaka", "f"), sessions.begin("sato", "f")
    (handle,) = [each.handle for each in sessions.of("sato", other)]
    assert sessions.end_some("tanaka", mine, lambda each: each == handle) == 0
    assert sessions.end_some("tanaka", mine, lambda each: each == "") == 0
    assert sessions.check(other, "f") is None
    assert sessions.end_some("sato", other, lambda each: each == handle) == 1
    assert sessions.end_some("sato", other, lambda each: each == handle) == 0
    assert sessions.check(other, "f") is Refusal.ENDED
    assert sessions.check(mine, "f") is None


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
            "Edge（Windows）",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/131.0.0.0 Safari/537.36",
            "Chrome（Windows）",
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
            "Firefox（Linux）",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
            "Safari（iPhone）",
        ),
        ("curl/8.5.0", "不明なブラウザー"),
        ("", "不明なブラウザー"),
        ("<script>alert(1)</script> Firefox/\x1b[2J", "Firefox"),
        ("x" * 100_000 + "Firefox/", "不明なブラウザー"),
    ],
)
def test_browsers_in_words(header: str, words: str) -> None:
    assert in_words(header) == words


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


# Signed tokens


@pytest.fixture
def tokens(tmp_path: Path) -> SignedTokens:
    return SignedTokens(tmp_path / "session.key")


VALUE = {"id": "x" * 43, "account": "tanaka"}


def test_what_is_sealed_can_be_opened_after_a_restart(tokens: SignedTokens, tmp_path: Path) -> None:
    sealed = tokens.seal("session.1", VALUE)
    assert tokens.open("session.1", sealed) == VALUE
    assert SignedTokens(tmp_path / "session.key").open("session.1", sealed) == VALUE
    if os.name == "posix":
        assert (tmp_path / "session.key").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["session.key"]


def test_no_letter_can_be_changed(tokens: SignedTokens) -> None:
    """The last letter of the signature has two unused bits; no other has any."""
    sealed = tokens.seal("session.1", VALUE)
    for place in range(len(sealed) - 1):
        for letter in {"A", "b", "9", ".", "é"} - {sealed[place]}:
            changed = sealed[:place] + letter + sealed[place + 1 :]
            assert tokens.open("session.1", changed) is None, (place, letter)
    for cut in range(len(sealed)):
        assert tokens.open("session.1", sealed[:cut]) is None


def test_made_up_cookies(tokens: SignedTokens, tmp_path: Path) -> None:
    sealed = tokens.seal("session.1", VALUE)
    payload, _, signature = sealed.rpartition(".")
    other = base64.urlsafe_b64encode(json.dumps({**VALUE, "account": "kanri"}).encode()).decode()
    foreign = SignedTokens(tmp_path / "other.key").seal("session.1", VALUE)
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
        assert tokens.open("session.1", made_up) is None, made_up[:80]


def test_one_kind_is_no_other(tokens: SignedTokens) -> None:
    assert tokens.open("device.2", tokens.seal("session.1", VALUE)) is None
    assert tokens.open("form.1", tokens.seal("session.1", VALUE)) is None


def test_two_processes_agree_on_the_first_key(tmp_path: Path) -> None:
    sealed: list[str] = []
    start = threading.Barrier(8)

    def first() -> None:
        start.wait()
        sealed.append(SignedTokens(tmp_path / "session.key").seal("form.1", "x"))

    threads = [threading.Thread(target=first) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(sealed)) == 1


def test_a_truncated_key_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "session.key"
    path.write_bytes(b"")
    sealed = SignedTokens(path).seal("form.1", "x")
    assert len(path.read_bytes()) == 32
    assert SignedTokens(path).open("form.1", sealed) == "x"


def test_a_key_that_cannot_be_read_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "session.key").mkdir()
    with pytest.raises(FatalError):
        SignedTokens(tmp_path / "session.key").open("form.1", "x.y")
