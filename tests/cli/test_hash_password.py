"""``python -m core hash-password``: from a pipe, and at a terminal that shows nothing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.__main__ import WIRING
from core.auth.accounts import parse_accounts
from core.auth.passwords import matches
from core.cli.main import main
from tests.support.environment import CHECKOUT, clean_environment

PASSWORD = "冷たい鍵と雪の夜 2026"


def piped(monkeypatch: pytest.MonkeyPatch, content: bytes, *options: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    return main(["hash-password", *options], WIRING)


@pytest.mark.parametrize("end", ["", "\r\nmore\n"])
def test_one_line_of_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    assert piped(monkeypatch, (PASSWORD + end).encode()) == 0
    line = capsys.readouterr().out
    file = f'[accounts.tanaka]\nrole = "operator"\n{line}'
    account = parse_accounts(Path("accounts.toml"), file.encode()).find("tanaka")
    assert account is not None
    assert matches(account.password_hash, PASSWORD)


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert piped(monkeypatch, PASSWORD.encode(), "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["state"] == "done"
    assert matches(said["password"], PASSWORD)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "パスワードがありません"),
        (b"\n", "12文字以上"),
        (b"elevenchars", "12文字以上"),
        (b"password1234", "すぐに推測される"),
        ("同じ並び同じ並び同じ並び".encode(), "繰り返し"),
        (b"x" * 5000, "256文字以内"),
        (PASSWORD.encode("cp932"), "UTF-8"),
    ],
)
def test_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes, hint: str
) -> None:
    assert piped(monkeypatch, content) == 2
    out, err = capsys.readouterr()
    assert hint in err
    assert out == ""


def test_whose_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    content = b"hanako.sakai-2026!"
    assert piped(monkeypatch, content, "--account", "Hanako.Sakai") == 2
    assert "アカウント" in capsys.readouterr().err
    assert piped(monkeypatch, content, "--account", "yamada") == 0


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal")
@pytest.mark.parametrize(("second", "code"), [(PASSWORD, 0), (PASSWORD + "x", 2)])
def test_at_a_terminal_it_is_typed_twice_and_not_shown(second: str, code: int) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "core", "hash-password"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=CHECKOUT,
        env={**clean_environment(), "PYTHONUTF8": "1"},
        start_new_session=True,
    )
    os.close(theirs)
    timer = threading.Timer(60, process.kill)
    timer.start()
    try:
        # What is typed before a prompt is thrown away.
        for prompt, typed in (("パスワード: ", PASSWORD), ("もう一度: ", second)):
            assert process.stderr
            said = b""
            while not said.endswith(prompt.encode()):
                letter = process.stderr.read(1)
                assert letter, said
                said += letter
            os.write(ours, f"{typed}\n".encode())
        out, err = (stream.decode() for stream in process.communicate())
    finally:
        timer.cancel()
        os.close(ours)
    assert process.returncode == code, err
    assert PASSWORD not in out + err
    assert out.startswith('password = "$argon2id$') == (code == 0)
    assert ("一致しません" in err) == (code == 2)
