"""Who is let in: the predicate, and a real console asked over HTTP and WebSocket."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

from pages.common import guard
from tests.browser import core
from tests.servers import console, free_port

HOST = ("Host", "127.0.0.1:8501")
PROXIED = {"X-Forwarded-For": "203.0.113.5"}


# The guard


@pytest.mark.parametrize(
    "client", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "0:0:0:0:0:0:0:1"]
)
@pytest.mark.parametrize("host", ["localhost:8501", "127.0.0.1", "[::1]:8501", "LOCALHOST"])
def test_the_machine_itself_may_work(client: str, host: str) -> None:
    assert guard.is_local(client, [("host", host)])
    assert guard.is_local(client, [("host", host), ("Origin", f"http://{host}")])


@pytest.mark.parametrize(
    "client",
    [None, "", "10.0.0.7", "203.0.113.5", "::", "0.0.0.0", "::ffff:10.0.0.7", "fe80::1",
     "127.0.0.1, 10.0.0.7", "localhost", "127.1", "unknown"],
)  # fmt: skip
def test_other_addresses_may_not(client: str | None) -> None:
    assert not guard.is_local(client, [HOST])


@pytest.mark.parametrize(
    "header",
    [("X-Forwarded-For", "127.0.0.1"), ("x-forwarded-proto", "https"), ("Forwarded", "for=::1"),
     ("X-Real-IP", "127.0.0.1"), ("Via", "1.1 proxy"), ("X-Forwarded-Host", ""),
     ("Origin", "http://evil.example"), ("Origin", "null"), ("Origin", "file://"),
     ("Host", "console.example")],
)  # fmt: skip
def test_proxies_and_other_sites_may_not(header: tuple[str, str]) -> None:
    assert not guard.is_local("127.0.0.1", [HOST, header])


@pytest.mark.parametrize(
    "host",
    ["", "himuro.example", "127.0.0.1.evil.example", "localhost.evil.example", "localhost@evil",
     "10.0.0.7:8501", "evil:80@localhost", "localhost/evil", "localhost:x", "[::1", "127.0.0.1#@e"],
)  # fmt: skip
def test_rebound_names_may_not(host: str) -> None:
    assert not guard.is_local("127.0.0.1", [("host", host)])


def test_without_a_host_header_nobody_may() -> None:
    assert not guard.is_local("127.0.0.1", [])


# A real console


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An installation with one finished run and no S3."""
    root = tmp_path_factory.mktemp("guarded")
    (root / "share").mkdir()
    (root / "share" / "a.txt").write_text("a")
    (root / "list.txt").write_text("\\\\fsx01\\share\\a.txt\n")
    env = {
        "HIMURO_DATA_DIR": str(root / "data"),
        "HIMURO_BUCKET": "himuro-guarded",
        "HIMURO_SHARES": f"\\\\fsx01\\share={root / 'share'}",
    }
    core(env, root, "init-db")
    core(env, root, "validate", "list.txt")
    return env


@pytest.fixture(scope="module")
def url(env: dict[str, str]) -> Iterator[str]:
    with console(env, free_port(), cwd=Path(env["HIMURO_DATA_DIR"])) as running:
        yield running.url


@pytest.fixture(scope="module")
def run_file(env: dict[str, str]) -> str:
    run = next((Path(env["HIMURO_DATA_DIR"]) / "runs").iterdir())
    return f"/files/{run.name}/run.json"


def screen_of(url: str, headers: dict[str, str], **state: str) -> str:
    """Ask for a page as a browser does; return everything the server sent, as one text."""
    sent = []
    there = urlsplit(url)
    name = headers.get("Host", there.netloc)
    with connect(
        f"ws://{name}/_stcore/stream",
        sock=socket.create_connection((there.hostname or "", there.port or 0), timeout=60),
        additional_headers={k: v for k, v in headers.items() if k != "Host"},
        open_timeout=60,
        proxy=None,
        max_size=None,
    ) as stream:
        stream.send(BackMsg(rerun_script=ClientState(**state)).SerializeToString())
        while True:
            data = stream.recv(timeout=60)
            assert isinstance(data, bytes)
            message = ForwardMsg.FromString(data)
            sent.append(str(data, "utf-8", "replace"))
            if message.WhichOneof("type") == "script_finished":
                return "".join(sent)


def status(url: str, path: str, headers: dict[str, str], method: str = "GET") -> int:
    answer = ask(url, path, headers, method)
    return answer.status


def ask(
    url: str, path: str, headers: dict[str, str], method: str = "GET"
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    with closing(connection):
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        response.read()
        return response


OPERATORS_ONLY = ("一覧をアップロードする", "依頼ID", "最近の実行", "内容を確認する")


@pytest.mark.parametrize("name", ["archive", "router", "pages/archive"])
def test_first_request_after_a_start_gets_nothing(env: dict[str, str], name: str) -> None:
    """Streamlit may run a file of ``pages`` by itself before the first ``st.navigation``."""
    with console(env, free_port(), cwd=Path(env["HIMURO_DATA_DIR"])) as running:
        text = screen_of(running.url, PROXIED, page_name=name)
    assert not any(word in text for word in OPERATORS_ONLY)


def test_the_operator_gets_the_page(url: str) -> None:
    text = screen_of(url, {}, page_name="archive")
    assert all(word in text for word in OPERATORS_ONLY)


@pytest.mark.parametrize("headers", [PROXIED, {"Host": "console.example"}])
def test_others_get_neither_the_page_nor_its_name(url: str, headers: dict[str, str]) -> None:
    text = screen_of(url, headers, page_name="archive")
    assert "ページが見つかりません" in text
    assert not any(word in text for word in OPERATORS_ONLY)
    start = screen_of(url, headers)
    assert "アーカイブされたファイルはまだありません" in start
    assert ":material/archive:" not in start  # the entry of the navigation


@pytest.mark.parametrize("headers", [PROXIED, {"Host": "console.example"}])
def test_the_check_up_is_not_for_others(url: str, headers: dict[str, str]) -> None:
    text = screen_of(url, headers, page_name="health")
    assert "ページが見つかりません" in text
    assert not any(word in text for word in ("点検を実行", "HIMURO_DATA_DIR", ":material/stetho"))
    assert "点検を実行" in screen_of(url, {}, page_name="health")


def test_downloads(url: str, run_file: str) -> None:
    answer = ask(url, run_file, {})
    assert answer.status == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    "headers",
    [PROXIED, {"Forwarded": "for=127.0.0.1"}, {"X-Real-IP": "::1"}, {"Host": "console.example"}],
)
def test_downloads_are_not_for_others(url: str, run_file: str, headers: dict[str, str]) -> None:
    assert status(url, run_file, headers) == 404
    assert status(url, "/drafts/x/problems.csv", headers) == 404
    assert status(url, "/checkup/report.txt", headers) == 404


@pytest.mark.parametrize("name", ["input.txt", "..%2f..%2fcatalogue.db", "run.json.tmp", "%2e%2e"])
def test_only_the_files_of_the_contract(url: str, run_file: str, name: str) -> None:
    assert status(url, run_file.replace("run.json", name), {}) in (400, 404)


def test_no_other_directory(url: str, run_file: str) -> None:
    for run_id in ("..", "%2e%2e", "runs", "20261123-000000-archive-000000", "%00"):
        assert status(url, f"/files/{run_id}/run.json", {}) in (400, 404), run_id


@pytest.mark.parametrize("path", ["/_stcore/metrics", "/_stcore/metrics/", "//_stcore/metrics"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_metrics_are_closed(url: str, path: str, method: str) -> None:
    assert status(url, path, {}, method) in (400, 404)


def test_uploads_are_not_for_others(url: str) -> None:
    path = "/_stcore/upload_file/session/file"
    assert status(url, path, PROXIED, "PUT") == 404
    assert status(url, path, {}, "PUT") != 404


def test_wrong_settings_are_no_traceback(env: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    broken = {**env, "HIMURO_RESTORE_DAYS": "many"}
    with console(broken, free_port(), log=log, cwd=tmp_path) as running:
        text = screen_of(running.url, {}, page_name="archive")
    assert "HIMURO_RESTORE_DAYS" in text
    assert "Traceback" not in text + log.read_text("utf-8")


def test_missing_schema_is_one_message(env: dict[str, str], tmp_path: Path) -> None:
    fresh = {**env, "HIMURO_DATA_DIR": str(tmp_path / "data")}
    with console(fresh, free_port(), cwd=tmp_path) as running:
        for name in ("", "archive"):
            assert "init-db" in screen_of(running.url, {}, page_name=name)
        core(fresh, tmp_path, "init-db")
        assert "まだありません" in screen_of(running.url, {})
