"""The operator's whole journey in a real browser, and what others see of it."""

from __future__ import annotations

import io
import json
import re
import shutil
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.people import ADMINISTRATOR, OPERATOR, ask, signed_in
from tests.support.servers.browser import (
    BUCKET,
    PATIENCE,
    Installation,
    Screen,
    installation,
    is_look,
    screen,
    served,
)
from tests.support.servers.processes import answers, apart
from tests.support.share import write_lists

BASIC = r"開発部\設計書\基本設計.docx"


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
    _found(browser, here, window)


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
    here.gate.shut_after(0, is_look)
    window.submit([good], "FAST-2026-0001", "山田 花子", "決算資料の整理")
    window.see("2. 確認（一覧 1 件）")
    window.see("一覧を読んでいます")
    window.settle()
    window.picture("03-checking")
    here.gate.open()
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
        here.gate.open()
        colleague.see("実行が終わりました")
        colleague.settle()
        colleague.picture("08-colleague-end")
    window.see("4. 結果")
    record = json.loads((here.runs[-1] / "run.json").read_text("utf-8"))
    assert record["request"]["started_by"] == OPERATOR.name
    assert len(here.runs) == 2  # the double click started one run; the other was refused
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


def _found(browser: Browser, here: Installation, window: Screen) -> None:
    """Search, and share the search with somebody who has no account."""
    window.page.get_by_role("link", name="アーカイブ一覧", exact=True).click()
    window.see(re.compile(r"件目を表示"))
    window.page.get_by_label("検索").fill("基本設計 ＤＯＣＸ")
    window.see("1 件（1～1件目を表示、新しい順）")
    window.settle()
    shared = window.page.url
    assert "run=" not in shared
    with screen(browser, here.url, None) as requester:
        requester.open()
        requester.see(re.compile(r"件目を表示"))
        requester.page.goto(shared)
        requester.see("1 件（1～1件目を表示、新しい順）")
        requester.settle()
        requester.picture("11-found")
        requester.open("/?q=" + "何処にもない")
        requester.see("該当するファイルはありません")
        requester.picture("12-nothing")
        assert requester.strangers == []


def test_failed_file_and_retry(here: Installation, window: Screen) -> None:
    victim = here.share.local(r"情報システム\backup.tar.gz")
    kept = victim.read_bytes()
    chosen = here.write_list("失敗.csv", r"情報システム\backup.tar.gz", r"情報システム\拡張子なし")
    window.open("/archive")
    window.submit([chosen], "FAST-2026-0002", "佐藤")
    window.see("実行できます")
    victim.unlink()  # after the check, before the run
    window.press("アーカイブを実行する")
    window.answer("実行する")
    window.see("4. 結果")
    window.settle()
    window.see("1件が失敗しました")
    expect(window.metric("失敗")).to_have_text("1 件")
    expect(window.metric("アーカイブした")).to_have_text("1 件")
    window.picture("20-failed")
    name, content = window.download("エラーファイル一覧（failed_uploads.txt）")
    assert name.startswith("failed_uploads_")
    assert content.decode("utf-8") == "\ufeff\\\\fsx01\\share\\情報システム\\backup.tar.gz\r\n"
    _name, content = window.download("エラーログ（error_log.txt）")
    assert "ファイルが存在しません" in content.decode("utf-8")

    victim.write_bytes(kept)
    window.press("エラーファイル一覧で再実行する")
    window.see("実行できます")
    window.settle()
    expect(window.metric("対象ファイル")).to_have_text("1 件")
    window.see("FAST-2026-0002")
    window.picture("21-retry")
    window.press("アーカイブを実行する")
    window.answer("実行する")
    window.see("すべて完了しました")
    window.open("/?q=backup.tar")
    window.see("1 件（1～1件目を表示、新しい順）")


def test_queue_and_stop(browser: Browser, here: Installation, window: Screen) -> None:
    # More than can be on their way at once: those are sent whatever is pressed.
    many = here.share.local(r"品質保証部\写真")
    many.mkdir()
    for number in range(400):
        (many / f"検査{number:03}.jpg").write_bytes(bytes(number))
    big = here.write_list("大きい.csv", "人事部", "品質保証部", "経理部")
    small = here.write_list("小さい.csv", r"総務部\規程")
    here.gate.shut_after(2)
    window.run(big, "FAST-2026-0003", "鈴木")
    window.see("処理中のファイル")
    with screen(browser, here.url) as colleague:
        colleague.run(small, "FAST-2026-0004", "高橋")
        colleague.see("順番を待っています（1番目）")
        colleague.settle()
        colleague.picture("30-waiting")
        colleague.press("取り消す")
        colleague.see("この実行はまだ始まっていません")
        colleague.settle()
        colleague.picture("30-cancel")
        colleague.answer("続ける")
        window.see("依頼ID: FAST-2026-0004")
        window.press("停止する")
        window.see("実行を停止しますか")
        window.settle()
        window.picture("31-stop")
        window.answer("停止する")
        window.see("停止しています")
        window.picture("32-stopping")
        here.gate.open()
        colleague.see("すべて完了しました")
    window.see("停止したため")
    window.settle()
    window.picture("33-stopped")
    expect(window.button("エラーファイル一覧で再実行する")).to_be_visible()


def test_past_runs(here: Installation, window: Screen) -> None:
    """Find a run, see why it failed, take its files, run its error file list again."""
    gone = here.share.local(r"情報システム\消える.txt")
    gone.write_text("x")
    here.share.local(r"情報システム\新しい.txt").write_text("no earlier test has archived it")
    chosen = here.write_list("履歴.csv", r"情報システム\消える.txt", r"情報システム\新しい.txt")
    window.show_instead(here.root, "/srv/himuro")
    window.open("/archive")
    window.submit([chosen], "FAST-2026-0010", "履歴 太郎")
    window.see("実行できます")
    window.settle()
    gone.unlink()
    here.gate.shut_after(0)
    window.press("アーカイブを実行する")
    window.answer("実行する")
    window.see("処理中のファイル")
    window.page.get_by_role("link", name="実行履歴", exact=True).click()
    window.see("行を押すと詳しく見られます")
    window.see("処理中のファイル")  # the same as on /archive
    window.settle()
    window.picture("60-runs-live")
    here.gate.open()
    expect(window.page.get_by_text("処理中のファイル")).to_have_count(0, timeout=PATIENCE)
    window.settle()  # until then the filters may be there twice
    window.page.get_by_label("依頼者または実行者").fill("ﾘﾚｷ 履歴")
    window.see("該当する実行はありません")
    window.page.get_by_label("依頼者または実行者").fill("履歴　太郎")
    window.see("1 件（1～1件目を表示、新しい順）")
    window.settle()
    window.picture("61-runs-found")
    table = window.page.locator(".st-key-runs").get_by_test_id("stDataFrame")
    table.click(position={"x": 400, "y": 52})
    window.see("原因と対処")
    window.settle()
    expect(window.metric("失敗")).to_have_text("1 件")
    assert "person=" in window.page.url  # for the way back
    window.picture("62-run")
    window.page.get_by_text("実行したときの設定").click()
    window.scroll_to("エラーログ")
    window.picture("62-log")
    run_id = window.page.url.partition("run=")[2].partition("&")[0]
    name, content = window.download("すべてのファイル（zip）")
    assert name == f"{run_id}.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        assert "SOURCE_NOT_FOUND" in bundle.read(f"{run_id}/error_log.txt").decode()
        assert bundle.read(f"{run_id}/input.csv") == chosen.read_bytes()
    gone.write_text("x")
    window.press("エラーファイル一覧で再実行する")
    window.see("実行できます")
    expect(window.page).to_have_url(re.compile(r"/archive\?draft="))
    expect(window.metric("対象ファイル")).to_have_text("1 件")
    damaged = here.root / "data" / "runs" / "20261102-091500-archive-0a1b2c"
    damaged.mkdir()
    (damaged / "run.json").write_text("{")
    window.open(f"/runs?run={damaged.name}")
    window.see("この実行の記録は破損しています")
    window.settle()
    window.picture("62-damaged")
    shutil.rmtree(damaged)


def test_pages_of_the_list(browser: Browser, here: Installation, window: Screen) -> None:
    departments = ("営業部", "経理部", "開発部", "総務部", "人事部")
    window.run(here.write_list("全部.csv", *departments), "FAST-2026-0005", "田中")
    window.see("すべて完了しました")
    with screen(browser, here.url, None) as requester:
        requester.open("/")
        requester.see(re.compile(r"1～100件目を表示"))
        requester.button("Page 2").click()
        requester.see(re.compile(r"（101～"))
        expect(requester.page).to_have_url(re.compile(r"page=2"))
        requester.page.reload()
        requester.see(re.compile(r"（101～"))
        requester.page.get_by_label("検索").fill("基本設計")
        requester.see(re.compile(r"（1～\d+件目"))


def test_names_are_shown_as_they_are(here: Installation, window: Screen) -> None:
    odd = "*太字* :red[赤] $x$ ~~消~~ `c` [l](http://e) --> <b>b</b> :smile: \\_"
    chosen = here.write_list("__一覧__ *b* :red[x].csv", r"総務部\規程")
    window.open("/archive")
    window.submit([chosen], odd, odd, odd)
    window.see("読み取った一覧")
    assert window.page.get_by_text(odd, exact=True).count() == 3
    assert window.page.get_by_text("__一覧__ *b* :red[x].csv", exact=True).count() >= 1
    window.press("やり直す")
    expect(window.page.get_by_label("依頼ID")).to_have_value(odd)


def test_check_up(browser: Browser, here: Installation) -> None:
    report = "/checkup/report.txt"
    with screen(browser, here.url, ADMINISTRATOR) as window:
        window.show_instead(here.root, "/srv/himuro")
        window.open("/health")
        window.see("まだ点検していません")
        window.picture("70-health")
        here.gate.shut_after(0, is_look)
        window.press("点検を実行")
        window.see("結果は分かったものから表示されます")
        window.see("アーカイブ一覧の行数")
        window.settle()
        window.picture("70-examining")
        here.gate.open()
        window.see("最後の点検")
        window.settle()
        window.button("点検を実行").dblclick()
        window.see("結果は分かったものから表示されます")
        window.see("最後の点検")
        window.settle()
        window.see("未完了アップロードの自動中止")
        expect(window.metric("要対応")).to_have_text("0 件")
        window.picture("71-examined")
        name, content = window.download("結果をダウンロード（テキスト）")
        assert re.fullmatch(r"checkup_\d{8}-\d{6}\.txt", name)
        text = content.decode("utf-8-sig")
        assert "OK       アップロードの権限: s3:PutObject が許可されています\r\n" in text
        assert "WARNING  復元先: HIMURO_RESTORE_ROOTS が設定されていません\r\n" in text
        window.page.reload()
        window.see("最後の点検")
    for person, status in ((ADMINISTRATOR, 200), (OPERATOR, 404)):
        assert ask(here.url, report, signed_in(here.url, person)).status == status
    assert ask(here.url, report).status == 404


def test_container_stop(browser: Browser, here: Installation, tmp_path: Path) -> None:
    """SIGTERM with people looking on: what is under way ends, the rest can be run again."""
    here = replace(here, env=apart(here.env, tmp_path))
    here.gate.shut_after(2)
    with served(here) as second, screen(browser, second.url) as window:
        window.run(_many(here), "FAST-2026-0006", "伊藤")
        window.see("処理中のファイル")
        address = window.page.url.removeprefix(second.url)
        assert second.process is not None
        second.process.terminate()
        while answers(f"{second.url}/healthz"):
            window.page.wait_for_timeout(10)
        # It has heard the signal; opened before, the gate might let the run end first.
        here.gate.open()
        second.process.wait(PATIENCE / 1000)
    with served(here) as third, screen(browser, third.url) as window:
        window.open(address)
        window.see("停止したため")
        window.press("エラーファイル一覧で再実行する")
        window.see("実行できます")


def test_crash(browser: Browser, here: Installation, tmp_path: Path) -> None:
    """``kill -9``: the next start gives the run its end."""
    here = replace(here, env=apart(here.env, tmp_path))
    here.gate.shut_after(2)
    with served(here) as second, screen(browser, second.url) as window:
        window.run(_many(here), "FAST-2026-0007", "渡辺")
        window.see("処理中のファイル")
        address = window.page.url.removeprefix(second.url)
        assert second.process is not None
        second.process.kill()
        second.process.wait(PATIENCE / 1000)
        here.gate.open()
    with served(here) as third, screen(browser, third.url) as window:
        window.open(address)
        window.see("実行の途中でコンソールが終了しました")
        window.settle()
        window.picture("50-interrupted")
        window.press("エラーファイル一覧で再実行する")
        window.see("実行できます")


def _many(here: Installation) -> Path:
    """A list of files that change before each use, so that there is something to upload."""
    folder = here.share.local("変わるもの")
    folder.mkdir(exist_ok=True)
    for number in range(40):
        (folder / f"{number}.txt").write_text(f"{number} {time.time_ns()}")
    return here.write_list("多い.csv", "変わるもの")
