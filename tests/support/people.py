"""Accounts for tests, and signing in by HTTP as a browser does."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from argon2 import PasswordHasher

_QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""What a hash costs is written in it; these are compared in no time."""


class Person(NamedTuple):
    name: str
    role: str
    password: str


OPERATOR = Person("tanaka", "operator", "雪と氷の倉庫 7")
ADMINISTRATOR = Person("kanri", "administrator", "鍵は冷たい場所に 9")


def write_accounts(file: Path, *people: Person) -> Path:
    """Write an accounts file that holds exactly these people."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(
        f'[accounts.{name}]\nrole = "{role}"\npassword = "{_QUICK.hash(password)}"\n'
        for name, role, password in people
    )
    file.write_text(text, "utf-8")
    file.chmod(0o600)
    return file


@dataclass(frozen=True)
class Answer:
    """A response that was read to its end."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies it sets, with their attributes."""
        jar: SimpleCookie = SimpleCookie()
        for line in self.headers.get_all("Set-Cookie") or ():
            jar.load(line)
        return jar


def ask(
    url: str,
    path: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    body: str | None = None,
) -> Answer:
    """Send one request; redirects are not followed."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read().decode("utf-8", "replace"))
    finally:
        connection.close()


def cookie_header(cookies: SimpleCookie) -> str:
    return "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())


def sign_in_form(
    url: str, base: str = "", headers: dict[str, str] | None = None
) -> tuple[str, str]:
    """Open the sign-in page; returns its cookie header and its form token."""
    page = ask(url, f"{base}/signin", headers)
    assert page.status == 200, page.text
    found = re.search(r'name="token" value="([^"]+)"', page.text)
    assert found
    return cookie_header(page.cookies), found[1]


def post_form(url: str, path: str, headers: dict[str, str], **fields: str) -> Answer:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return ask(url, path, {**kind, **headers}, "POST", urlencode(fields))


def try_sign_in(
    url: str, name: str, password: str, *, base: str = "", headers: dict[str, str] | None = None
) -> Answer:
    """Fill in the sign-in page and send it."""
    cookie, token = sign_in_form(url, base, headers)
    fields = {"name": name, "password": password, "token": token}
    return post_form(url, f"{base}/signin", {"Cookie": cookie, **(headers or {})}, **fields)


def signed_in(url: str, person: Person, base: str = "", *, browser: str = "") -> dict[str, str]:
    """Sign in and return the headers of a browser that has; ``browser`` is what it calls
    itself."""
    headers = {"User-Agent": browser} if browser else None
    answer = try_sign_in(url, person.name, person.password, base=base, headers=headers)
    assert answer.status == 303, answer.text
    return {"Cookie": f"himuro_session={answer.cookies['himuro_session'].value}"}
