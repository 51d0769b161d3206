"""Signing in and out without pages: sessions, guessing, the audit log. Time is turned by hand."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.auth import passwords
from core.auth.accounts import AccountsError, Role
from core.auth.audit_log import Event, SignInLog
from core.auth.passwords import BusyError
from core.auth.sign_in import Access, SignIn
from core.config.settings import load_settings
from tests.support.people import ADMINISTRATOR, OPERATOR, Person, write_accounts

HOME = "10.0.0.7"
WRONG = "違うパスワード"


@dataclass
class Door:
    """A sign-in with its files and clock."""

    root: Path
    environ: dict[str, str]
    now: float = 1_800_000_000.0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        settings = load_settings({"HIMURO_DATA_DIR": str(self.root), **self.environ})
        self.signin = SignIn(settings, lambda: self.now, lambda: self.now)

    @property
    def accounts(self) -> Path:
        return self.root / "accounts.toml"

    def enter(self, person: Person = OPERATOR) -> str:
        attempt = self.signin.sign_in(person.name, person.password, HOME)
        assert attempt.token
        return attempt.token

    def who(self, token: str) -> tuple[str, Role] | None:
        user = self.signin.user(token, HOME)
        return (user.name, user.role) if user else None

    @property
    def log(self) -> list[str]:
        """The audit lines without their times."""
        return self._lines("signin.log")

    @property
    def failures(self) -> list[str]:
        """The lines of what failed so far, as if the minute were over."""
        self.signin.close()
        return self._lines("signin-failures.log")

    def _lines(self, name: str) -> list[str]:
        file = self.root / name
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        return [re.sub(r"^\[[-0-9: ]{19}\] ", "", line) for line in lines]


@pytest.fixture
def door(tmp_path: Path) -> Door:
    write_accounts(tmp_path / "accounts.toml", OPERATOR, ADMINISTRATOR)
    return Door(tmp_path, {})


def test_in_and_out(door: Door) -> None:
    token = door.enter()
    assert door.who(token) == ("tanaka", Role.OPERATOR)
    assert door.who(door.enter(ADMINISTRATOR)) == ("kanri", Role.ADMINISTRATOR)
    user = door.signin.user(token, HOME)
    assert user is not None
    door.signin.sign_out(user, HOME)
    assert door.who(token) is None
    assert door.failures == ["FAILED address=10.0.0.7 ended=1 accounts=tanaka"]
    door.restart()
    assert door.who(token) is None
    assert door.log == [
        "SIGNED_IN account=tanaka address=10.0.0.7",
        "SIGNED_IN account=kanri address=10.0.0.7",
        "SIGNED_OUT account=tanaka address=10.0.0.7",
    ]
    assert door.failures == ["FAILED address=10.0.0.7 ended=1 accounts=tanaka"] * 2


@pytest.mark.parametrize(
    ("name", "password"),
    [
        (OPERATOR.name, WRONG),
        (OPERATOR.name, ""),
        (OPERATOR.name, ADMINISTRATOR.password),
        ("nobody", OPERATOR.password),
        ("", ""),
        ("x" * 100_000, "y" * 100_000),
        ("\ud800\0\n", "\ud800\0"),
    ],
)
def test_nobody_else(door: Door, name: str, password: str) -> None:
    attempt = door.signin.sign_in(name, password, HOME)
    assert (attempt.token, attempt.device, attempt.wait) == ("", "", 0.0)
    known = name == OPERATOR.name
    what = "password=1 accounts=tanaka" if known else "name=1"
    assert door.failures == [f"FAILED address=10.0.0.7 {what}"]
    assert door.log == []


def test_an_account_removed_signs_out_at_once_and_for_good(door: Door) -> None:
    token = door.enter()
    text = door.accounts.read_text("utf-8")
    write_accounts(door.accounts, ADMINISTRATOR)
    assert door.who(token) is None
    door.accounts.write_text(text, "utf-8")
    assert door.who(token) is None


def test_another_password_signs_out_at_once(door: Door) -> None:
    token, other = door.enter(), door.enter(ADMINISTRATOR)
    write_accounts(door.accounts, OPERATOR)  # the same password, hashed anew
    assert door.who(token) is None
    assert door.who(other) is None


def test_another_role_counts_at_once(door: Door) -> None:
    token = door.enter(ADMINISTRATOR)
    text = door.accounts.read_text("utf-8")
    door.accounts.write_text(text.replace("administrator", "operator"), "utf-8")
    assert door.who(token) == ("kanri", Role.OPERATOR)


def test_a_broken_file_lets_nobody_in(door: Door) -> None:
    token = door.enter()
    good = door.accounts.read_text("utf-8")
    door.accounts.write_text(good + "oops", "utf-8")
    assert door.signin.access() is Access.BROKEN
    assert door.who(token) is None
    with pytest.raises(AccountsError):
        door.signin.sign_in(OPERATOR.name, OPERATOR.password, HOME)
    door.accounts.write_text(good, "utf-8")
    assert door.signin.access() is Access.OPEN
    assert door.who(token) == ("tanaka", Role.OPERATOR)


def test_without_accounts_nobody_gets_in(door: Door) -> None:
    token = door.enter()
    door.accounts.unlink()
    assert door.signin.access() is Access.NO_ACCOUNTS
    assert door.who(token) is None
    assert door.signin.sign_in(OPERATOR.name, OPERATOR.password, HOME).token == ""


def test_another_key_is_another_console(door: Door) -> None:
    token = door.enter()
    (door.root / "session.key").unlink()
    door.restart()
    assert door.who(token) is None
    assert door.failures == ["FAILED address=10.0.0.7 cookie=1"]


def test_forged_cookies_of_a_minute_are_one_line(door: Door) -> None:
    for n in range(500):
        assert door.who(f"forged.cookie{n}") is None
    door.now += 60
    assert door.who("forged.cookie") is None
    assert door.failures == [
        "FAILED address=10.0.0.7 cookie=500",
        "FAILED address=10.0.0.7 cookie=1",
    ]


def test_an_ended_session_that_an_open_page_asks_for_is_counted_once(door: Door) -> None:
    token = door.enter()
    door.now += 31 * 60
    for _ in range(50):
        assert door.who(token) is None
    assert door.log[-1] == "ENDED account=tanaka address=10.0.0.7 (idle limit)"
    assert door.failures == ["FAILED address=10.0.0.7 ended=1 accounts=tanaka"]


def test_a_session_too_many_ends_the_oldest_and_says_so(door: Door) -> None:
    first, *others = [door.enter() for _ in range(21)]
    assert door.log[20:] == [
        "ENDED account=tanaka (too many sessions)",
        "SIGNED_IN account=tanaka address=10.0.0.7",
    ]
    assert door.who(first) is None
    assert all(door.who(each) for each in others)


def test_limits_are_asked_at_every_request(door: Door) -> None:
    token = door.enter()
    for _ in range(24):
        door.now += 1800
        assert door.who(token)
    door.now += 1
    assert door.who(token) is None
    assert door.log[-1].endswith("(absolute limit)")


def test_the_idle_limit_is_that_of_the_settings(tmp_path: Path) -> None:
    write_accounts(tmp_path / "accounts.toml", OPERATOR)
    door = Door(tmp_path, {"HIMURO_IDLE_MINUTES": "5"})
    token = door.enter()
    door.now += 300
    assert door.who(token)
    door.now += 301
    assert door.who(token) is None
    assert door.log[-1] == "ENDED account=tanaka address=10.0.0.7 (idle limit)"


# Guessing


def test_brute_force(door: Door) -> None:
    """A million guesses from one place are five; the right password then has to wait too."""
    waits = [door.signin.sign_in(OPERATOR.name, WRONG, HOME).wait for _ in range(100)]
    assert waits == [0.0] * 5 + [30.0] * 95
    locked = door.signin.sign_in(OPERATOR.name, OPERATOR.password, HOME)
    assert (locked.token, locked.wait) == ("", 30.0)
    assert door.failures == ["FAILED address=10.0.0.7 password=5 locked=96 accounts=tanaka"]
    elsewhere = door.signin.sign_in(OPERATOR.name, OPERATOR.password, "10.0.0.8")
    assert elsewhere.token
    door.now += 30
    assert door.signin.sign_in(OPERATOR.name, OPERATOR.password, HOME).token


def test_unknown_names_are_locked_like_known_ones(door: Door) -> None:
    known = [door.signin.sign_in(OPERATOR.name, WRONG, HOME) for _ in range(8)]
    unknown = [door.signin.sign_in("nobody", WRONG, "10.0.0.8") for _ in range(8)]
    assert known == unknown


def test_unknown_names_take_the_same_work(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: one comparison of a hash of the same cost, whoever is asked for."""
    compared: list[str] = []
    matches = passwords.matches

    def counted(hashed: str, password: str, **_who: Any) -> bool:
        compared.append(hashed.rpartition("$")[0].rpartition("$")[0])
        return matches(hashed, password)

    monkeypatch.setattr(passwords, "matches", counted)
    for name in (OPERATOR.name, "nobody", ""):
        door.signin.sign_in(name, WRONG, HOME)
    # Somebody else's right password opens nothing.
    assert door.signin.sign_in("nobody", OPERATOR.password, HOME).token == ""
    assert len(compared) == 4
    assert len(set(compared)) == 1


def test_a_known_browser_is_not_locked_out_by_others(door: Door) -> None:
    device = door.signin.sign_in(OPERATOR.name, OPERATOR.password, HOME).device
    for _ in range(10):
        door.signin.sign_in(OPERATOR.name, WRONG, HOME)
    assert door.signin.sign_in(OPERATOR.name, OPERATOR.password, HOME).wait > 0
    assert door.signin.sign_in(OPERATOR.name, OPERATOR.password, HOME, device).token
    # It is worth nothing for another account, and no guess more than five for its own.
    for _ in range(10):
        door.signin.sign_in(ADMINISTRATOR.name, WRONG, HOME, device)
    locked = door.signin.sign_in(ADMINISTRATOR.name, ADMINISTRATOR.password, HOME, device)
    assert locked.wait > 0
    waits = [door.signin.sign_in(OPERATOR.name, WRONG, HOME, device).wait for _ in range(10)]
    assert waits.count(0.0) == 5


def test_guesses_at_the_same_moment(door: Door) -> None:
    looked_at = []
    start = threading.Barrier(12)

    def guess() -> None:
        start.wait()
        looked_at.append(door.signin.sign_in(OPERATOR.name, WRONG, HOME).wait == 0)

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert looked_at.count(True) == 5


def test_a_flood_is_refused_and_costs_nobody_an_attempt(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "_places", threading.BoundedSemaphore(1))
    passwords._places.acquire()
    for _ in range(20):
        with pytest.raises(BusyError, match="混み合って"):
            door.signin.sign_in(OPERATOR.name, OPERATOR.password, HOME)
    passwords._places.release()
    assert door.signin.sign_in(OPERATOR.name, OPERATOR.password, HOME).token


# The audit log


def test_times_are_those_of_the_setting(door: Door) -> None:
    door.enter()
    assert (door.root / "signin.log").read_text("utf-8").startswith("[2027-01-15 17:00:00] ")


def test_no_line_can_be_forged(door: Door) -> None:
    odd = "1.2.3.4\n[2027-01-15 17:00:00] SIGNED_IN account=kanri\u202e\x1b[2J"
    for name in (odd, "tanaka\r\nSIGNED_IN"):
        door.signin.sign_in(name, odd, odd)
    door.signin.user(odd, odd)
    assert door.failures == ["FAILED address=? name=2 cookie=1"]
    token = door.signin.sign_in(OPERATOR.name, OPERATOR.password, odd).token
    assert token
    text = (door.root / "signin.log").read_bytes()
    assert text.count(b"\n") == 1
    assert b"\x1b" not in text
    assert b"\r" not in text
    assert all(len(line.split()) == 5 for line in text.decode().splitlines())


def test_no_password_is_in_any_file(door: Door) -> None:
    door.enter()
    door.signin.sign_in(OPERATOR.password, OPERATOR.name, HOME)  # into the wrong field
    for file in door.root.iterdir():
        assert OPERATOR.password.encode() not in file.read_bytes(), file


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.auth.audit_log._MAX_BYTES", 500)
    log = SignInLog(tmp_path / "signin.log", load_settings({}).timezone, lambda: 0.0)
    for n in range(200):
        log.write(Event.SIGNED_IN, f"n{n}", HOME)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["signin.log", *(f"signin.log.{n}" for n in range(1, 6))]
    assert all(file.stat().st_size <= 500 for file in tmp_path.iterdir())
    assert "account=n199 " in (tmp_path / "signin.log").read_text()


def test_a_log_that_cannot_be_written_is_said_elsewhere(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    (door.root / "signin.log").mkdir()
    assert door.who(door.enter())
    assert "SIGNED_IN account=tanaka" in caplog.text


# An identity provider


@pytest.fixture
def provider(tmp_path: Path) -> Door:
    (tmp_path / "accounts.toml").write_text(
        '[[oidc]]\nemail = "sato@example.com"\nrole = "operator"\n'
        '[[oidc]]\ngroup = "admins"\nrole = "administrator"\n'
    )
    return Door(tmp_path, {"HIMURO_SIGNIN": "oidc"})


def claims(door: Door, **more: Any) -> dict[str, Any]:
    given = {"iss": "https://idp", "sub": "s-1", "iat": int(door.now), "nonce": "n1"}
    return {**given, "email": "sato@example.com", "email_verified": True, **more}


def test_claims_are_a_user(provider: Door) -> None:
    user = provider.signin.user_of_claims(claims(provider), HOME)
    assert user is not None
    assert (user.name, user.role) == ("sato@example.com", Role.OPERATOR)
    by_group = claims(provider, email="x", email_verified=False, groups=["admins"], sub="s-2")
    user = provider.signin.user_of_claims(by_group, HOME)
    assert user is not None
    assert (user.name, user.role) == ("s-2", Role.ADMINISTRATOR)
    assert provider.log == [
        "SIGNED_IN account=sato@example.com address=10.0.0.7 (OIDC)",
        "SIGNED_IN account=s-2 address=10.0.0.7 (OIDC)",
    ]


@pytest.mark.parametrize(
    "more",
    [
        {"email_verified": False},
        {"sub": ""},
        {"sub": None},
        {"iat": None},
        {"iat": True},
        {"iat": "now"},
        {"iat": 1_800_000_000 + 3600},
        {"iat": 1_800_000_000 - 13 * 3600},
        {"iat": float("nan")},
        {"email": "other@example.com"},
    ],
)
def test_claims_that_are_nobody(provider: Door, more: dict[str, Any]) -> None:
    assert provider.signin.user_of_claims(claims(provider, **more), HOME) is None


def test_a_provider_s_session_ends_like_any_other(provider: Door) -> None:
    first = claims(provider)
    user = provider.signin.user_of_claims(first, HOME)
    assert user is not None
    provider.signin.sign_out(user, HOME)
    assert provider.signin.user_of_claims(first, HOME) is None
    provider.restart()
    assert provider.signin.user_of_claims(first, HOME) is None
    provider.now += 60
    again = claims(provider, nonce="n2")
    assert provider.signin.user_of_claims(again, HOME)
    provider.now += 1801
    assert provider.signin.user_of_claims(again, HOME) is None
    provider.accounts.write_text("")
    assert provider.signin.access() is Access.NO_ACCOUNTS
    assert provider.signin.user_of_claims(claims(provider, nonce="n3"), HOME) is None


def test_a_provider_s_sessions_are_listed_and_ended(provider: Door) -> None:
    first, second = claims(provider), claims(provider, nonce="n2")
    stranger = claims(provider, sub="s-2", email="x", groups=["admins"])
    for each, browser in ((first, "Edge（Windows）"), (second, "Firefox（Linux）"), (stranger, "")):
        assert provider.signin.user_of_claims(each, HOME, browser)
    user = provider.signin.user_of_claims(second, "10.0.0.8")
    assert user is not None
    listed = provider.signin.sessions_of(user)
    assert [(each.first.browser, each.address, each.this) for each in listed] == [
        ("Firefox（Linux）", "10.0.0.8", True),
        ("Edge（Windows）", HOME, False),
    ]
    assert provider.signin.end_session(user, listed[1].handle, HOME)
    assert not provider.signin.end_session(user, listed[1].handle, HOME)
    assert provider.signin.user_of_claims(first, HOME) is None
    assert provider.signin.end_others(user, HOME) == 0
    assert provider.signin.user_of_claims(second, HOME)
    assert provider.signin.user_of_claims(stranger, HOME)
    assert provider.log[-1] == "ENDED account=sato@example.com address=10.0.0.7 (by its owner)"


def test_nobody_ends_the_session_of_another_account(door: Door) -> None:
    token, other = door.enter(), door.enter(ADMINISTRATOR)
    user, victim = door.signin.user(token, HOME), door.signin.user(other, HOME)
    assert user is not None
    assert victim is not None
    (theirs,) = door.signin.sessions_of(victim)
    assert not door.signin.end_session(user, theirs.handle, HOME)
    assert door.signin.end_others(user, HOME) == 0
    assert door.who(other) == ("kanri", Role.ADMINISTRATOR)
    assert door.who(token) == ("tanaka", Role.OPERATOR)


def test_one_way_in_is_not_the_other(door: Door, provider: Door, tmp_path: Path) -> None:
    write_accounts(provider.accounts, OPERATOR)
    attempt = provider.signin.sign_in(OPERATOR.name, OPERATOR.password, HOME)
    assert attempt.token == ""
    assert door.signin.user_of_claims(claims(provider), HOME) is None
