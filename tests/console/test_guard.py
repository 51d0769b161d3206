"""Who is let in: a real console asked over HTTP and WebSocket, for every role."""

from __future__ import annotations

import ast
import http.client
import io
import re
import socket
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from websockets.sync.client import ClientConnection, connect

from pages.widgets import address
from tests.support.environment import CHECKOUT, free_port
from tests.support.people import (
    ADMINISTRATOR,
    OPERATOR,
    ask,
    cookie_header,
    post_form,
    signed_in,
    try_sign_in,
    write_accounts,
)
from tests.support.servers.browser import core
from tests.support.servers.processes import apart, console

NOBODY: dict[str, str] = {}
FORGED = {"Cookie": "himuro_session=eyJpZCI6ImEiLCJhY2NvdW50IjoidGFuYWthIn0.c2lnbmF0dXJl"}


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
        "HIMURO_RESTORE_ROOTS": str(root / "share"),
    }
    write_accounts(root / "data" / "accounts.toml", OPERATOR, ADMINISTRATOR)
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


class Tab:
    """A page opened as a browser does: a WebSocket, with the cookies of that moment."""

    def __init__(self, stream: ClientConnection) -> None:
        self._stream = stream

    def show(self, **state: Any) -> str:
        """Run the script; returns everything the server sent, as one text."""
        sent = []
        message = BackMsg(rerun_script=ClientState(**state))
        self._stream.send(message.SerializeToString())
        while True:
            data = self._stream.recv(timeout=60)
            assert isinstance(data, bytes)
            sent.append(str(data, "utf-8", "replace"))
            if ForwardMsg.FromString(data).WhichOneof("type") == "script_finished":
                return "".join(sent)


@contextmanager
def tab(url: str, headers: dict[str, str], base: str = "") -> Iterator[Tab]:
    there = urlsplit(url)
    with connect(
        f"ws://{there.netloc}{base}/_stcore/stream",
        sock=socket.create_connection((there.hostname or "", there.port or 0), timeout=60),
        additional_headers=headers,
        open_timeout=60,
        proxy=None,
        max_size=None,
    ) as stream:
        yield Tab(stream)


def screen_of(url: str, headers: dict[str, str], base: str = "", **state: str) -> str:
    with tab(url, headers, base) as opened:
        return opened.show(**state)


def fetch(url: str, path: str, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    with closing(connection):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response, response.read()


GUARDED = ("archive", "restore", "runs", "health")
OPERATORS_ONLY = ("一覧をアップロードする", "依頼ID", "最近の実行", "内容を確認する")
OF_RESTORES = ("復元の一覧をアップロードする", "アーカイブ一覧で探す")
OF_RUNS = ("実行履歴", "最新の状態にする")
OF_HEALTH = ("点検を実行", "HIMURO_DATA_DIR")
WORDS = {
    "archive": OPERATORS_ONLY,
    "restore": OF_RESTORES,
    "runs": OF_RUNS,
    "health": OF_HEALTH,
}
SECRET = OPERATORS_ONLY + OF_RESTORES + OF_RUNS + OF_HEALTH


@pytest.fixture(scope="module")
def operator(url: str) -> dict[str, str]:
    return signed_in(url, OPERATOR)


@pytest.fixture(scope="module")
def administrator(url: str) -> dict[str, str]:
    return signed_in(url, ADMINISTRATOR)


def test_every_guarded_page_is_tested_here() -> None:
    source = (CHECKOUT / "pages" / "router.py").read_text("utf-8")
    listed = [
        ast.unparse(call.args[2])
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Guarded"
    ]
    constants = {f"address.{name}": str(value) for name, value in vars(address).items()}
    assert tuple(constants.get(name, name.strip("'")) for name in listed) == GUARDED


@pytest.mark.parametrize("name", [*GUARDED, "router", "pages/archive"])
def test_first_request_after_a_start_gets_nothing(
    env: dict[str, str], name: str, tmp_path: Path
) -> None:
    """Streamlit may run a file of ``pages`` by itself before the first ``st.navigation``."""
    with console(apart(env, tmp_path), free_port(), cwd=tmp_path) as running:
        text = screen_of(running.url, FORGED, page_name=name)
        answer = ask(running.url, f"/{name}", FORGED)
    assert not any(word in text + answer.text for word in SECRET)


def gets(text: str, role: str, name: str) -> None:
    """Assert that what somebody with this role got at a guarded address is what is his."""
    if role == "administrator" or name != "health":
        assert all(word in text for word in WORDS[name])
    else:
        assert "ページが見つかりません" in text
        assert not any(word in text for word in WORDS[name])


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize("role", ["operator", "administrator"])
def test_first_request_after_a_start_with_a_session(
    env: dict[str, str], role: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A restart signs nobody out, and the first one to come gets what is his."""
    headers: dict[str, str] = request.getfixturevalue(role)
    with console(apart(env, tmp_path), free_port(), cwd=tmp_path) as running:
        gets(screen_of(running.url, headers, page_name=name), role, name)


@pytest.mark.parametrize("role", ["operator", "administrator"])
def test_who_is_signed_in_gets_the_page(
    url: str, role: str, request: pytest.FixtureRequest
) -> None:
    headers: dict[str, str] = request.getfixturevalue(role)
    for name in GUARDED:
        gets(screen_of(url, headers, page_name=name), role, name)
    start = screen_of(url, headers)  # the entries of the navigation
    assert ":material/archive:" in start
    assert (":material/stethoscope:" in start) is (role == "administrator")


@pytest.mark.parametrize("headers", [NOBODY, FORGED, {"Cookie": "himuro_session="}])
def test_others_get_neither_the_page_nor_its_name(url: str, headers: dict[str, str]) -> None:
    for name in GUARDED:
        text = screen_of(url, headers, page_name=name)
        assert "サインインが必要です" in text
        assert ("サインインした管理者だけ" in text) is (name == "health")
        assert not any(word in text for word in SECRET)
    start = screen_of(url, headers)
    assert "アーカイブされたファイルはまだありません" in start
    assert ":material/archive:" not in start  # the entry of the navigation


def test_downloads(url: str, run_file: str, operator: dict[str, str]) -> None:
    answer = ask(url, run_file, operator)
    assert answer.status == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("headers", [NOBODY, FORGED])
def test_downloads_are_not_for_others(url: str, run_file: str, headers: dict[str, str]) -> None:
    assert ask(url, run_file, headers).status == 404
    assert ask(url, "/drafts/x/problems.csv", headers).status == 404


@pytest.mark.parametrize(
    "name", ["input.txt.tmp", "..%2f..%2fcatalogue.db", "run.json.tmp", "%2e%2e"]
)
def test_only_the_files_of_the_contract(
    url: str, run_file: str, operator: dict[str, str], name: str
) -> None:
    assert ask(url, run_file.replace("run.json", name), operator).status in (400, 404)


def test_all_files_of_a_run_as_a_zip(
    url: str, env: dict[str, str], run_file: str, operator: dict[str, str]
) -> None:
    folder = run_file.rpartition("/")[0]
    run = Path(env["HIMURO_DATA_DIR"]) / "runs" / folder.rpartition("/")[2]
    (run / "plan.csv").symlink_to("/etc/hostname")
    try:
        answer, content = fetch(url, f"{folder}.zip", operator)
    finally:
        (run / "plan.csv").unlink()
    assert answer.status == 200
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{run.name}.zip"'
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Cache-Control"] == "no-store"
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        found = {name: bundle.read(name) for name in bundle.namelist()}
    assert found == {f"{run.name}/{path.name}": path.read_bytes() for path in run.iterdir()}
    assert set(found) == {f"{run.name}/input.txt", f"{run.name}/run.json"}
    for headers in (NOBODY, FORGED):
        assert ask(url, f"{folder}.zip", headers).status == 404
    for other in ("/files/...zip", "/files/20261123-000000-archive-000000.zip"):
        assert ask(url, other, operator).status == 404


def test_no_files_of_a_run_that_goes_on(
    url: str, env: dict[str, str], run_file: str, operator: dict[str, str]
) -> None:
    record = Path(env["HIMURO_DATA_DIR"]) / "runs" / run_file.split("/")[2] / "run.json"
    kept = record.read_text("utf-8")
    record.write_text(kept.replace('"state": "done"', '"state": "running"'), "utf-8")
    try:
        assert ask(url, run_file, operator).status == 404
        assert ask(url, run_file.rpartition("/")[0] + ".zip", operator).status == 404
    finally:
        record.write_text(kept, "utf-8")


def test_no_other_directory(url: str, run_file: str, operator: dict[str, str]) -> None:
    for run_id in ("..", "%2e%2e", "runs", "20261123-000000-archive-000000", "%00"):
        assert ask(url, f"/files/{run_id}/run.json", operator).status in (400, 404), run_id


@pytest.mark.parametrize("path", ["/_stcore/metrics", "/_stcore/metrics/", "//_stcore/metrics"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_metrics_are_closed(url: str, path: str, method: str, operator: dict[str, str]) -> None:
    assert ask(url, path, operator, method).status in (400, 404)


def test_uploads_are_not_for_others(url: str, operator: dict[str, str]) -> None:
    path = "/_stcore/upload_file/session/file"
    for headers in (NOBODY, FORGED):
        assert ask(url, path, headers, "PUT").status == 404
    assert ask(url, path, operator, "PUT").status != 404


def test_what_is_wrong_with_settings_is_for_the_log(env: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    broken = {**env, "HIMURO_RESTORE_DAYS": "many", "HIMURO_SHARES": "geheim-server"}
    with console(broken, free_port(), log=log, cwd=tmp_path) as running:
        texts = [screen_of(running.url, {}, page_name=name) for name in ("", "archive", "health")]
        answers = [ask(running.url, path) for path in ("/signin", "/readyz", "/exports/x")]
    for text in [*texts, answers[0].text]:
        assert "氷室はまだ使えるように設定されていません" in text
    assert [answer.status for answer in answers] == [503, 503, 404]
    told = "".join([*texts, *(answer.text for answer in answers)])
    written = log.read_text("utf-8")
    for secret in ("HIMURO_", "geheim-server", "many"):
        assert secret not in told
        assert secret in written
    assert "Traceback" not in told + written


def test_missing_schema_is_one_message(env: dict[str, str], tmp_path: Path) -> None:
    fresh = {**env, "HIMURO_DATA_DIR": str(tmp_path / "data")}
    write_accounts(tmp_path / "data" / "accounts.toml", OPERATOR)
    with console(fresh, free_port(), cwd=tmp_path) as running:
        operator = signed_in(running.url, OPERATOR)
        for name in ("", "archive"):
            assert "init-db" in screen_of(running.url, operator, page_name=name)
        core(fresh, tmp_path, "init-db")
        assert "まだありません" in screen_of(running.url, operator)


def test_an_open_tab_loses_its_right_at_the_next_click(
    url: str, env: dict[str, str], run_file: str
) -> None:
    accounts = Path(env["HIMURO_DATA_DIR"]) / "accounts.toml"
    good = accounts.read_text("utf-8")
    cookie = signed_in(url, ADMINISTRATOR)
    with tab(url, cookie) as opened, tab(url, cookie) as other:
        assert "内容を確認する" in opened.show(page_name="archive")
        accounts.write_text(good.replace("administrator", "operator"), "utf-8")
        assert "運用者" in opened.show(page_name="account")
        accounts.write_text(good + "broken", "utf-8")
        text = opened.show(page_name="archive")
        assert "アカウントのファイルに誤りがある" in text
        assert "内容を確認する" not in text
        assert ask(url, run_file, cookie).status == 404
        accounts.write_text(good, "utf-8")
        assert "内容を確認する" in opened.show(page_name="archive")
        # Somebody signs out in another tab.
        assert "サインアウト" in other.show(page_name="account")
        form = ask(url, "/signout", cookie)
        token = re.search(r'name="token" value="([^"]+)"', form.text)
        assert token
        both = {"Cookie": f"{cookie['Cookie']}; {cookie_header(form.cookies)}"}
        assert post_form(url, "/signout", both, token=token[1]).status == 303
        for each in (opened, other):
            text = each.show(page_name="archive")
            assert "サインインが必要です" in text
            assert "内容を確認する" not in text
        assert ask(url, run_file, cookie).status == 404
    assert "サインインが必要です" in screen_of(url, cookie, page_name="archive")


def test_removed_while_signed_in(url: str, env: dict[str, str], run_file: str) -> None:
    accounts = Path(env["HIMURO_DATA_DIR"]) / "accounts.toml"
    good = accounts.read_text("utf-8")
    cookie = signed_in(url, OPERATOR)
    with tab(url, cookie) as opened:
        assert "内容を確認する" in opened.show(page_name="archive")
        write_accounts(accounts, ADMINISTRATOR)
        try:
            assert "サインインが必要です" in opened.show(page_name="archive")
            assert ask(url, run_file, cookie).status == 404
        finally:
            accounts.write_text(good, "utf-8")


def test_ones_own_sessions_end_from_the_page(url: str, env: dict[str, str], run_file: str) -> None:
    """As a browser presses the buttons; those of other people go on."""
    accounts = Path(env["HIMURO_DATA_DIR"]) / "accounts.toml"
    good, suzuki = accounts.read_text("utf-8"), OPERATOR._replace(name="suzuki")
    accounts.write_text(good + good.split("[accounts.kanri]")[0].replace("tanaka", "suzuki"))
    try:
        mine, *others = [signed_in(url, suzuki) for _ in range(4)]
        somebody = signed_in(url, OPERATOR)
        with tab(url, mine) as opened:
            text = opened.show(page_name="account")
            assert len(set(re.findall(r"-end_[0-9a-f]{12}", text))) == 3
            assert text.count("このブラウザー") == 1
            assert "ほかの3件をすべてサインアウトさせる" in text
            first = re.search(r"\$\$ID-[0-9a-f]+-end_[0-9a-f]{12}", text)
            assert first
            assert "1件をサインアウトさせました" in press(opened, first[0])
            assert [ask(url, run_file, each).status for each in others].count(404) == 1
            every = re.search(r"\$\$ID-[0-9a-f]+-end_others", text)
            assert every
            assert "ほかの2件をサインアウトさせました" in press(opened, every[0])
        assert [ask(url, run_file, each).status for each in others] == [404] * 3
        assert [ask(url, run_file, each).status for each in (mine, somebody)] == [200] * 2
        # What has ended says so, and opens nothing, also in a tab that was open.
        assert "サインインが必要です" in screen_of(url, others[0], page_name="account")
    finally:
        accounts.write_text(good, "utf-8")


def press(opened: Tab, button: str) -> str:
    pressed = WidgetStates(widgets=[WidgetState(id=button, trigger_value=True)])
    return opened.show(page_name="account", widget_states=pressed)


def test_without_accounts_the_pages_say_how_to_open_them(url: str, env: dict[str, str]) -> None:
    accounts = Path(env["HIMURO_DATA_DIR"]) / "accounts.toml"
    good = accounts.read_text("utf-8")
    accounts.unlink()
    try:
        text = screen_of(url, NOBODY, page_name="archive")
    finally:
        write_accounts(accounts)
        accounts.write_text(good, "utf-8")
    assert "hash-password" in text
    assert "accounts.toml" in text
    assert env["HIMURO_DATA_DIR"] not in text


def test_below_a_sub_path_and_behind_tls(
    env: dict[str, str], run_file: str, tmp_path: Path
) -> None:
    """As a proxy on this machine passes it on; nothing is left outside the sub-path."""
    base, proxied = "/himuro", {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.5"}
    limited = {**apart(env, tmp_path), "HIMURO_IDLE_MINUTES": "45"}
    data = Path(limited["HIMURO_DATA_DIR"])
    with console(limited, free_port(), cwd=tmp_path, base=base) as running:
        answer = try_sign_in(
            running.url, OPERATOR.name, OPERATOR.password, base=base, headers=proxied
        )
        name = "__Host-himuro_session-himuro"  # for all paths: its name tells the sub-path
        cookie = answer.cookies[name]
        assert (cookie["path"], cookie["secure"]) == ("/", True)
        assert answer.headers["Location"] == f"{base}/"
        headers = {"Cookie": f"{name}={cookie.value}", **proxied}
        planted = {"Cookie": f"himuro_session={cookie.value}", **proxied}
        assert ask(running.url, base + run_file, planted).status == 404
        assert "サインインが必要です" in screen_of(running.url, planted, base, page_name="archive")
        assert ask(running.url, base + run_file, headers).status == 200
        assert ask(running.url, base + run_file, proxied).status == 404
        assert "内容を確認する" in screen_of(running.url, headers, base, page_name="archive")
        assert "45分間操作しないとき" in screen_of(running.url, headers, base, page_name="account")
        upload = "/_stcore/upload_file/session/file"
        assert ask(running.url, base + upload, proxied, "PUT").status == 404
        for n in range(60):  # by HTTP and by WebSocket
            forged = {"Cookie": f"{name}=forged.{n}", **proxied}
            assert ask(running.url, base + run_file, forged).status == 404
        assert "サインインが必要です" in screen_of(running.url, forged, base, page_name="archive")
        assert ask(running.url, f"{base}/_stcore/metrics", headers).status in (400, 404)
    lines = (data / "signin.log").read_text("utf-8").splitlines()
    assert "address=203.0.113.5" in [line for line in lines if "SIGNED_IN" in line][-1]
    assert sum("203.0.113.5" in line for line in lines) == 1
    failures = (data / "signin-failures.log").read_text("utf-8").splitlines()
    counted = [line for line in failures if "address=203.0.113.5 cookie=" in line]
    assert 1 <= len(counted) <= 3
    assert sum(int(line.partition("cookie=")[2]) for line in counted) > 60
