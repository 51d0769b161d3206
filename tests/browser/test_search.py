"""The archive list in a real browser, as a requester without an account sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Locator, expect

from db import open_catalogue
from db.schema import upgrade
from tests.support.entries import WHEN, entry
from tests.support.environment import free_port
from tests.support.servers.browser import PATIENCE, Screen, screen
from tests.support.servers.processes import console

SHARE = r"\\fsx01\share"
REPORTS, SALES = f"{SHARE}\\経理部\\月次報告", f"{SHARE}\\営業部\\データ"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A console with 230 reports, before them three files of another department, and before
    those 2,720 minutes of meetings in two years."""
    root = tmp_path_factory.mktemp("list")
    database = f"sqlite:///{root / 'catalogue.db'}"
    upgrade(database)
    catalogue = open_catalogue(database)
    sales = [
        entry("契約書（写し）.pdf", SALES, size=20 * 1024**2, request_id="REQ-7"),
        entry("見積_A社.xlsx", SALES, size=1536, requester="佐藤"),
        entry("見積_B社.xlsx", SALES, size=3 * 1024**2),
    ]
    reports = [
        entry(
            f"報告{number:03}.docx",
            REPORTS,
            size=1024 * number,
            archived_at=WHEN + timedelta(minutes=number),
        )
        for number in range(1, 231)
    ]
    minutes = [
        entry(
            f"第{number}回 議事録.docx",
            f"{SHARE}\\総務部\\会議\\{month:%Y年%m月}",
            size=10_000 * month.month,
            archived_at=month,
            request_id=f"REQ-{month:%y%m}",
            requester="鈴木 一郎",
        )
        for month in (WHEN - timedelta(days=31 * back) for back in range(1, 24))
        for number in range(1, 41 + month.month * 5 % 11 * 15)
    ]
    catalogue.add([*sales, *reports, *minutes])
    catalogue.close()
    env = {"HIMURO_DATABASE_URL": database, "HIMURO_DATA_DIR": str(root / "data")}
    with console(env, free_port(), log=root / "console.log", cwd=root) as running:
        yield running.url
    _no_traceback(root / "console.log")


def _no_traceback(log: Path) -> None:
    text = log.read_text("utf-8", "replace")
    assert "Traceback" not in text, text


@pytest.fixture
def window(browser: Browser, url: str) -> Iterator[Screen]:
    with screen(browser, url, None) as opened:
        yield opened
        assert opened.strangers == []


def search(window: Screen, words: str) -> None:
    window.page.get_by_label("検索").fill(words)


def table(window: Screen) -> Locator:
    return window.page.get_by_test_id("stDataFrame").first


def shows(window: Screen, column: int, *cells: str) -> None:
    """Wait until the first rows have these cells; columns count from 1.

    The table is a drawing; what a screen reader gets of it is read.
    """
    for row, text in enumerate(cells):
        cell = table(window).get_by_test_id(f"glide-cell-{column}-{row}")
        expect(cell).to_have_text(text, timeout=PATIENCE)


def tick(window: Screen, row: int) -> None:
    table(window).click(position={"x": 16, "y": 36 + 30 * row + 15})
    window.settle()


def test_words(window: Screen) -> None:
    window.open()
    window.see("2,953 件（1～100件目を表示、新しい順）")
    expect(window.metric("ファイル")).to_have_text("2,953 件", timeout=PATIENCE)
    window.settle()
    window.picture("10-list")
    for words, hits, first in (
        ("見積", 2, "見積_B社.xlsx"),
        ("ﾃﾞｰﾀ ａ社", 1, "見積_A社.xlsx"),
        (f'"{SALES}\\契約書（写し）.pdf"', 1, "契約書（写し）.pdf"),
        (f"{SALES}\\見積_A社.xlsx", 1, "見積_A社.xlsx"),
    ):
        search(window, words)
        window.see(f"{hits} 件（1～{hits}件目を表示、新しい順）")
        shows(window, 3, first)


def test_filters_and_the_way_back(window: Screen) -> None:
    window.open("/?q=社")
    window.see("2 件")
    window.press("絞り込み")
    window.page.get_by_label("依頼者").fill("佐藤")
    window.page.get_by_label("依頼者").press("Enter")
    window.see("依頼者: 佐藤")
    window.see("1 件（")
    window.settle()
    window.picture("13-filters")
    window.page.get_by_label("サイズの下限").fill("１ＭＢ")
    window.page.get_by_label("サイズの下限").press("Enter")
    window.see("該当するファイルはありません")
    window.page.keyboard.press("Escape")
    window.see("「依頼者」の条件をやめる")
    window.settle()
    window.picture("14-advice")
    window.page.go_back()
    window.see("1 件（")
    window.settle()
    window.picture("13-filtered")
    window.press("条件を消す")
    window.see("2 件（")
    expect(window.page).to_have_url(re.compile(r"\?q=[^&]*$"))


def test_by_folders(window: Screen) -> None:
    window.open("/?q=報告")
    window.page.locator(".st-key-list-kind").get_by_text("フォルダー").click()
    window.see("すべてのサーバー")
    window.open(f"/?view=folders&folder={quote(SHARE)}")
    window.see("フォルダー 3 件")
    window.settle()
    window.picture("18-folders")
    window.press("この下のすべて（2,953 件）を一覧で見る")
    window.see("フォルダー: ")
    window.see("2,953 件（1～")
    window.page.go_back()
    window.open(f"/?view=folders&folder={quote(SALES)}")
    window.see("このフォルダーのファイル 3 件")
    window.settle()
    window.picture("18-files")


def test_the_address_is_shared(browser: Browser, url: str, window: Screen) -> None:
    window.open()
    window.see("2,953 件")
    window.settle()
    search(window, "報告")
    window.see("230 件（1～100件目を表示、新しい順）")
    window.settle()
    table(window).click(position={"x": 33 + 132 + 340 + 280 + 30, "y": 15})
    window.see("230 件（1～100件目を表示、大きい順）")
    window.settle()
    table(window).click(position={"x": 33 + 132 + 340 + 280 + 30, "y": 15})
    window.see("230 件（1～100件目を表示、小さい順）")
    window.settle()
    window.button("Page 3").click()
    window.see("230 件（201～230件目を表示、小さい順）")
    window.settle()
    window.press("表示")
    window.page.get_by_role("button", name="ディレクトリパス").click()
    window.settle()
    window.page.get_by_text("正確な値（バイトと秒）").click()
    expect(window.page).to_have_url(re.compile("exact=1"))
    window.settle()
    window.picture("15-columns")
    with screen(browser, url, None) as colleague:
        colleague.page.goto(window.page.url)
        colleague.see("230 件（201～230件目を表示、小さい順）")
        for shown in (window, colleague):
            shows(shown, 1, "2026/11/23 21:51:15")
            shows(shown, 2, "報告201.docx", "報告202.docx")
            shows(shown, 3, f"{201 * 1024:,}")


def test_ticks_stay_and_rows_are_shown_in_full(window: Screen) -> None:
    window.open("/?q=報告")
    window.see("230 件（1～")
    window.settle()
    tick(window, 0)
    window.see("選択中 1 件、合計 230.0 KB")
    table(window).click(position={"x": 300, "y": 36 + 30 * 3 + 15})
    window.see("232,448 バイト（227.0 KB）")  # a row that is pressed is not ticked
    window.see("選択中 1 件、合計 230.0 KB")
    window.see("SHA256").scroll_into_view_if_needed()
    window.settle()
    window.picture("16-details")
    window.button("Page 2").click()
    window.see("（101～200件目")
    window.settle()
    tick(window, 1)
    window.see("選択中 2 件、合計 359.0 KB")
    window.settle()
    window.picture("17-ticks")
    search(window, "見積")
    window.see("2 件（")
    window.settle()
    tick(window, 0)
    window.see("選択中 3 件、合計 3.4 MB")
    search(window, "報告230")
    window.see("1 件（")
    tick(window, 0)  # it is ticked still: this takes the tick away
    window.see("選択中 2 件、合計 3.1 MB")
    window.press("選択をすべてやめる")
    expect(window.page.get_by_text("選択中")).to_have_count(0)
