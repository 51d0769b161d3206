"""Walking down the tree of folders in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from db import open_catalogue
from db.schema import upgrade
from tests.support.entries import entry
from tests.support.environment import free_port
from tests.support.servers.browser import PATIENCE, Screen, screen
from tests.support.servers.processes import console

ODD = "*a* _b_ [c](d) :red[e] $f$ ~~g~~ `h` <i> -> -- >= :ice:"
SHARE = r"\\fsx01\share"
DEEP = rf"{SHARE}\{ODD}\100%_確定～Ａ社"
ROWS = [
    *(entry(f"{n}.txt", DEEP, size=1024) for n in range(3)),
    entry("x.txt", rf"{SHARE}\{ODD}", size=1024),
    entry("y.txt", rf"{SHARE}\第2回", size=1024),
    entry("z.txt", rf"{SHARE}\第10回", size=5000),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a console with ``ROWS`` in its list."""
    root: Path = tmp_path_factory.mktemp("folders")
    (root / "data").mkdir()
    database = f"sqlite:///{root / 'data' / 'catalogue.db'}"
    upgrade(database)
    catalogue = open_catalogue(database)
    catalogue.add(ROWS)
    catalogue.close()
    log = root / "console.log"
    with console({"HIMURO_DATA_DIR": str(root / "data")}, free_port(), log=log, cwd=root) as here:
        yield here.url
    assert "Traceback" not in log.read_text("utf-8", "replace")


@pytest.fixture
def window(browser: Browser, url: str) -> Iterator[Screen]:
    with screen(browser, url, None) as opened:
        yield opened
        assert opened.strangers == []


def test_walking_down_to_the_files(browser: Browser, window: Screen) -> None:
    complaints: list[str] = []
    window.page.on("console", lambda message: complaints.append(message.text))
    window.open()
    expect(window.metric("ファイル")).to_have_text("6 件", timeout=PATIENCE)
    chart = window.page.get_by_test_id("stVegaLiteChart")
    expect(chart.locator("svg path[aria-roledescription=bar]").first).to_be_attached()
    window.settle()
    window.open("/?view=folders")
    window.see("すべてのサーバー")
    _enter(window, folders=1)  # the server
    _enter(window, folders=1)  # the share
    window.see("6 件、")
    _enter(window, folders=3)
    window.see("4 件、")
    _enter(window, folders=1)
    window.see("このフォルダーのファイル 3 件")
    assert _asked(window) == {"view": ["folders"], "folder": [DEEP]}
    label = window.page.locator(".st-key-way-3 button").inner_text()
    assert label.replace("\u2060", "") == ODD

    with screen(browser, window.url, None) as colleague:
        colleague.page.goto(window.page.url)
        colleague.see("このフォルダーのファイル 3 件")
        colleague.press("share")
        colleague.see("フォルダー 3 件")
        assert _asked(colleague) == {"view": ["folders"], "folder": [SHARE]}

    window.page.go_back()
    window.see("4 件、")
    window.page.go_forward()
    window.see("このフォルダーのファイル 3 件")
    window.press("このフォルダーのファイル（3 件）を一覧で見る")
    expect(window.page).to_have_url(re.compile("only=1"), timeout=PATIENCE)
    assert _asked(window) == {"directory": [DEEP], "only": ["1"]}
    window.see("3 件（1～3件目")
    assert [text for text in complaints if "Security" in text or "unsafe" in text] == []


def _enter(window: Screen, folders: int) -> None:
    """Click on the first row once the table has so many."""
    window.see(f"フォルダー {folders} 件")
    window.settle()
    before = window.page.url
    table = window.page.locator('[class*="st-key-tree-table"]').get_by_test_id("stDataFrame")
    table.click(position={"x": 300, "y": 52})
    expect(window.page).not_to_have_url(before, timeout=PATIENCE)
    window.settle()


def _asked(window: Screen) -> dict[str, list[str]]:
    return parse_qs(urlsplit(window.page.url).query)
