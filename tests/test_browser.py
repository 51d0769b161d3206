"""The operator's whole journey in a real browser, and what others see of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import (
    BUCKET,
    PATIENCE,
    Installation,
    Screen,
    chromium,
    installation,
    screen,
    served,
)
from tests.share import write_lists

BASIC = r"開発部\設計書\基本設計.docx"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("console")) as made, served(made) as running:
        yield running


@pytest.fixture
def window(browser: Browser, here: Installation) -> Iterator[Screen]:
    with screen(browser, here.url) as opened:
        yield opened
        assert opened.strangers == []


def test_journey(browser: Browser, here: Installation, window: Screen) -> None:
    lists = write_lists(here.root / "lists")
    window.open()
    window.see("アーカイブされたファイルはまだありません")
    window.picture("01-empty")
    window.page.get_by_role("link", name="アーカイブ", exact=True).click()
    window.see("1. 一覧をアップロードする")
    window.settle()
    window.picture("02-upload")

    _mistakes(window, lists.mistakes)
    run_id = _run(browser, here, window, lists.good[0])
    _result(window, run_id)
    _found(window)


def _mistakes(window: Screen, mistakes: Path) -> None:
    window.submit([mistakes], "FAST-2026-0001", "山田 花子", "決算資料の整理")
    window.see("このままでは実行できません")
    window.settle()
    expect(window.metric("誤り")).to_have_text("6 件")
    window.picture("03-refused")
    name, content = window.download("問題の一覧をダウンロード（CSV）")
    assert name.startswith("problems_")
    text = content.decode("utf-8-sig")
    assert text.startswith("一覧名,行,パス,区分,内容,対処,コード\r\n")
    assert "SOURCE_NOT_FOUND" in text
    assert "見積書～B社" in text  # the neighbour that exists
    window.press("やり直す")
    window.see("1. 一覧をアップロードする")
    expect(window.page.get_by_label("依頼ID")).to_have_value("FAST-2026-0001")


def _run(browser: Browser, here: Installation, window: Screen, good: Path) -> str:
    """Check, confirm, watch from two windows, and return the run's id."""
    window.submit([good], "FAST-2026-0001", "山田 花子", "決算資料の整理")
    window.see("実行できます")
    window.settle()
    window.see("読み取った一覧")
    window.picture("04-ready")
    here.gate.shut_after(3)
    window.press("アーカイブを実行する")
    dialog = window.page.get_by_role("dialog")
    expect(dialog).to_contain_text(BUCKET)
    expect(dialog).to_contain_text(re.compile(r"対象ファイル\s*\d+ 件"))
    window.settle()
    window.picture("05-confirm")
    dialog.get_by_role("button", name="実行する", exact=True).dblclick()
    window.see("3. 実行中")
    expect(window.metric("ファイル")).to_have_text(re.compile(r"^[123] / "), timeout=PATIENCE)
    window.picture("06-progress")
    window.page.reload()
    window.see("3. 実行中")
    expect(window.metric("ファイル")).to_have_text(re.compile(r"^[123] / "), timeout=PATIENCE)
    with screen(browser, here.url) as colleague:
        colleague.open("/archive")
        colleague.see("山田 花子")
        expect(colleague.metric("ファイル")).to_have_text(re.compile(r"^[123] / "))
        colleague.picture("07-colleague")
        here.gate.open()
        colleague.see("実行が終わりました")
        colleague.settle()
        colleague.picture("08-colleague-end")
    window.see("4. 結果")
    return window.page.url.partition("run=")[2]


def _result(window: Screen, run_id: str) -> None:
    window.settle()
    window.see("すべて完了しました")
    expect(window.metric("失敗")).to_have_text("0 件")
    window.picture("09-result")
    name, content = window.download("結果の一覧（report.csv）")
    assert name == f"report_{run_id}.csv"
    report = content.decode("utf-8-sig").splitlines()
    assert report[0] == "パス,結果,理由,S3キー,サイズ"
    assert any(BASIC in line and ",成功," in line for line in report)
    assert len(report) > 5


def _found(window: Screen) -> None:
    window.page.get_by_role("link", name="アーカイブ一覧", exact=True).click()
    window.see(re.compile(r"件目を表示"))
    window.settle()
    window.picture("10-list")
    window.page.get_by_label("検索").fill("基本設計 ＤＯＣＸ")
    window.see("1 件（1～1件目を表示、新しい順）")
    window.settle()
    window.picture("11-found")
    shared = window.page.url
    window.open("/?q=" + "何処にもない")
    window.see("該当するファイルはありません")
    window.picture("12-nothing")
    window.page.goto(shared)
    window.see("1 件（1～1件目を表示、新しい順）")
