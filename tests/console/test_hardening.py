"""What the console shows to people who should see nothing: doors, headers, limits, secrets."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import streamlit as st
from playwright.sync_api import ConsoleMessage, Page
from streamlit.config import get_config_options
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from core.__main__ import WIRING
from core.cli.main import main
from core.config import logs
from core.config.settings import Settings
from core.ports import Catalogue
from pages import services
from pages.http import health_routes
from pages.http.health_routes import Readiness
from pages.http.shutdown import ending_with, keeping_up
from tests.console.test_guard import screen_of
from tests.support.environment import CHECKOUT, aws_environment, clean_environment, free_port
from tests.support.people import OPERATOR, signed_in, write_accounts
from tests.support.servers.browser import chromium, core, screen
from tests.support.servers.postgres import PostgresServer
from tests.support.servers.processes import console

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
BEHIND_TLS = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.5"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with a share and no schema yet."""
    root = tmp_path_factory.mktemp("hardened")
    (root / "share").mkdir()
    (root / "share" / "a.txt").write_text("a")
    (root / "list.txt").write_text("\\\\fsx01\\share\\a.txt\n")
    return root


@pytest.fixture(scope="module")
def env(place: Path) -> dict[str, str]:
    write_accounts(place / "data" / "accounts.toml", OPERATOR)
    return {
        "HIMURO_DATA_DIR": str(place / "data"),
        "HIMURO_BUCKET": "himuro-hardened",
        "HIMURO_SHARES": f"\\\\fsx01\\share={place / 'share'}",
    }


@pytest.fixture(scope="module")
def url(env: dict[str, str], place: Path) -> Iterator[str]:
    """A console that was started before anybody ran ``init-db``, and then somebody did."""
    log = place / "console.log"
    with console(env, free_port(), log=log, cwd=place) as running:
        assert "init-db" in log.read_text("utf-8")
        answer, body = get(running.url, "/readyz")
        assert (answer.status, body) == (
            503,
            "DATABASE_SCHEMA データベースの準備ができていません\n",
        )
        core(env, place, "init-db")
        yield running.url
    assert "Traceback" not in log.read_text("utf-8")


def get(
    url: str, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    with closing(connection):
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer, answer.read().decode("utf-8", "replace")


# Doors


CLOSED = (
    "/_stcore/metrics",
    "/_stcore/script-health-check",
    "/_stcore/agent/openapi.json",
    "/_stcore/agent/interact",
    "/_stcore/agent/mcp",
    "/_stcore/bidi-components/x/y.js",
    "/_stcore/anything",
    "/archive/_stcore/metrics",
    "/media/0123.csv",
    "/component/x/index.html",
)


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_closed(url: str, path: str, method: str) -> None:
    answer, body = get(url, path, method=method)
    assert answer.status == 404
    assert "agent" not in body


def test_every_route_of_streamlit_is_known() -> None:
    """A new version that brings another address fails here, and somebody decides about it."""
    done = subprocess.run(
        [sys.executable, "-c", _LIST_ROUTES],
        cwd=CHECKOUT,
        env={**clean_environment(), "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {
        # open: the front end needs them
        "/_stcore/health",
        "/_stcore/host-config",
        "/_stcore/stream",
        "/_stcore/upload_file/{session_id}/{file_id}",
        "/",
        # open: answer only when OIDC is set up
        "/auth/login",
        "/auth/logout",
        "/oauth2callback",
        # closed by pages/http/doors.py
        "/_stcore/metrics",
        "/_stcore/agent/interact",
        "/_stcore/agent/openapi.json",
        "/_stcore/agent/mcp",
        "/_stcore/bidi-components/{path:path}",
        "/component/{path:path}",
        "/media/{file_id:path}",
    }


_LIST_ROUTES = """
import app
from pages.http.routes import ROUTES
built = app.app._build_starlette_app()
ours = {route.path for route in ROUTES}
print(*sorted({route.path or "/" for route in built.routes} - ours))
"""


def test_sign_in_of_streamlit_is_shut_without_its_settings(url: str) -> None:
    for path in ("/auth/login?provider=x", "/oauth2callback?code=x&state=y"):
        answer, _body = get(url, path)
        assert answer.status in (302, 307, 400, 404), path
        assert urlsplit(answer.headers.get("Location", "")).netloc == "", path


def test_pages_use_nothing_that_is_closed() -> None:
    """Whoever wants one of these opens its door in pages/http/doors.py first."""
    for path in (CHECKOUT / "pages").rglob("*.py"):
        text = path.read_text("utf-8")
        found = re.findall(r"\b(?:download_button|image|audio|video|pdf|component)\(", text)
        assert not found, path


# Headers


@pytest.mark.parametrize(
    "path",
    ["/", "/archive", "/favicon.png", "/_stcore/health", "/_stcore/metrics", "/healthz", "/readyz",
     "/files/x/run.json", "//x", "/..%2f"],
)  # fmt: skip
def test_headers_stand_on_every_answer(url: str, path: str) -> None:
    answer, _body = get(url, path)
    for name, value in HEADERS.items():
        assert answer.headers.get_all(name) == [value], (path, name)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    assert answer.headers.get("Strict-Transport-Security") is None


def test_behind_tls_browsers_stay_there_and_cookies_are_secure(url: str) -> None:
    answer, _body = get(url, "/_stcore/health", BEHIND_TLS)
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    cookies = answer.headers.get_all("Set-Cookie")
    assert cookies
    for cookie in cookies:
        flags = [flag.strip() for flag in cookie.split(";")]
        assert flags.count("Secure") == 1, cookie
        assert "SameSite=Strict" in flags, cookie


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/_stcore/health", "GET"),
        ("/_stcore/host-config", "GET"),
        ("/_stcore/upload_file/a/b", "OPTIONS"),
    ],
)
def test_no_other_origin_may_read(url: str, path: str, method: str) -> None:
    answer, _body = get(url, path, {"Origin": "http://localhost:3000"}, method)
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://localhost:3000", "http://localhost", "null", "x://["]
)
def test_no_other_origin_may_open_a_websocket(url: str, origin: str) -> None:
    address = url.replace("http", "ws") + "/_stcore/stream"
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(address, origin=Origin(origin), proxy=None),
    ):
        pass
    assert refused.value.response.status_code == 403
    with connect(address, origin=Origin(url), proxy=None):
        pass


# Limits


def test_an_upload_that_is_too_large_is_refused_by_the_server(url: str) -> None:
    """Both ways of saying how much comes: a length, and pieces without any."""
    limit = st.get_option("server.maxUploadSize") or 25
    answer, _body = get(url, "/_stcore/health")
    token = answer.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    person = signed_in(url, OPERATOR)["Cookie"]
    xsrf = {"X-Xsrftoken": token, "Cookie": f"_streamlit_xsrf={token}; {person}"}
    with connect(url.replace("http", "ws") + "/_stcore/stream", proxy=None) as stream:
        session = _session(stream)
        path = f"/_stcore/upload_file/{session}/x"
        head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f.csv"\r\n\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=b", **xsrf}
        small = head + b"x" * 100 + b"\r\n--b--\r\n"
        assert _put(url, path, kind, small) == 204
        assert _put(url, path, {**kind, "Cookie": person}, small) == 403
        assert _put(url, path, {k: v for k, v in kind.items() if k != "Cookie"}, small) == 404
        length = str((limit + 2) * 1024 * 1024)
        assert _put(url, path, {**kind, "Content-Length": length}, b"") == 413
        pieces = _pieces(head, b"x" * 1024 * 1024, limit + 3)
        assert _put(url, path, {**kind, "Transfer-Encoding": "chunked"}, pieces) == 413


def _session(stream) -> str:  # type: ignore[no-untyped-def]
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ClientState_pb2 import ClientState
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

    stream.send(BackMsg(rerun_script=ClientState()).SerializeToString())
    while True:
        message = ForwardMsg.FromString(stream.recv(timeout=60))
        if message.WhichOneof("type") == "new_session":
            return str(message.new_session.initialize.session_id)


def _pieces(head: bytes, piece: bytes, count: int) -> Iterator[bytes]:
    for content in (head, *[piece] * count):
        yield b"%x\r\n%b\r\n" % (len(content), content)


def _put(url: str, path: str, headers: dict[str, str], body: bytes | Iterator[bytes]) -> int:
    there = urlsplit(url)
    connection = http.client.HTTPConnection(there.netloc, timeout=60)
    with closing(connection):
        connection.putrequest("PUT", path)
        if isinstance(body, bytes):
            headers = {"Content-Length": str(len(body)), **headers}
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        try:
            for piece in [body] if isinstance(body, bytes) else body:
                connection.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered already
        return connection.getresponse().status


# Health


def test_health_says_ok_and_no_more(url: str) -> None:
    for path in ("/healthz", "/readyz"):
        answer, body = _until_ready(url, path)
        assert (answer.status, body) == (200, "ok\n")
        assert answer.headers["Cache-Control"] == "no-store"
    assert get(url, "/readyz", method="POST")[0].status == 405


def _until_ready(url: str, path: str) -> tuple[http.client.HTTPResponse, str]:
    """Ask until a refusal that is still remembered is over."""
    deadline = time.monotonic() + 60
    while (answer := get(url, path))[0].status == 503 and time.monotonic() < deadline:
        continue
    return answer


def _answers(readiness: Readiness, count: int) -> list[str]:
    async def ask_at_once() -> list[str]:
        return await asyncio.gather(*(readiness.problem() for _ in range(count)))

    return asyncio.run(ask_at_once())


def test_many_who_ask_cost_one_question() -> None:
    asked: list[int] = []

    def probe() -> str:
        asked.append(1)
        return "PROBLEM"

    readiness = Readiness(probe, remembered=60)
    assert _answers(readiness, 50) == ["PROBLEM"] * 50
    assert _answers(readiness, 50) == ["PROBLEM"] * 50
    assert len(asked) == 1


def test_a_database_that_hangs_is_reported_in_time_and_asked_once() -> None:
    hanging, asked = threading.Event(), []

    def probe() -> str:
        asked.append(1)
        hanging.wait(60)
        return ""

    readiness = Readiness(probe, patience=0.05)
    assert all("TIMEOUT" in answer for answer in _answers(readiness, 20))
    assert all("TIMEOUT" in answer for answer in _answers(readiness, 20))
    assert len(asked) == 1
    hanging.set()
    assert _answers(Readiness(lambda: ""), 2) == ["", ""]


def test_a_mistake_in_the_check_is_no_silence(caplog: pytest.LogCaptureFixture) -> None:
    def probe() -> str:
        raise RuntimeError("unforeseen")

    assert _answers(Readiness(probe), 2)[0].startswith("INTERNAL ")
    assert "unforeseen" in caplog.text


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [
        ("HIMURO_DATABASE_URL", "postgresql://himuro:x@127.0.0.1:1/himuro", "DATABASE_UNAVAILABLE"),
        ("HIMURO_RESTORE_DAYS", "many", "SETTINGS"),
        ("HIMURO_DATA_DIR", "/proc/himuro", "DATA_DIR_UNWRITABLE"),
    ],
)
def test_ready_names_what_is_wrong(
    migrated_sqlite_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    value: str,
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIMURO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HIMURO_DATABASE_URL", f"sqlite:///{migrated_sqlite_file}")
    services.replace(None)
    try:
        assert health_routes.probe() == ""
        monkeypatch.setenv(setting, value)
        services.replace(None)
        assert health_routes.probe().partition(" ")[0] == problem
        assert value not in health_routes.probe()
    finally:
        services.replace(None)
    assert list(tmp_path.iterdir()) == []


# The log


def formatted(message: str, *arguments: object, exc: BaseException | None = None) -> str:
    record = logging.LogRecord("core.x", logging.WARNING, "x.py", 1, message, arguments, None)
    record.exc_info = (type(exc), exc, None) if exc else None
    return logs.OneRecord("%(levelname)s %(message)s").format(record)


def test_a_name_forges_no_line_in_the_log() -> None:
    text = formatted("%s", "a\n2026-10-05 ERROR forged\r\x1b[2Jb\u202ec\u2028d")
    assert text == "WARNING a\n    2026-10-05 ERROR forged\\u000d\\u001b[2Jb\\u202ec\\u2028d"
    text = formatted("x", exc=ValueError("one\nWARNING two"))
    assert text.splitlines()[-1] == "    WARNING two"


def test_no_secret_is_written_into_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HIMURO_DATABASE_URL", "postgresql://u:ge%40heim-1@h/d?sslpassword=geheim-9")
    text = formatted("ge%%40heim-1 ge@heim-1 geheim-9 %s", " ".join(SECRETS.values()))
    assert text == "WARNING *** *** *** *** ***"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "http://himuro:geheim@proxy.example.com:8080"),
        ("http_proxy", "http://himuro:geheim@proxy.example.com:8080"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "geheim"),
        ("AWS_SECURITY_TOKEN", "geheim"),
    ],
)
def test_nor_what_opens_a_proxy_or_a_role(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    text = formatted("asking %s", value)
    assert "geheim" not in text
    assert ("proxy.example.com:8080" in text) == ("proxy" in name.lower())


def test_the_log_names_the_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "m", (), None)
    record.created = 1_790_000_000.5
    formatter = logs.OneRecord("%(asctime)s")
    monkeypatch.setenv("HIMURO_TIMEZONE", "Asia/Tokyo")
    assert formatter.format(record) == "2026-09-21 23:13:20.500+09:00"
    monkeypatch.setenv("HIMURO_TIMEZONE", "No/Where")
    assert formatter.format(record) == "2026-09-21 14:13:20.500+00:00"


# Secrets

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "geheim-key-7f3a",
    "AWS_SESSION_TOKEN": "geheim-token-8b2c",
}
PASSWORD = "geheim-password-91d4"
"""Every secret of these tests holds the word that nothing may show."""


class Refusing(BaseHTTPRequestHandler):
    """An S3 that refuses, and quotes the token as the real one does."""

    def do_HEAD(self) -> None:  # noqa: N802
        self._refuse()

    do_GET = do_PUT = do_HEAD  # noqa: N815

    def _refuse(self) -> None:
        token = self.headers.get("x-amz-security-token", "")
        quoted = f"<Message>{token}</Message><Token-0>{token}</Token-0>"
        text = f"<Error><Code>InvalidToken</Code>{quoted}</Error>"
        self.send_response(400)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def log_message(self, *_arguments: object) -> None:
        return


@pytest.fixture
def refusing_s3() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def _failing_urls(postgres: PostgresServer) -> list[str]:
    return [
        postgres.url("postgres", password=PASSWORD),
        f"postgresql://himuro:{PASSWORD}@127.0.0.1:1/himuro",
        f"postgresql://himuro:{PASSWORD}@127.0.0.1:port/himuro",
        f"postgresql://himuro:{PASSWORD}@[::1/himuro",
        f"postgresql://himuro@127.0.0.1:1/himuro?password={PASSWORD}",
        f"postgresql://himuro@127.0.0.1:1/himuro?sslmode={PASSWORD}",
        f"postgresql://himuro@127.0.0.1:1/himuro?{PASSWORD}=1",
        f"postgresql:himuro:{PASSWORD}@127.0.0.1:1/himuro",
        f"mysql://himuro:{PASSWORD}@127.0.0.1/himuro",
        f"himuro:{PASSWORD}@127.0.0.1/himuro",
        f"{PASSWORD}://himuro@127.0.0.1/himuro",
        PASSWORD,
    ]


def _run_folders(root: Path) -> str:
    files = [path for path in root.rglob("*") if path.is_file()]
    return "".join(str(path) + path.read_text("utf-8", "replace") for path in files)


def test_commands_show_no_secret(
    env: dict[str, str],
    place: Path,
    postgres: PostgresServer,
    refusing_s3: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever is wrong with the database's URL, with the credentials, or with both."""
    data = tmp_path / "data"
    fails = {**env, **aws_environment(refusing_s3), **SECRETS, "HIMURO_DATA_DIR": str(data)}
    for name, value in fails.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    archive = ["archive", str(place / "list.txt"), "--request-id", "F-1", "--requester", "x"]
    for url in _failing_urls(postgres):
        monkeypatch.setenv("HIMURO_DATABASE_URL", url)
        for argv in (["search", "--json"], ["init-db"], archive):
            assert main(argv, WIRING) == 3, (argv, url)
        services.replace(None)
        assert health_routes.probe()
    monkeypatch.setenv("HIMURO_DATABASE_URL", "sqlite:///" + str(tmp_path / "catalogue.db"))
    assert main(["init-db"], WIRING) == 0
    assert main([*archive, "--json"], WIRING) == 3
    out, err = capfd.readouterr()
    assert "無効か、期限が切れています" in out
    shown = out + err + _run_folders(tmp_path)
    assert "geheim" not in shown, shown


def test_an_unforeseen_error_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql://himuro:{PASSWORD}@127.0.0.1/himuro"

    def broken(_settings: Settings) -> Catalogue:
        raise RuntimeError(url)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIMURO_DATABASE_URL", url)
    assert main(["search"], replace(WIRING, open_catalogue=broken)) == 3
    shown = "".join(capfd.readouterr())
    assert "RuntimeError: postgresql://himuro:***@127.0.0.1/himuro" in shown
    assert "geheim" not in shown


def test_the_console_shows_no_secret(
    env: dict[str, str], postgres: PostgresServer, refusing_s3: str, tmp_path: Path
) -> None:
    log = tmp_path / "console.log"
    wrong = {**env, **aws_environment(refusing_s3), **SECRETS}
    wrong["HIMURO_DATABASE_URL"] = postgres.url("postgres", password=PASSWORD)
    wrong["HIMURO_DATA_DIR"] = str(tmp_path / "data")
    with console(wrong, free_port(), log=log, cwd=tmp_path) as running:
        shown = [screen_of(running.url, {}, page_name=name) for name in ("", "archive")]
        shown += [get(running.url, path)[1] for path in ("/readyz", "/files/x/run.json", "/x")]
    assert "データベースに接続できません" in shown[0]
    assert "パスワードが正しくありません" not in "".join(shown)  # strangers need not know why
    assert "パスワードが正しくありません" in log.read_text("utf-8")
    assert "DATABASE_UNAVAILABLE" in shown[2]
    text = "".join(shown) + log.read_text("utf-8") + _run_folders(tmp_path)
    assert "DATABASE_URL" in log.read_text("utf-8")
    assert "geheim" not in text


# The end


def test_the_signal_ends_runs_while_a_browser_holds_the_server() -> None:
    """uvicorn comes to the lifespan's end only when the last download is over."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    closed = threading.Event()
    calls: list[int] = []

    def close() -> None:
        calls.append(1)
        closed.set()

    async def serve() -> None:
        async with ending_with(close):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
                assert await asyncio.to_thread(closed.wait, 60)

    try:
        asyncio.run(serve())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM] * 2  # the server's own handler
    assert len(calls) == 1


def test_without_a_signal_runs_end_with_the_server() -> None:
    calls: list[int] = []

    async def serve() -> None:
        async with ending_with(lambda: calls.append(1)):
            assert calls == []

    before = signal.getsignal(signal.SIGTERM)
    asyncio.run(serve())
    assert calls == [1]
    assert signal.getsignal(signal.SIGTERM) is before


# Settings of Streamlit


def test_every_setting_is_one_that_streamlit_knows() -> None:
    config = tomllib.loads((CHECKOUT / ".streamlit" / "config.toml").read_text("utf-8"))
    known = get_config_options()
    for section, options in config.items():
        for name in options:
            assert f"{section}.{name}" in known, name
    assert config["server"]["maxUploadSize"] > 20  # MiB, of one list


# Requests go only to what the settings name


def test_the_browser_asks_nobody_else_and_complains_of_nothing(url: str) -> None:
    """Every page, with the policy in force. Chromium reports what the policy forbids."""
    with chromium() as browser, screen(browser, url) as window:
        said = complaints(window.page)
        for path in ("/", "/archive", "/?q=x"):
            window.open(path)
        assert window.strangers == []
        assert said == []


def complaints(page: Page) -> list[str]:
    """Return what the console of the browser says, in the end.

    Not what it says of Streamlit's looking for its own addresses below those of the pages.
    """
    said: list[str] = []

    def note(message: ConsoleMessage) -> None:
        place = urlsplit(message.location.get("url", "")).path
        if not re.fullmatch(r"/\w+/_stcore/(health|host-config)", place):
            said.append(f"{message.type}: {message.text} {place}")

    page.on("console", note)
    page.on("pageerror", lambda error: said.append(str(error)))
    return said


_WITNESS = """
import os, sys
def witness(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        where = arguments[0] if event.startswith("socket.get") else arguments[1]
        with open(os.environ["WITNESS"], "a") as file:
            file.write(f"{where}\\n")
sys.addaudithook(witness)
"""


def test_the_process_connects_to_nobody_else(
    env: dict[str, str], place: Path, refusing_s3: str, tmp_path: Path
) -> None:
    """Every connection and every name looked up, by a console and by a command.

    A foreign ``Origin`` is among what the console is asked: to judge one, Streamlit alone
    would ask an address service for this machine's name.
    """
    (tmp_path / "sitecustomize.py").write_text(_WITNESS)
    witness = tmp_path / "witness.txt"
    watched = {
        **env,
        **aws_environment(refusing_s3),
        "HIMURO_DATA_DIR": str(tmp_path / "data"),
        "PYTHONPATH": os.pathsep.join((str(tmp_path), str(CHECKOUT))),
        "WITNESS": str(witness),
    }
    core(watched, tmp_path, "init-db")
    done = subprocess.run(
        [sys.executable, "-m", "core", "archive", str(place / "list.txt")]
        + ["--request-id", "F-1", "--requester", "x"],
        env={**clean_environment(), **watched},
        cwd=tmp_path,
    )
    assert done.returncode == 3
    with console(watched, free_port(), cwd=tmp_path) as running:
        assert "まだありません" in screen_of(running.url, {})
        with pytest.raises(InvalidStatus):
            screen_of(running.url, {"Origin": "http://evil.example"})
        assert get(running.url, "/readyz")[0].status == 200
    asked = set(witness.read_text().split("\n")) - {""}
    allowed = {"127.0.0.1", str(("127.0.0.1", urlsplit(refusing_s3).port))}
    assert asked == allowed


def test_what_is_done_every_few_seconds_goes_on_after_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def look_three_times() -> None:
        looked: list[int] = []
        enough = asyncio.Event()
        loop = asyncio.get_running_loop()

        def look() -> None:
            looked.append(1)
            if len(looked) == 3:
                loop.call_soon_threadsafe(enough.set)
            raise OSError("no space left")

        async with keeping_up(look, every=0):
            await asyncio.wait_for(enough.wait(), 60)

    asyncio.run(look_three_times())
    assert "no space left" in caplog.text
