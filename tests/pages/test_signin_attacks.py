"""What somebody who is not signed in tries, as a browser or a script asks, and what is left of it.

The console's own routes and doors answer; clocks are turned by hand, messages are counted.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Scope

from core.auth import passwords
from core.auth.audit_log import Failure, FailureLog
from core.auth.sign_in import SignIn
from pages import services
from pages.auth.cookies import sift
from pages.services import Services
from tests.support.arrange import Desk
from tests.support.people import ADMINISTRATOR, OPERATOR, Person, write_accounts
from tests.support.servers.sign_in import (
    SITE,
    Served,
    browser,
    console_with_accounts,
    run_of,
    sign_in,
    token_of,
)

TLS = "https://console.example"
WRONG = "違うパスワード"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with console_with_accounts(tmp_path) as desk:
        yield desk


def from_address(address: str, site: str = SITE) -> httpx.Client:
    return httpx.Client(transport=Served(address), base_url=site)


def cookie(**values: str) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in values.items())}


def over_tls(client: httpx.Client, person: Person = OPERATOR) -> httpx.Response:
    form = {"name": person.name, "password": person.password}
    form["token"] = token_of(client.get("/signin"))
    return client.post("/signin", data=form, headers={"Origin": TLS})


# What is written down


def logs(desk: Desk) -> str:
    """Everything in the files of both logs, as if the minute were over."""
    services.current().signin.close()
    files = sorted(desk.settings.data_dir.glob("signin*.log*"))
    return "".join(file.read_text("utf-8") for file in files)


def test_forged_cookies_push_nothing_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 1 kB instead of 5 MB: 200 lines would push everything out of all six."""
    monkeypatch.setattr("core.auth.audit_log._MAX_BYTES", 1000)
    file = run_of(desk)
    assert sign_in(browser()).status_code == 303
    stranger = from_address("203.0.113.9")
    for n in range(200):
        assert stranger.get(file, headers=cookie(himuro_session=f"forged.{n}")).status_code == 404
    text = logs(desk)
    assert "SIGNED_IN account=tanaka address=10.0.0.7" in text
    lines = [line for line in text.splitlines() if "203.0.113.9" in line]
    assert 1 <= len(lines) <= 3  # minutes may end in between
    assert sum(int(n) for n in re.findall(r" cookie=(\d+)", text)) == 200


def test_failures_of_every_kind_are_counted(desk: Desk) -> None:
    client = browser()
    assert sign_in(client, Person(OPERATOR.name, "", WRONG)).status_code == 403
    assert sign_in(client, Person("nobody", "", WRONG)).status_code == 403
    client.post("/signin", data={"name": OPERATOR.name, "token": "x"})
    client.post("/signout", data={}, headers={"Origin": "http://evil.example"})
    client.get("/files/x.zip", headers=cookie(himuro_session="forged"))
    token = token_of(client.get("/signin"))
    form = {"name": OPERATOR.name, "password": WRONG, "token": token}
    client.cookies.set("himuro_device", "forged\t\x1b", domain="console.example")
    client.post("/signin", data=form)
    counts = re.findall(r"(\w+)=(\d+)(?= |$)", logs(desk), re.MULTILINE)
    found: dict[str, int] = {}
    for name, count in counts:
        found[name] = found.get(name, 0) + int(count)
    assert found == {"password": 2, "name": 1, "form": 2, "cookie": 1, "device": 1}


def test_addresses_that_write_a_line_are_bounded(desk: Desk) -> None:
    signin = services.current().signin
    for n in range(300):
        signin.user("forged", f"2001:db8:{n:x}::{n:x}")
        signin.user("forged", f"2001:db8:{n % 5:x}::1:2")
    lines = logs(desk).splitlines()
    assert len(lines) <= 3 * 21  # as many minutes as it may have taken
    assert "address=2001:db8::/64 cookie=" in lines[0]
    assert any("address=(others) cookie=" in line for line in lines)
    assert sum(int(line.rpartition("=")[2]) for line in lines) == 600


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=300)), max_size=30))
@example([("1.2.3.4\n[x] SIGNED_IN", "tanaka\r\nFAILED \x1b[2J"), ("fe80::1%\n", "a,b")])
def test_no_line_of_failures_can_be_forged(said: list[tuple[str, str]]) -> None:
    with TemporaryDirectory() as directory:
        file = Path(directory) / "signin-failures.log"
        log = FailureLog(file, ZoneInfo("Asia/Tokyo"), lambda: 1_800_000_000.0)
        for address, account in said:
            log.count(Failure.NAME, address, account)
        log.write(all_of_it=True)
        content = file.read_bytes() if said else b""
    lines = content.decode().split("\n")
    assert lines.pop() == ""
    assert len(lines) <= 21
    for line in lines:
        form = r"\[[-0-9: ]{19}\] FAILED address=[0-9a-f.:/?()others]+ name=\d+( accounts=\S+)?"
        assert re.fullmatch(form, line)
        assert not {"Cc", "Cs", "Zl", "Zp"} & set(map(unicodedata.category, line))
        assert len(line) < 1500


def test_changes_of_the_accounts_file(desk: Desk) -> None:
    """Also those of a time when no console ran."""
    file = desk.settings.accounts_file
    services.current().signin.keep_up()
    write_accounts(file, ADMINISTRATOR._replace(role="operator"), OPERATOR._replace(name="sato"))
    services.replace(Services(desk.settings, desk.catalogue, services.current().jobs))
    services.current().signin.keep_up()
    assert [line[22:] for line in logs(desk).splitlines()] == [
        "ACCOUNT_REMOVED account=tanaka (operator)",
        "ACCOUNT_ADDED account=sato (operator)",
        "ROLE_CHANGED account=kanri (administrator -> operator)",
        "PASSWORD_CHANGED account=kanri",
    ]
    file.write_text('[[oidc]]\nemail = "a@example.com"\nrole = "administrator"\n', "utf-8")
    services.current().signin.keep_up()
    services.current().signin.keep_up()
    assert [line[22:] for line in logs(desk).splitlines()][4:] == [
        "ACCOUNT_REMOVED account=kanri (operator)",
        "ACCOUNT_REMOVED account=sato (operator)",
        "RULE_ADDED account=email:a@example.com (administrator)",
    ]
    kept = (desk.settings.data_dir / "accounts.seen.json").read_text("utf-8")
    assert "argon2" not in kept


# Cookies over TLS


def test_cookies_over_tls_are_of_this_host_alone(desk: Desk) -> None:
    client = browser(TLS)
    for answer in (client.get("/signin"), over_tls(client)):
        for line in answer.headers.get_list("Set-Cookie"):
            assert line.startswith("__Host-himuro_")
            attributes = {part.strip().lower() for part in line.split(";")[1:]}
            assert {"secure", "path=/", "httponly", "samesite=lax"} <= attributes
            assert not any(part.startswith("domain") for part in attributes)
    assert answer.status_code == 303
    assert set(client.cookies) == {
        "__Host-himuro_session",
        "__Host-himuro_device",
        "__Host-himuro_form",
    }
    form = {"token": token_of(client.get("/signout"))}
    client.post("/signout", data=form, headers={"Origin": TLS})
    assert "__Host-himuro_session" not in client.cookies


@pytest.mark.parametrize(
    "planted",
    [
        "himuro_session={}",
        "\xa0himuro_session={}",
        "himuro_session\xa0={}",
        "\xa0__Host-himuro_session={}",
        "__Host-himuro_session\x1f={}",
        "__host-himuro_session={}",
        "__Host-himuro_session={0}; __Host-himuro_session={0}",
        "x=y; himuro_session={}",
    ],
)
def test_a_planted_cookie_counts_for_nothing_over_tls(desk: Desk, planted: str) -> None:
    """A subdomain can set a cookie for the whole domain, but none called ``__Host-…``."""
    file, client = run_of(desk), browser(TLS)
    assert over_tls(client).status_code == 303
    good = client.cookies["__Host-himuro_session"]
    ours = f"__Host-himuro_session={good}"
    raw = planted.format(good).encode("latin-1")
    assert browser(TLS).get(file, headers={"Cookie": ours}).status_code == 200
    assert browser(TLS).get(file, headers=[(b"Cookie", raw)]).status_code == 404
    halves = [(b"Cookie", ours.encode()), (b"Cookie", ours.encode())]
    assert browser(TLS).get(file, headers=halves).status_code == 404
    # Beside the true one it changes nothing, or nobody is signed in.
    both = [(b"Cookie", ours.encode() + b"; " + planted.format("forged").encode("latin-1"))]
    assert browser(TLS).get(file, headers=both).status_code in (200, 404)
    assert browser().get(file, headers={"Cookie": ours}).status_code == 404  # nor without TLS


def test_other_cookies_pass_the_door_as_they_are(desk: Desk) -> None:
    client = browser(TLS)
    assert over_tls(client).status_code == 303
    file, good = run_of(desk), client.cookies["__Host-himuro_session"]
    header = f'a="b c"; =x; y; __Host-himuro_session={good}; himuro_form=planted; z=1=2'
    assert browser(TLS).get(file, headers={"Cookie": header}).status_code == 200


_NAMES = ("himuro_session", "__Host-himuro_session", "__host-himuro_session", "other", "")
_ODD = st.text(st.sampled_from(" \t\x1f\xa0\x85") | st.characters(max_codepoint=255), max_size=3)
_PARTS = st.tuples(_ODD, st.sampled_from(_NAMES), _ODD, st.sampled_from(["=", ""]), _ODD)


@given(st.lists(_PARTS.map("".join), max_size=6), st.booleans())
@example(["\xa0himuro_session=x"], True)
@example(["himuro_session\x85=x", "other=y"], True)
def test_what_counts_is_what_starlette_reads(parts: list[str], tls: bool) -> None:
    """Whatever stands in the header: what is read later has one of the two names, and others
    are as they were."""
    header = ";".join(parts)
    scope: Scope = {"type": "http", "scheme": "https" if tls else "http", "path": "/"}
    scope["headers"] = [(b"x", b"himuro_session=y"), (b"cookie", header.encode("latin-1"))]
    before = Request({**scope}).cookies
    sift(scope)
    after = Request({**scope}).cookies
    assert "himuro_session" not in after if tls else "__Host-himuro_session" not in after
    others = {name: value for name, value in before.items() if "himuro" not in name.lower()}
    assert {name: value for name, value in after.items() if "himuro" not in name.lower()} == others
    assert (b"x", b"himuro_session=y") in scope["headers"]


def test_a_form_cookie_that_was_planted_does_not_fit(desk: Desk) -> None:
    """Signing somebody in as somebody else takes a form cookie of this very host."""
    other = browser(TLS)
    token = token_of(other.get("/signin"))
    value = other.cookies["__Host-himuro_form"]
    form = {"name": OPERATOR.name, "password": OPERATOR.password, "token": token}
    planted = cookie(himuro_form=value)
    assert browser(TLS).post("/signin", data=form, headers=planted).status_code == 403


# Browsers that have signed in before


def devices(desk: Desk, now: list[float]) -> SignIn:
    return SignIn(desk.settings, lambda: now[0], lambda: now[0])


def is_known(signin: SignIn, device: str) -> bool:
    """Return whether a browser gets in where everybody else at its address is locked out."""
    for _ in range(8):
        signin.sign_in(OPERATOR.name, WRONG, "10.0.0.7")
    answer = signin.sign_in(OPERATOR.name, OPERATOR.password, "10.0.0.7", device)
    return bool(answer.token)


def test_a_device_cookie_ends_on_the_server(desk: Desk) -> None:
    now = [1_800_000_000.0]
    device = devices(desk, now).sign_in(OPERATOR.name, OPERATOR.password, "10.0.0.7").device
    now[0] += 90 * 86400
    assert is_known(devices(desk, now), device)
    now[0] += 1
    assert not is_known(devices(desk, now), device)


def test_a_device_cookie_ends_with_a_new_password(desk: Desk) -> None:
    now = [1_800_000_000.0]
    device = devices(desk, now).sign_in(OPERATOR.name, OPERATOR.password, "10.0.0.7").device
    assert is_known(devices(desk, now), device)
    write_accounts(desk.settings.accounts_file, OPERATOR)  # the same one, hashed anew
    assert not is_known(devices(desk, now), device)


# Forty addresses


def test_an_owner_gets_in_while_forty_addresses_guess(desk: Desk) -> None:
    """Through the form: he comes back when the answer says so, and is let in."""
    now = [1_800_000_000.0]
    signin = devices(desk, now)
    addresses = [f"203.0.113.{n}" for n in range(40)]
    for _ in range(120):
        for address in addresses:
            signin.sign_in(OPERATOR.name, WRONG, address)
        now[0] += 60
    services.current().signin = signin
    owner = from_address("198.51.100.7")
    answer = sign_in(owner)
    waited = 0
    while answer.status_code == 429:
        wait = int(answer.headers["Retry-After"])
        assert "もう一度サインインしてください" in answer.text
        waited += wait
        for address in addresses:
            signin.sign_in(OPERATOR.name, WRONG, address)
        now[0] += wait
        answer = sign_in(owner)
    assert (answer.status_code, waited <= 31) == (303, True)


def test_a_neighbourhood_that_floods_leaves_places_to_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight guesses from one /24 wait behind a comparison that takes its time."""
    signin = services.current().signin
    slots = threading.BoundedSemaphore(1)
    entered: list[str] = []
    waiting = threading.Semaphore(0)
    held = passwords._held

    class Waiting:
        """The slot, which tells that somebody has come to it."""

        def __enter__(self) -> None:
            waiting.release()
            slots.acquire()

        def __exit__(self, *_exc: object) -> None:
            slots.release()

    monkeypatch.setattr(passwords, "_slots", Waiting())

    def guess(number: int) -> None:
        signin.sign_in(f"nobody{number}", WRONG, f"203.0.113.{number}")

    slots.acquire()
    threads = [threading.Thread(target=guess, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert waiting.acquire(timeout=60)
    with pytest.raises(passwords.BusyError):
        signin.sign_in("nobody", WRONG, "203.0.113.200")
    owner = threading.Thread(
        target=lambda: entered.append(
            signin.sign_in(OPERATOR.name, OPERATOR.password, "198.51.100.7").token
        )
    )
    owner.start()
    assert waiting.acquire(timeout=60)  # he has a place
    slots.release()
    for thread in (*threads, owner):
        thread.join()
    assert len(entered) == 1
    assert entered[0]
    assert not held


def test_a_flood_leaves_known_browsers_their_place(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    signin = services.current().signin
    device = signin.sign_in(OPERATOR.name, OPERATOR.password, "10.0.0.7").device
    monkeypatch.setattr(passwords, "_places", threading.BoundedSemaphore(1))
    passwords._places.acquire()
    with pytest.raises(passwords.BusyError):
        signin.sign_in(OPERATOR.name, OPERATOR.password, "10.0.0.8")
    assert signin.sign_in(OPERATOR.name, OPERATOR.password, "10.0.0.7", device).token
    assert "FAILED address=10.0.0.8 busy=1 accounts=tanaka" in logs(desk)
