"""``/signin``, ``/signout`` and the guarded routes, as a browser or an attacker asks them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pages import services
from pages.auth.signin import own_place
from pages.services import Services
from tests.support.arrange import Desk
from tests.support.people import ADMINISTRATOR, OPERATOR, Person, write_accounts
from tests.support.servers.sign_in import (
    ORIGIN,
    SITE,
    browser,
    console_with_accounts,
    run_of,
    sign_in,
    token_of,
)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with console_with_accounts(tmp_path) as desk:
        yield desk


@pytest.fixture
def client(desk: Desk) -> httpx.Client:
    return browser()


def test_the_form(client: httpx.Client) -> None:
    page = client.get("/signin", params={"next": "/archive?run=20261123-000000-archive-00"})
    assert page.status_code == 200
    assert 'value="/archive?run=20261123-000000-archive-00"' in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "<script" not in page.text
    outside = [a for a in re.findall(r'(?:href|src|action)="([^"]*)"', page.text) if a[0] != "/"]
    assert outside == []


def test_the_cookie(client: httpx.Client) -> None:
    answer = sign_in(client, next="/archive")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/archive")
    (cookie,) = [c for c in answer.headers.get_list("Set-Cookie") if c.startswith("himuro_session")]
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert attributes == {"httponly", "samesite=lax", "path=/"}
    assert OPERATOR.name not in cookie.partition(";")[0]


def test_the_cookie_behind_tls(desk: Desk) -> None:
    site = "https://console.example"
    client = browser(site)
    token = token_of(client.get("/signin"))
    form = {"name": OPERATOR.name, "password": OPERATOR.password, "token": token}
    answer = client.post("/signin", data=form, headers={"Origin": site})
    assert answer.status_code == 303
    assert all("; secure" in c.lower() for c in answer.headers.get_list("Set-Cookie"))


def test_wrong_password_and_unknown_name_look_alike(client: httpx.Client) -> None:
    pages = [
        sign_in(client, Person(name, "", "違うパスワード")) for name in (OPERATOR.name, "nobody12")
    ]
    texts = {re.sub(r'name="(name|token)" value="[^"]*"', "", page.text) for page in pages}
    assert len(texts) == 1
    assert [page.status_code for page in pages] == [403, 403]
    assert "himuro_session" not in client.cookies


def test_too_many_attempts(client: httpx.Client) -> None:
    answers = [sign_in(client, Person(OPERATOR.name, "", "x")) for _ in range(7)]
    assert [a.status_code for a in answers] == [403] * 5 + [429] * 2
    assert "待って" in answers[-1].text
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 31
    assert sign_in(client).status_code == 429


def test_what_was_typed_cannot_become_html(client: httpx.Client) -> None:
    odd = '"><script>alert(1)</script>{token}'
    page = sign_in(client, Person(odd, "", odd), next=odd)
    assert "<script" not in page.text
    assert "&quot;&gt;&lt;script&gt;" in page.text


# Forms of somebody else


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://[::1"},
        {"Origin": f"{SITE}.evil.example"},
        {"Origin": "http://console.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/signin", "/signout"])
def test_other_sites_send_nothing(
    desk: Desk, client: httpx.Client, headers: dict[str, str], path: str
) -> None:
    file = run_of(desk)
    assert sign_in(client).status_code == 303
    form = {"name": ADMINISTRATOR.name, "password": ADMINISTRATOR.password}
    form["token"] = token_of(client.get("/signout"))
    before = client.cookies["himuro_session"]
    assert client.post(path, data=form, headers={**ORIGIN, **headers}).status_code == 403
    assert client.cookies["himuro_session"] == before
    assert client.get(file).status_code == 200


def test_a_form_needs_its_cookie(desk: Desk) -> None:
    one, other = browser(), browser()
    token = token_of(one.get("/signin"))
    form = {"name": OPERATOR.name, "password": OPERATOR.password}
    other.get("/signin")
    for sent in ({}, {"token": ""}, {"token": "x"}, {"token": token}):
        assert other.post("/signin", data={**form, **sent}, headers=ORIGIN).status_code == 403
    assert browser().post("/signin", data={**form, "token": token}).status_code == 403
    # A browser that is too old to say where it comes from still has the token.
    assert one.post("/signin", data={**form, "token": token}).status_code == 303


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "application/x-www-form-urlencoded"),
        (b"a" * 1_000_000, "application/x-www-form-urlencoded"),
        (b"\xff=\xff", "application/x-www-form-urlencoded"),
        (b"%ff=%ff&token=%00", "application/x-www-form-urlencoded"),
        (b"&".join(b"a=b" for _ in range(100)), "application/x-www-form-urlencoded"),
        (b'{"name": "tanaka"}', "application/json"),
        (b"name=tanaka", "text/plain"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
    ],
)
def test_bodies_that_are_no_form(client: httpx.Client, content: bytes, kind: str) -> None:
    client.get("/signin")
    answer = client.post("/signin", content=content, headers={**ORIGIN, "Content-Type": kind})
    assert answer.status_code == 403
    assert "有効期限" in answer.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods(client: httpx.Client, method: str) -> None:
    assert client.request(method, "/signin").status_code == 405


# Where to go afterwards


@pytest.mark.parametrize(
    "wanted",
    ["/", "/archive", "/runs?run=20261123-1&kind=archive", "/restore?q=%E5%96%B6+a", "/a/b-c_d"],
)
def test_own_places(wanted: str) -> None:
    assert own_place(wanted) == wanted


@pytest.mark.parametrize(
    "wanted",
    [
        "", "archive", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example",
        "/\t/evil.example", "/%2f%2fevil.example", "/%5cevil.example", "http://evil.example",
        "https:evil", "javascript:alert(1)", "/a//evil", "/..//evil", "/.", "/a\r\nSet-Cookie: x=y",
        "/a?\r\nx", "/a#//evil", "/@evil.example", "/a?x=y\\", " /a", "/a ", "/a\n", "/ａ",
        "/" + "a" * 3000,
    ],
)  # fmt: skip
def test_open_redirects(client: httpx.Client, wanted: str) -> None:
    assert own_place(wanted) == "/"
    answer = sign_in(client, next=wanted)
    assert answer.headers["Location"] == "/"
    again = client.get("/signin", params={"next": wanted})
    assert (again.status_code, again.headers["Location"]) == (303, "/")


@settings(max_examples=300)
@given(st.text(st.sampled_from("/\\:.@?#%2f5c\t\r\n aeviljs")) | st.text())
@example("/\x0b/evil")
def test_no_text_leads_elsewhere(wanted: str) -> None:
    place = own_place(wanted)
    assert place.isascii()
    assert place.isprintable()
    assert urlsplit(urljoin("https://console.example/signin", place)).netloc == "console.example"
    assert place.startswith("/")
    assert not place.startswith(("//", "/\\"))


# The end of a session


def test_signing_out_ends_every_copy(desk: Desk, client: httpx.Client) -> None:
    file = run_of(desk)
    assert client.get(file).status_code == 404
    sign_in(client)
    copy = {"Cookie": f"himuro_session={client.cookies['himuro_session']}"}
    assert client.get(file).status_code == 200
    assert browser().get(file, headers=copy).status_code == 200
    assert client.get("/signout").status_code == 200
    assert client.get(file).status_code == 200  # a link signs nobody out
    form = {"token": token_of(client.get("/signout"))}
    answer = client.post("/signout", data=form, headers=ORIGIN)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/signin?done=1")
    assert "himuro_session" not in client.cookies
    assert "サインアウトしました" in client.get("/signin?done=1").text
    assert client.get(file).status_code == 404
    assert browser().get(file, headers=copy).status_code == 404
    # What was ended stays ended when the console starts again.
    services.replace(Services(desk.settings, desk.catalogue, services.current().jobs))
    assert browser().get(file, headers=copy).status_code == 404


def test_signing_in_anew_ends_the_session_before(desk: Desk, client: httpx.Client) -> None:
    file = run_of(desk)
    sign_in(client)
    copy = {"Cookie": f"himuro_session={client.cookies['himuro_session']}"}
    token = token_of(client.get("/signout"))
    form = {"name": ADMINISTRATOR.name, "password": ADMINISTRATOR.password, "token": token}
    assert client.post("/signin", data=form, headers=ORIGIN).status_code == 303
    assert browser().get(file, headers=copy).status_code == 404
    assert client.get(file).status_code == 200


def test_a_session_brought_along_is_not_taken_over(client: httpx.Client) -> None:
    """Nobody can give a browser a session id and wait until its owner signs in with it."""
    client.cookies.set(
        "himuro_session", "chosen-by-somebody-else", domain="console.example", path="/"
    )
    sign_in(client)
    assert client.cookies["himuro_session"] != "chosen-by-somebody-else"


def test_downloads_follow_the_accounts_file(desk: Desk, client: httpx.Client) -> None:
    file = run_of(desk)
    sign_in(client)
    assert client.get(file).status_code == 200
    write_accounts(desk.settings.accounts_file, ADMINISTRATOR)
    assert client.get(file).status_code == 404


@pytest.mark.parametrize("place", [0, 5, 30, -30, -2])
def test_a_changed_cookie_opens_nothing(desk: Desk, client: httpx.Client, place: int) -> None:
    file = run_of(desk)
    sign_in(client)
    good = client.cookies["himuro_session"]
    letters = list(good)
    letters[place] = "A" if letters[place] != "A" else "B"
    for bad in ("".join(letters), good[:-1], good + "A", f'"{good}"'[:-2], "", "x" * 5000):
        answer = browser().get(file, headers={"Cookie": f"himuro_session={bad}"})
        assert answer.status_code == 404, bad


def test_a_device_cookie_is_no_session(desk: Desk, client: httpx.Client) -> None:
    file = run_of(desk)
    sign_in(client)
    device, form = client.cookies["himuro_device"], client.cookies["himuro_form"]
    for other in (device, form):
        cookie = {"Cookie": f"himuro_session={other}"}
        assert browser().get(file, headers=cookie).status_code == 404


# When nobody can sign in


def test_a_broken_file_says_so(desk: Desk, client: httpx.Client) -> None:
    desk.settings.accounts_file.write_text("[accounts", "utf-8")
    assert "誤りがある" in client.get("/signin").text
    answer = sign_in(client)
    assert answer.status_code == 503
    assert str(desk.root) not in answer.text


def test_no_accounts_say_so(desk: Desk, client: httpx.Client) -> None:
    desk.settings.accounts_file.unlink()
    assert "アカウントがまだありません" in client.get("/signin").text
    assert sign_in(client).status_code == 403


def test_a_data_directory_that_cannot_be_written(desk: Desk, client: httpx.Client) -> None:
    (desk.root / "data" / "session.key").mkdir()
    answer = client.get("/signin")
    assert answer.status_code == 503
    assert "書き込" in answer.text
