"""Signing in with a name and a password in a real browser, from a cold start on."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import expect

from tests.support.environment import free_port
from tests.support.people import OPERATOR, ask, signed_in, try_sign_in, write_accounts
from tests.support.servers.browser import chromium, core, screen
from tests.support.servers.processes import console

EDGE = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0"
)


def test_in_and_out(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    env = {
        "HIMURO_DATA_DIR": str(tmp_path / "data"),
        "HIMURO_BUCKET": "himuro-signin",
        "HIMURO_SHARES": f"\\\\fsx01\\share={tmp_path / 'share'}",
    }
    core(env, tmp_path, "init-db")
    accounts = tmp_path / "data" / "accounts.toml"
    wanted = "/archive?run=20261123-000000-archive-00ff00"
    base = "/himuro"
    with (
        console(env, free_port(), cwd=tmp_path, base=base) as running,
        chromium() as browser,
        screen(browser, running.url + base, None) as window,
    ):
        window.open(wanted)
        window.see("運用者のページはまだ開かれていません")
        window.settle()
        window.picture("59-no-accounts")
        accounts.write_text("[accounts.tanaka\n")
        window.open(wanted)
        window.see("アカウントのファイルに誤りがあるため")
        window.picture("59-broken-accounts")
        write_accounts(accounts, OPERATOR)
        window.open(wanted)
        window.see("サインインが必要です")
        assert window.page.get_by_role("link", name="アーカイブ", exact=True).count() == 0
        assert window.page.locator('input[type="file"]').count() == 0
        window.picture("60-closed")
        window.press("サインイン")
        window.see("パスワード")
        window.picture("61-signin")
        window.page.get_by_label("アカウント").fill("Ｔａｎａｋａ")
        window.page.get_by_label("パスワード").fill("これではない")
        window.press("サインイン")
        window.see("アカウントとパスワードを確認してください")
        window.picture("62-wrong")
        for _ in range(5):
            assert try_sign_in(running.url, "suzuki", "x", base=base).status == 403
        window.page.get_by_label("アカウント").fill("suzuki")
        window.page.get_by_label("パスワード").fill("x")
        window.press("サインイン")
        window.see("失敗が続いたため")
        window.picture("62-locked")
        window.page.get_by_label("アカウント").fill("Ｔａｎａｋａ")
        window.page.get_by_label("パスワード").fill(OPERATOR.password)
        window.page.keyboard.press("Enter")
        window.see("この実行は見つかりません")  # the address that was asked for at first
        expect(window.page).to_have_url(re.compile(r"/himuro/archive\?run=20261123-"))
        window.settle()
        window.picture("65-no-run")

        with screen(browser, running.url + base, None) as thief:
            thief.page.context.add_cookies(window.page.context.cookies())  # type: ignore[arg-type]
            thief.open("/archive")
            thief.see("1. 一覧をアップロードする")
            elsewhere = signed_in(running.url, OPERATOR, base, browser=EDGE)
            window.page.get_by_role("link", name=OPERATOR.name).click()
            window.see("Edge（Windows）")
            window.settle()
            window.picture("63-account")
            assert ask(running.url, f"{base}/signin", elsewhere).status == 303
            window.press("サインアウトさせる")
            window.see("1件をサインアウトさせました")
            assert ask(running.url, f"{base}/signin", elsewhere).status == 200
            window.press("サインアウト")
            window.see("サインアウトしました")
            window.picture("64-out")
            thief.page.get_by_label("依頼ID").fill("FAST-1")
            thief.press("内容を確認する")
            thief.see("サインインが必要です")
        window.open("/archive")
        window.see("サインインが必要です")
        assert window.strangers == []
