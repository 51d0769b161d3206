"""``HIMURO_DATABASE_URL``: any password, pasted or encoded, or a sentence about what to write."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from core.config.database_url import hide_password
from core.config.logs import without_secrets
from core.config.settings import load_settings
from core.errors import SettingsError
from db.connection.engine import make_engine
from tests.support.servers.postgres import PostgresServer


def meant(url: str) -> tuple[str | None, ...]:
    """Return user, password, host, port and database as SQLAlchemy takes them."""
    engine = make_engine(load_settings({"HIMURO_DATABASE_URL": url}).database_url)
    read = engine.url
    engine.dispose()
    assert read.drivername == "postgresql+psycopg2"
    port = None if read.port is None else str(read.port)
    password = None if read.password is None else str(read.password)
    return read.username, password, read.host, port, read.database


def refusal(url: str) -> str:
    with pytest.raises(SettingsError) as caught:
        make_engine(load_settings({"HIMURO_DATABASE_URL": url}).database_url)
    [problem] = caught.value.problems
    return problem


@pytest.mark.parametrize(
    "password",
    [
        "plain", "a[b", "a]b", "[a]", "]", "ge@heim", "@", "a:b", "::", "a/b", "a?b", "a#b",
        "50%", "%", "a b", "é日本", "[@:]", "a/b@c", "[::1]", "a+b&c=d", "''", "p%zz", "\\",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "place", ["db.example:5432/x", "[::1]/x", "127.0.0.1", "[fe80::1%eth0]:5/x"]
)
def test_a_password_may_hold_any_sign(password: str, place: str) -> None:
    host = {"[": "::1", "1": "127.0.0.1", "d": "db.example"}[place[0]]
    host = "fe80::1%eth0" if "eth0" in place else host
    for written in (password, quote(password, safe="")):
        user, read, where, *_ = meant(f"postgresql://himuro:{written}@{place}")
        assert (user, read, where) == ("himuro", password, host)


SIGNS = st.text(st.sampled_from("ab12@:[]/?#%é日=& 40"), max_size=12)


@given(SIGNS)
def test_a_pasted_password_is_read_as_it_is_or_refused(password: str) -> None:
    if "@" in password and "?" in password:
        return  # h in p@h?x=y is a host, that is what the standard says
    url = f"postgresql://u:{password}@host.example/db"
    try:
        read = meant(url)
    except SettingsError:
        return
    assert read == ("u", unquote(password), "host.example", None, "db")


@given(st.text(max_size=12), st.text(max_size=12))
def test_an_encoded_name_and_password_are_read_as_they_are(user: str, password: str) -> None:
    try:
        who = f"{quote(user, safe='')}:{quote(password, safe='')}"
    except UnicodeEncodeError:  # half of a pair
        return
    assert meant(f"postgresql://{who}@h:1/d")[:2] == (user, password)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://himuro:12?a=geheim@db/x",  # or host "himuro", port 12
        "postgresql://himuro:geheim@[::1/himuro",
        "postgresql://himuro:geheim@db:port/himuro",
        "postgresql://himuro:geheim@db:5432:1/himuro",
        "postgresql:himuro:geheim@db/x",
        "postgresql://himuro:geheim@a b/x",
        "postgresql://himuro:geheim@db/x?sslmode",
    ],
)
def test_what_cannot_be_told_is_refused_with_what_to_write(url: str) -> None:
    problem = refusal(url)
    assert "の書き方が正しくありません" in problem
    assert "@ は %40" in problem
    assert "[ は %5B" in problem
    assert "geheim" not in problem


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2", "PostgreSQL"]
)
def test_names_that_mean_the_same_database(scheme: str) -> None:
    assert meant(f"{scheme}://u:p@h/d") == ("u", "p", "h", None, "d")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql+asyncpg://u:geheim@h/d", "（asyncpg）は使えません。postgresql:// で"),
        ("postgres+pg8000://u:geheim@h/d", "（pg8000）は使えません。postgresql:// で"),
        ("postgresql+geheim://u:p@h/d", "ドライバーは使えません。postgresql:// で"),
        ("sqlite+aiosqlite:///a.db", "（aiosqlite）は使えません。sqlite:/// で"),
        (
            "mysql+pymysql://u:geheim@h/d",
            "sqlite または postgresql で始めてください（現在: mysql）",
        ),
        ("jdbc:postgresql://h/d", "sqlite または postgresql で始めてください（現在: jdbc）"),
        ("host=db password=geheim", "sqlite または postgresql で始めてください"),
        ("geheim", "sqlite または postgresql で始めてください"),
    ],
)
def test_other_drivers_and_databases(url: str, words: str) -> None:
    problem = refusal(url)
    assert words in problem
    assert "geheim" not in problem


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:ge@[hei]m@db:5432/x?a=b", "postgresql+psycopg2://u:***@db:5432/x"),
        ("postgresql://u:ge/he#im@db/x", "postgresql+psycopg2://u:***@db/x"),
        ("postgresql://u@db/x?password=geheim", "postgresql+psycopg2://u:***@db/x"),
        ("postgresql://:geheim@db/x", "postgresql+psycopg2://:***@db/x"),
        ("postgresql:///x?host=/run", "postgresql+psycopg2:///x"),
        ("postgresql://u:geheim@[::1", "***"),
        ("sqlite:////data/[1]/catalogue.db", "sqlite:////data/[1]/catalogue.db"),
    ],
)
def test_what_is_shown(url: str, shown: str) -> None:
    assert hide_password(url) == shown


@pytest.mark.parametrize("password", ["gehe[im", "ge]heim@x", "ge/he#im", "50%geheim", "ge%40heim"])
def test_no_form_of_a_password_is_logged(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIMURO_DATABASE_URL", f"postgresql://u:{password}@db/x")
    for form in (password, unquote(password), quote(unquote(password), safe="")):
        assert without_secrets(f"a {form} b") == "a *** b"


def test_of_a_url_that_cannot_be_read_nothing_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://himuro:ge[heim@[::1/himuro"
    monkeypatch.setenv("HIMURO_DATABASE_URL", url)
    assert without_secrets(f"{url} and ge[heim") == "*** and ***"


def test_a_real_server_takes_them(postgres: PostgresServer) -> None:
    password = "a[b]c@d:e/f?g#h%i j日"
    postgres.execute(f"CREATE ROLE \"ro:le@x\" LOGIN PASSWORD '{password}'")
    try:
        for who in (f"ro%3Ale%40x:{password}", f"ro%3Ale%40x:{quote(password, safe='')}"):
            url = f"postgresql+psycopg://{who}@/postgres?host={postgres.directory}"
            engine = make_engine(load_settings({"HIMURO_DATABASE_URL": url}).database_url)
            with engine.connect() as connection:
                assert connection.execute(text("SELECT current_user")).scalar_one() == "ro:le@x"
            engine.dispose()
    finally:
        postgres.execute('DROP ROLE "ro:le@x"')
