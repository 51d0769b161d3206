"""Signing in at an identity provider, in a real browser."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, cast

from tests.support.environment import free_port
from tests.support.people import ask
from tests.support.servers.browser import chromium, core, screen
from tests.support.servers.identity_provider import identity_provider
from tests.support.servers.processes import console

RULE = '[[oidc]]\nemail = "sato@example.com"\nrole = "operator"\n'
SATO = {"sub": "s-1", "email": "Sato@example.com", "email_verified": True}


def test_in_out_and_out_for_good(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "a.txt").write_text("a")
    (tmp_path / "list.txt").write_text("\\\\fsx01\\share\\a.txt\n")
    env = {
        "HIMURO_DATA_DIR": str(tmp_path / "data"),
        "HIMURO_BUCKET": "himuro-oidc",
        "HIMURO_SHARES": f"\\\\fsx01\\share={tmp_path / 'share'}",
        "HIMURO_SIGNIN": "oidc",
        "NO_PROXY": "127.0.0.1",
    }
    core(env, tmp_path, "init-db")
    core(env, tmp_path, "validate", "list.txt")
    run = next((tmp_path / "data" / "runs").iterdir()).name
    accounts = tmp_path / "data" / "accounts.toml"
    accounts.write_text(RULE)
    accounts.chmod(0o600)
    port = free_port()
    with identity_provider(SATO) as provider:
        (tmp_path / ".streamlit").mkdir()
        (tmp_path / ".streamlit" / "secrets.toml").write_text(
            f'[auth]\nredirect_uri = "http://127.0.0.1:{port}/oauth2callback"\n'
            f'cookie_secret = "a secret of forty letters for the cookie"\n{provider.secrets}'
        )
        log = tmp_path / "console.log"
        with (
            console(env, port, cwd=tmp_path, log=log) as running,
            chromium() as browser,
            screen(browser, running.url, None) as window,
        ):
            file = f"/files/{run}/run.json"
            window.open("/archive")
            window.see("サインインが必要です")
            window.press("サインイン")
            window.page.get_by_role("link", name="Sato@example.com").wait_for()
            window.open("/archive")
            window.see("1. 一覧をアップロードする")
            cookies = window.page.context.cookies(running.url)
            copy = {"Cookie": "; ".join(f"{c['name']}={c['value']}" for c in cookies)}
            assert ask(running.url, file, copy).status == 200
            assert ask(running.url, file).status == 404
            changed = {"Cookie": copy["Cookie"].replace("_streamlit_user=", "_streamlit_user=A")}
            assert ask(running.url, file, changed).status == 404

            failed = ask(running.url, "/oauth2callback?error=x%0aSIGNED_IN&state=y")
            assert failed.status == 302

            accounts.write_text(RULE.replace("sato", "other"))
            assert ask(running.url, file, copy).status == 404
            window.open("/archive")
            window.see("このアカウントには役割がありません")
            window.settle()
            window.picture("65-no-role")
            assert window.page.get_by_label("依頼ID").count() == 0
            accounts.write_text(RULE)

            window.open("/account")
            window.see("このブラウザー")
            assert window.page.get_by_role("button", name="サインアウトさせる").count() == 0
            window.press("サインアウト")
            window.page.get_by_role("link", name="サインイン").wait_for()
            assert ask(running.url, file, copy).status == 404
            window.page.context.add_cookies(cast(Any, cookies))  # a copy somebody kept
            window.open("/archive")
            window.see("サインインが必要です")

            provider.claims["email_verified"] = False
            window.press("サインイン")
            window.page.wait_for_url(f"{running.url}/")
            window.open("/archive")
            window.see("このアカウントには役割がありません")
        assert "Traceback" not in log.read_text("utf-8")
    data = tmp_path / "data"
    lines = (data / "signin.log").read_text("utf-8").splitlines()
    assert [line.split(maxsplit=2)[2] for line in lines] == [
        "SIGNED_IN account=Sato@example.com address=127.0.0.1 (OIDC)",
        "RULE_REMOVED account=email:sato@example.com (operator)",
        "RULE_ADDED account=email:other@example.com (operator)",
        "RULE_REMOVED account=email:other@example.com (operator)",
        "RULE_ADDED account=email:sato@example.com (operator)",
        "SIGNED_OUT account=Sato@example.com address=127.0.0.1",
    ]
    counted = (data / "signin-failures.log").read_text("utf-8")
    counts = Counter({"oidc": 0, "ended": 0})
    for name, count in re.findall(r" (\w+)=(\d+)(?= )", counted):
        counts[name] += int(count)
    # Without a role, and again; a return from the provider with an error; a changed cookie.
    assert counts == {"oidc": 4, "ended": 1}
    assert "accounts=Sato@example.com" in counted
