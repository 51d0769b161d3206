"""The operator's way from a restore list to files in a directory, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.servers.browser import (
    BUCKET,
    PATIENCE,
    Installation,
    Screen,
    core,
    installation,
    is_look,
    screen,
    served,
)
from tests.support.servers.processes import administer
from tests.support.share import Lists, write_lists

QUOTE = r"営業部\2024年度\見積\見積書_A社.xlsx"
MINUTES = r"総務部\会議, 議事録\第1回 定例.txt"
WHO = ("--request-id", "FAST-2026-0101", "--requester", "山田 花子")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    root = tmp_path_factory.mktemp("restores")
    with installation(root, restores=True) as made, served(made) as running:
        yield running


@pytest.fixture(scope="module")
def lists(here: Installation) -> Lists:
    """The ready-made lists; the files of the first one have been archived."""
    made = write_lists(here.root / "lists")
    core(here.env, here.root, "archive", str(made.good[0]), *WHO)
    return made


@pytest.fixture
def window(browser: Browser, here: Installation) -> Iterator[Screen]:
    with screen(browser, here.url) as opened:
        yield opened
        assert opened.strangers == []


def root_of(here: Installation) -> Path:
    return here.share.local("復元")


def until(window: Screen, reached: Callable[[], bool]) -> None:
    """Wait for what the console does to the disk; the browser lives on meanwhile."""
    for _ in range(PATIENCE // 20):
        if reached():
            return
        window.page.wait_for_timeout(20)
    raise AssertionError("it takes too long")


def request(window: Screen) -> None:
    """Confirm a checked list and wait until S3 has been asked."""
    window.press("復元を要求する")
    window.answer("要求する")
    window.see("件は取り出し準備中です")
    window.settle()


def refresh(window: Screen) -> None:
    window.press("状況を更新する")
    window.settle()


def ask_for_place(window: Screen, folder: str, button: str) -> None:
    """Name a folder below the root, and wait for the dialog that says what would be done."""
    window.page.get_by_label("配置先のフォルダー").fill(rf"\\fsx01\share\復元\{folder}")
    window.press(button)
    expect(window.page.get_by_role("dialog")).to_contain_text("空き容量", timeout=PATIENCE)
    window.settle()


def same(here: Installation, inside: str, placed: Path) -> None:
    """Assert that a placed file is what the share has, to the byte and the microsecond."""
    original = here.share.local(inside)
    assert placed.read_bytes() == original.read_bytes()
    times = [file.stat().st_mtime_ns // 1000 for file in (original, placed)]
    assert times[0] == times[1]


def test_journey(browser: Browser, here: Installation, lists: Lists, window: Screen) -> None:
    window.open("/?q=" + "見積書 A社")
    window.see("1 件（1～1件目を表示、新しい順）")
    window.settle()
    window.page.get_by_role("link", name="復元", exact=True).click()
    window.see("1. 復元の一覧をアップロードする")
    window.settle()
    window.picture("80-restore")
    _checked(here, window, lists)
    run_id = _requested(window)
    _seen_by_a_colleague(browser, here, run_id)
    _ready_and_placed(here, window)
    _placed_again(here, window)


def _checked(here: Installation, window: Screen, lists: Lists) -> None:
    here.gate.shut_after(0, is_look)
    window.submit([lists.restore], "FAST-2026-0102", "山田 花子", "監査で使うため")
    window.see("一覧を読んでいます")
    window.settle()
    window.picture("81-restore-checking")
    here.gate.open()
    window.see("1 行は対象外です")
    window.settle()
    expect(window.metric("対象ファイル")).to_have_text("5 件")
    window.picture("81-restore-check")
    name, content = window.download("問題の一覧をダウンロード（CSV）")
    assert name.startswith("problems_")
    text = content.decode("utf-8-sig")
    assert "NOT_ARCHIVED" in text
    assert "もしかして" in text  # the file that is there


def _requested(window: Screen) -> str:
    window.press("復元を要求する")
    dialog = window.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Bulk（48時間以内）")
    window.settle()
    window.picture("82-restore-confirm")
    window.answer("要求する")
    window.see("5 件は取り出し準備中です。遅くとも")
    window.settle()
    window.picture("83-thawing")
    return window.page.url.partition("run=")[2]


def _seen_by_a_colleague(browser: Browser, here: Installation, run_id: str) -> None:
    with screen(browser, here.url) as colleague:
        colleague.open("/restore")
        colleague.see("取り出し中の復元（1 件）")
        colleague.see("取り出し準備中 5")
        colleague.settle()
        colleague.picture("84-open-restores")
        colleague.press("開く")
        colleague.see("5 件は取り出し準備中です")
        assert colleague.page.url.endswith(f"run={run_id}")


def _ready_and_placed(here: Installation, window: Screen) -> None:
    administer(here.s3, BUCKET, "thaw")
    refresh(window)
    window.see("5 件を取り出せます")
    window.settle()
    window.picture("85-ready")
    window.page.get_by_label("配置先のフォルダー").fill("/etc")
    window.press("取り出せるファイルを配置する")
    window.see("このフォルダーには配置できません")
    window.settle()
    window.picture("85-refused")
    target = root_of(here) / "山田さん"
    target.mkdir()
    taken = target / "見積書_A社.xlsx"
    taken.write_text("すでにあるもの")
    ask_for_place(window, target.name, "取り出せるファイルを配置する")
    dialog = window.page.get_by_role("dialog")
    expect(dialog).to_contain_text("同じ名前のファイルがあるため")
    expect(window.metric("名前が変わるファイル")).to_have_text("1 件")
    window.picture("86-place")
    # A double click places once, and says nothing of the second click.
    dialog.get_by_role("button", name="配置する", exact=True).dblclick()
    expect(dialog).to_have_count(0)
    window.see("配置済み 5 / 5 件（100%）")
    window.settle()
    window.see("一部失敗　対象のファイルはすべて配置しました")
    window.picture("87-placed")
    assert taken.read_text() == "すでにあるもの"
    (renamed,) = target.glob("見積書_A社_*.xlsx")
    same(here, QUOTE, renamed)
    bills = sorted(p.relative_to(here.share.root) for p in
                   here.share.local(r"経理部\請求書").rglob("*.pdf"))  # fmt: skip
    assert len(bills) == 3
    for bill in bills:
        same(here, str(bill).replace("/", "\\"), target / bill.name)
    same(here, r"開発部\設計書\基本設計.docx", target / "基本設計.docx")
    assert len(list(target.iterdir())) == 6
    _name, content = window.download("結果の一覧（report.csv）")
    report = content.decode("utf-8-sig").splitlines()
    assert report[0] == "ファイル名,結果,復元日時,配置先,元のパス,理由"
    assert sum(",成功," in line for line in report) == 5
    assert sum(",対象外," in line for line in report) == 1


def _placed_again(here: Installation, window: Screen) -> None:
    """What people have removed is placed once more only when somebody wants that."""
    target = root_of(here) / "山田さん"
    gone = target / "基本設計.docx"
    gone.unlink()
    ask_for_place(window, target.name, "配置したファイルを調べる")
    window.see("前に配置した後で、消されたか変更されたファイル（1 件）")
    dialog = window.page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="配置する", exact=True)).to_be_disabled()
    window.page.get_by_text("これらも、もう一度配置する").click()
    expect(window.metric("配置するファイル")).to_have_text("1 件", timeout=PATIENCE)
    window.settle()
    window.picture("88-lost")
    window.answer("配置する")
    until(window, gone.exists)
    same(here, r"開発部\設計書\基本設計.docx", gone)
    window.see("配置済み 5 / 5 件（100%）")
    assert len(list(target.iterdir())) == 6


def test_expired_and_requested_again(here: Installation, lists: Lists, window: Screen) -> None:
    window.open("/restore")
    window.page.get_by_label("または、復元するパス").fill(f"{here.share.unc}\\{MINUTES}")
    window.submit([], "FAST-2026-0103", "佐藤")
    window.see("誤りはありません")
    window.settle()
    request(window)
    run_id = window.page.url.partition("run=")[2]
    administer(here.s3, BUCKET, "expire")
    _months_ago(here, run_id)
    refresh(window)
    window.see("1 件は期限が切れて読み取れません")
    window.settle()
    window.picture("89-expired")
    window.press("期限切れをもう一度要求する")
    window.see("もう一度要求しますか")
    window.settle()
    window.picture("90-again")
    window.answer("要求する")
    window.see("1 件は取り出し準備中です。遅くとも")


def _months_ago(here: Installation, run_id: str) -> None:
    """Let a restore have been asked for a hundred days earlier."""

    def earlier(match: re.Match[str]) -> str:
        return (datetime.fromisoformat(match[0]) - timedelta(days=100)).isoformat()

    outcomes = here.root / "data" / "runs" / run_id / "outcomes.csv"
    text = outcomes.read_text("utf-8-sig")
    aged = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+\+\d\d:\d\d", earlier, text)
    assert aged != text
    outcomes.write_text(aged, "utf-8-sig")


def test_stop_while_placing_and_go_on(browser: Browser, here: Installation, window: Screen) -> None:
    folder = here.share.local(r"品質保証部\写真")
    folder.mkdir(parents=True)
    for number in range(60):
        (folder / f"検査{number:02}.jpg").write_bytes(bytes([number]) * 300_000)
    photos = here.write_list("写真.csv", r"品質保証部\写真")
    core(here.env, here.root, "archive", str(photos), *WHO)
    window.open("/restore")
    window.submit([photos], "FAST-2026-0104", "鈴木")
    window.see("誤りはありません")
    window.settle()
    request(window)
    administer(here.s3, BUCKET, "thaw")
    refresh(window)
    target = root_of(here) / "写真"
    here.gate.shut_after(2)
    ask_for_place(window, target.name, "取り出せるファイルを配置する")
    window.see("（新しく作ります）")
    window.answer("配置する")
    window.see("処理中のファイル")
    window.page.reload()
    window.see("ファイルを配置しています")
    window.settle()
    window.picture("86-placing")
    with screen(browser, here.url) as colleague:
        colleague.open("/restore")
        colleague.see("ファイルを配置しています")
        colleague.settle()
        colleague.picture("91-colleague")
        colleague.open("/archive")
        colleague.see("鈴木")  # one queue for all
        colleague.settle()
        colleague.press("停止する")
        colleague.see("エラーファイル一覧は作りません")
        colleague.settle()
        colleague.picture("91-stop-restore")
        colleague.answer("停止する")
        colleague.see("停止しています")
        here.gate.open()
    window.see("停止　終わったものはそのまま残っています")
    window.see("取り出せるファイルを配置する")
    window.settle()
    window.picture("92-stopped-restore")
    before = len(list(target.iterdir()))
    assert 0 < before < 60
    ask_for_place(window, target.name, "取り出せるファイルを配置する")
    expect(window.metric("配置するファイル")).to_have_text(f"{60 - before} 件")
    window.answer("配置する")
    window.see("配置済み 60 / 60 件（100%）")
    window.see("完了　すべて配置しました")
    assert {p.name: p.read_bytes() for p in target.iterdir()} == {
        p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".jpg"
    }


def test_past_runs_lead_here(here: Installation, window: Screen) -> None:
    window.open("/runs?kind=restore")
    window.see("行を押すと詳しく見られます")
    window.settle()
    window.picture("93-runs-restore")
    table = window.page.locator(".st-key-runs").get_by_test_id("stDataFrame")
    table.click(position={"x": 400, "y": 52})
    window.see("復元の画面で見る")
    window.settle()
    window.page.get_by_role("link", name="復元の画面で見る").click()
    expect(window.page).to_have_url(re.compile(r"/restore\?run="))
    window.see("状況を更新する")
