"""The administrator's page: the check-up and the settings."""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.health import checks
from core.jobs.queue import Jobs
from core.s3 import health
from pages import services
from pages.auth import guard
from pages.services import Services
from tests.pages.test_every_page import shown
from tests.support.arrange import Desk, no_restores
from tests.support.servers.buckets import Bucket

PAGE = "from pages.health import page as health\nhealth.render()"


@pytest.fixture
def desk(tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    environ = {
        "HIMURO_BUCKET": bucket.name,
        "HIMURO_DATABASE_URL": "postgresql://himuro:geheim@127.0.0.1:1/himuro",
    }
    desk = Desk(tmp_path, environ=environ)
    desk.write("a.txt", "a")
    monkeypatch.setattr(checks, "DEADLINE_SECONDS", 60)
    monkeypatch.setattr(health, "_READ_SECONDS", 60)
    settings = desk.settings
    jobs = Jobs(settings, desk.catalogue, lambda _settings: desk.store, no_restores)
    services.replace(Services(settings, desk.catalogue, jobs))
    yield desk
    services.replace(None)


@pytest.fixture
def administrator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "is_administrator", lambda: True)
    monkeypatch.setattr(guard, "is_operator", lambda: True)


def page() -> AppTest:
    return AppTest.from_string(PAGE, default_timeout=60).run()


def examined(app: AppTest) -> AppTest:
    """Press the button and come back when the check-up has ended."""
    app.button(key="examine").click().run()
    deadline = time.monotonic() + 60
    while services.checkup().view().finished_at is None:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    return app.run()


def test_the_check_up_is_not_for_strangers(desk: Desk) -> None:
    app = page()
    assert "運用者のページはまだ開かれていません" in shown(app)
    assert not app.button
    assert not app.dataframe


def test_findings_by_area(desk: Desk, administrator: None) -> None:
    app = page()
    assert "まだ点検していません" in shown(app)
    text = shown(examined(app))
    assert "対応が必要な項目があります" in text
    assert "最後の点検: 20" in text
    assert "データベースに接続できません（データベースが起動していません）" in text
    assert "→ HIMURO_DATABASE_URL の設定とデータベースの稼働を確認してください" in text
    assert f"バケット {desk.settings.bucket} を使えます" in text
    assert [e.label for e in app.expander] == [
        "設定と実行環境　:green[正常]",
        "データベース　:red[要対応]",
        "S3への接続と権限　:green[正常]",
        "S3バケットの設定　:orange[注意]",
        "共有フォルダーと復元先　:orange[注意]",
        "データディレクトリ　:orange[注意]",
    ]
    rows = app.dataframe[0].value
    values = dict(zip(rows["設定"], rows["値"], strict=True))
    assert values["HIMURO_BUCKET"] == desk.settings.bucket
    assert values["HIMURO_DATABASE_URL"] == "postgresql+psycopg2://himuro:***@127.0.0.1:1/himuro"
    assert "geheim" not in text


def test_wrong_settings_are_found(
    administrator: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The page that says what is wrong works when the settings do not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIMURO_RESTORE_DAYS", "many")
    services.replace(None)
    try:
        text = shown(examined(page()))
    finally:
        services.replace(None)
    assert "1件の誤りがあります（HIMURO_RESTORE_DAYS は" in text
    assert "再起動してください" in text


def test_callbacks_and_fragments_check_again() -> None:
    """Each of them may be run without the page around it."""
    source = Path(__file__).resolve().parents[2] / "pages" / "health" / "page.py"
    guarded = []
    for node in ast.parse(source.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and (node.decorator_list or node.name == "_start"):
            body = [n for n in node.body if not _is_docstring(n)]
            assert ast.unparse(body[0]) == "guard.require_administrator()", node.name
            guarded.append(node.name)
    assert guarded == ["render", "_start", "_watch"]


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
