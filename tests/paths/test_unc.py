"""Paths as people type and paste them into a list."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from core.errors import Code
from core.lists.parser import parse
from core.model import ListKind, ListSource, ParsedList

HEADER = "ディレクトリパス,ファイル名\n"


def read(content: str) -> ParsedList:
    source = ListSource("list.csv", content.encode())
    return parse([source], ListKind.ARCHIVE, ZoneInfo("Asia/Tokyo"))


def paths(parsed: ParsedList) -> list[str]:
    assert parsed.problems == ()
    return [row.path for row in parsed.rows]


def faults(parsed: ParsedList) -> list[tuple[int | None, Code]]:
    return [(p.line, p.code) for p in parsed.problems]


@pytest.mark.parametrize(
    ("directory", "name", "path"),
    [
        (r"\\s\d", r"sub\a.txt", r"\\s\d\sub\a.txt"),
        (r"\\s\d", "sub/a.txt", r"\\s\d\sub\a.txt"),
        (r"\\s\d", r"\a.txt", r"\\s\d\a.txt"),
        (r"\\S\D\x", r"\\s\d\X\a.txt", r"\\s\d\X\a.txt"),
        ("", r"\\s\d\a.txt", r"\\s\d\a.txt"),
        ("//s/d/", "a.txt", r"\\s\d\a.txt"),
        ("￥￥s￥d￥x", "￥100.txt", r"\\s\d\x\￥100.txt"),
        ("\u00a5\u00a5s\u00a5d", "", r"\\s\d"),
        (r"\\s\d\￥100", "", r"\\s\d\￥100"),
        (r"\\?\UNC\s\d", "a.txt", r"\\s\d\a.txt"),
        ("//?/unc/s/d", "", r"\\s\d"),
        ("\u202a\\\\s\\d\\x\u3000\\ \u200b\ufeff\u00a0", "", r"\\s\d\x"),
        (r"\\s\d\a  b", " c　d ", "\\\\s\\d\\a  b\\c　d"),
        (r'"""\\s\d\a b"""', "", r"\\s\d\a b"),
        (r"\\s\d", ".gitignore", r"\\s\d\.gitignore"),
        (r"\\s\d", "a..b.", r"\\s\d\a..b."),
        (r"\\s\d", "が〜.txt", r"\\s\d\が〜.txt"),
        (r"\\s\d", "\ufffd.txt", "\\\\s\\d\\\ufffd.txt"),
    ],
)
def test_ways_to_write_a_path(directory: str, name: str, path: str) -> None:
    assert paths(read(f"{HEADER}{directory},{name}\n")) == [path]


@pytest.mark.parametrize(
    ("directory", "name", "code", "detail"),
    [
        (r"Z:\営業部", "a.txt", Code.PATH_SYNTAX, "ドライブ名"),
        ("https://example.com/d", "", Code.PATH_SYNTAX, "URL"),
        ("file://///s/d", "", Code.PATH_SYNTAX, "URL"),
        (r"営業部\見積", "", Code.PATH_SYNTAX, "から始まるパス"),
        (r"\s\d", "", Code.PATH_SYNTAX, "から始まるパス"),
        (r"\\?\C:\d", "", Code.PATH_SYNTAX, "ドライブ名"),
        (r"\\s", "", Code.PATH_SYNTAX, "共有名がありません"),
        ("", "a.txt", Code.PATH_SYNTAX, "ディレクトリパスが空"),
        (r"\\s\d", r"\\s\other\a.txt", Code.PATH_SYNTAX, "ディレクトリパスの外"),
        (r"\\s\d", "/", Code.PATH_SYNTAX, "区切り文字だけ"),
        (r"\\s\d", "*.txt", Code.PATH_SYNTAX, "「*」"),
        (r"\\s\d", "*.txt", Code.PATH_SYNTAX, "フォルダーを書いてください"),
        (r"\\s\d", "見積?社.txt", Code.PATH_SYNTAX, "CSV UTF-8"),
        (r"\\s\d", r"Z:\a.txt", Code.PATH_SYNTAX, "「:」"),
        (r"\\s\d", "a\x00b", Code.PATH_SYNTAX, "制御文字"),
        (r"\\s\d", '"a.txt\nb.txt"', Code.PATH_SYNTAX, "改行"),
        (r"\\s\d", "#N/A", Code.PATH_SYNTAX, "#N/A"),
        (r"\\s\d\..\e", "", Code.PATH_PARENT, ""),
        (r"\\s\d", "../a.txt", Code.PATH_PARENT, ""),
        (r"\\s\d\. \e", "", Code.PATH_PARENT, ""),
    ],
)
def test_ways_not_to_write_a_path(directory: str, name: str, code: Code, detail: str) -> None:
    parsed = read(f"{HEADER}{directory},{name}\n\\\\s\\d,good.txt\n")
    assert faults(parsed) == [(2, code)]
    assert detail in parsed.problems[0].detail
    assert parsed.problems[0].source == "list.csv"
    assert [row.path for row in parsed.rows] == [r"\\s\d\good.txt"]
