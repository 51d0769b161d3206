"""What was archived, taken away by a real browser and read back; a restore list, handed over."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unicodedata import normalize
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, expect
from python_calamine import CalamineWorkbook

from core.export.csv_writer import COLUMNS
from pages.widgets import words
from tests.browser.test_search import search, table, tick
from tests.support.servers.browser import (
    BUCKET,
    PATIENCE,
    Installation,
    Screen,
    core,
    installation,
    screen,
    served,
)
from tests.support.servers.held_console import HOLD, ROWS

TOKYO = ZoneInfo("Asia/Tokyo")
DEPARTMENTS = ("営業部", "経理部", "総務部", "人事部", "情報システム", "品質保証部")
FORMULAS = ("=1+1.txt", "+81-3.txt", "-見積.xlsx", "@社内.txt")
CHANGED = r"営業部\2024年度\見積\見積書_A社.xlsx"
Row = list[Any]
"""As ``COLUMNS``."""
WHO = ("--request-id", "FAST-2026-0201", "--requester", "山田 花子", "--comment", '監査, "至急"')


@dataclass
class Archived:
    """What the share held when it was archived, by S3 key."""

    here: Installation
    rows: dict[str, Row] = field(default_factory=dict)
    """Of the first column, between which moments it has to be."""

    def archive(self) -> None:
        """Archive the departments, and note what is new in S3 since the last time."""
        chosen = self.here.write_list("部署.csv", *DEPARTMENTS)
        before = datetime.now(UTC)
        core(self.here.env, self.here.root, "archive", str(chosen), *WHO)
        moments = (before, datetime.now(UTC))
        share = self.here.share
        files = {
            normalize("NFC", share.unc_path(file)): file
            for name in DEPARTMENTS
            for file in share.local(name).rglob("*")
            if file.is_file()
        }
        report = self.here.runs[-1] / "report.csv"
        for line in csv.DictReader(io.StringIO(report.read_text("utf-8-sig"))):
            if line["結果"] != "成功" or line["S3キー"] in self.rows:
                continue
            path = line["パス"].removeprefix("'")
            directory, _, name = path.rpartition("\\")
            file = files[normalize("NFC", path)]
            seconds = int(file.stat().st_mtime)
            self.rows[line["S3キー"]] = [
                moments, directory, f"{name}_archived.txt", BUCKET, line["S3キー"], WHO[1],
                WHO[3], WHO[5], file.stat().st_size,
                hashlib.sha256(file.read_bytes()).hexdigest(),
                datetime.fromtimestamp(seconds, TOKYO).replace(tzinfo=None),
            ]  # fmt: skip

    def size(self, keys: Sequence[str]) -> str:
        return words.size(sum(self.rows[key][8] for key in keys))


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    """More than a page of files, one of them twice, and a console."""
    with installation(tmp_path_factory.mktemp("takeaway"), restores=True) as made:
        for name in FORMULAS:
            made.share.local(rf"営業部\お客様\{name}").write_text(name)
        found = Archived(made)
        found.archive()
        made.share.local(CHANGED).write_bytes(bytes(20_000))
        found.archive()
        with served(made, "tests.support.servers.held_console") as running:
            yield Archived(running, found.rows)


def read(name: str, content: bytes) -> list[Row]:
    """Return the rows of a file that was downloaded, dates and numbers as such."""
    if name.endswith(".xlsx"):
        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        assert book.sheet_names == ["アーカイブ一覧"]
        titles, *rows = book.get_sheet_by_index(0).to_python()
        assert tuple(titles) == COLUMNS
        return [list(row) for row in rows]
    assert content.startswith(b"\xef\xbb\xbf")
    header, *lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    assert tuple(header) == COLUMNS
    return [
        [
            datetime.fromisoformat(line[0]),
            # What Excel would run has an apostrophe in front.
            *(re.sub(r"^'(?=[=+\-@])", "", cell) for cell in line[1:8]),
            int(line[8]),
            line[9],
            datetime.fromisoformat(line[10]),
        ]
        for line in lines
    ]


def same(found: list[Row], archived: Archived) -> None:
    """Assert that these are the rows of all that was archived, newest first."""
    assert sorted(row[4] for row in found) == sorted(archived.rows)
    for when, *rest in found:
        (first, last), *expected = archived.rows[rest[3]]
        assert first.replace(microsecond=0) <= when.replace(tzinfo=TOKYO) <= last
        assert rest == expected
    moments = [row[0] for row in found]
    assert moments == sorted(moments, reverse=True)


def test_all_hits_as_excel_and_as_csv(browser: Browser, archived: Archived) -> None:
    total = len(archived.rows)
    assert total > 100
    with screen(browser, archived.here.url, None) as window:
        window.open(f"/?directory={quote(archived.here.share.unc)}")
        window.see(f"{total} 件（1～100件目を表示、新しい順）")
        hold = archived.here.root / "data" / HOLD
        hold.touch()
        window.press("Excelで保存")
        window.see(f"{ROWS} / {total} 件")
        window.settle()
        window.picture("19-making")
        hold.unlink()
        window.see(f"Excel：フォルダー「{archived.here.share.unc}」、{total} 件")
        window.settle()
        window.picture("19-made")
        name, content = window.download("ダウンロード")
        assert re.fullmatch(r"アーカイブ一覧_\d{8}-\d{4}\.xlsx", name)
        same(read(name, content), archived)
        window.press("CSVで保存")
        window.see(f"CSV：フォルダー「{archived.here.share.unc}」、{total} 件")
        window.settle()
        name, content = window.download("ダウンロード")
        assert re.fullmatch(r"アーカイブ一覧_\d{8}-\d{4}\.csv", name)
        same(read(name, content), archived)
        window.press("復元の一覧を作る")
        window.see(f"ファイル {total} 件、合計 {archived.size(list(archived.rows))}")
        window.settle()
        expect(window.button("復元へ進む")).to_have_count(0)
        assert window.strangers == []


def test_ticked_rows_straight_to_a_restore(browser: Browser, archived: Archived) -> None:
    with screen(browser, archived.here.url) as window:
        window.open("/?sort=path&ascending=1")
        search(window, "見積書_A社 営業部 2024")
        window.see("2 件（")
        window.settle()
        tick(window, 0)
        tick(window, 1)  # another generation of it
        search(window, "")
        window.see(f"{len(archived.rows)} 件（1～")
        window.settle()
        tick(window, 5)
        others = [_key(window, archived, 5)]
        window.button("Page 2").click()
        window.see("（101～")
        window.settle()
        tick(window, 3)
        others.append(_key(window, archived, 3))
        changed = f"{archived.here.share.unc}\\{CHANGED}"
        keys = [*(key for key in archived.rows if _path(archived.rows[key]) == changed), *others]
        assert len(set(keys)) == 4
        size = archived.size(keys)
        window.see(f"選択中 4 件、合計 {size}")

        window.page.locator(".st-key-takeaway-ticked-restore button").click()
        window.see(f"復元の一覧：選んだ 4 件、ファイル 4 件、合計 {size}")
        window.settle()
        window.picture("94-restore-list")
        name, content = window.download("ダウンロード")
        assert re.fullmatch(r"復元一覧_\d{8}-\d{4}\.csv", name)
        _lists(content, archived, keys)

        window.press("復元へ進む")
        dialog = window.page.get_by_role("dialog")
        dialog.get_by_label("依頼ID（必須）").fill("FAST-2026-0202")
        dialog.get_by_label("依頼者（必須）").fill("佐藤 一郎")
        window.settle()
        window.picture("94-onward")
        window.answer("内容を確認する")
        window.see("誤りはありません。復元できます。")
        expect(window.page).to_have_url(re.compile(r"/restore\?draft="))
        expect(window.metric("対象ファイル")).to_have_text("4 件")
        expect(window.metric("合計サイズ")).to_have_text(size)
        expect(window.metric("対象外の行")).to_have_text("0 件")
        window.settle()
        window.press("復元を要求する")
        window.answer("要求する")
        window.see("4 件は取り出し準備中です")
        run = archived.here.runs[-1]
        assert (run / "input.csv").read_bytes() == content
        asked = (run / "restore_requests.txt").read_text("utf-8-sig").splitlines()
        assert sorted(asked) == sorted(keys)
        assert window.strangers == []


def _path(row: Row) -> str:
    return f"{row[1]}\\{row[2].removesuffix('_archived.txt')}"


def _key(window: Screen, archived: Archived, row: int) -> str:
    """Return the S3 key of a row of the table, which holds one generation of its file."""
    cells = [table(window).get_by_test_id(f"glide-cell-{column}-{row}") for column in (2, 3)]
    path = "\\".join(cell.text_content(timeout=PATIENCE) or "" for cell in cells)
    (key,) = (key for key, known in archived.rows.items() if _path(known) == path)
    return key


def _lists(content: bytes, archived: Archived, keys: Sequence[str]) -> None:
    """Assert that a restore list names these and nothing else, each with its moment."""
    header, *rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    assert header == ["ディレクトリパス", "復元対象ファイル名", "アーカイブ日時"]
    named = []
    for directory, name, moment in rows:
        # A name that Excel might take for something else stands there as its whole path.
        path = name if name.startswith("\\\\") else f"{directory}\\{name}"
        when = datetime.fromisoformat(moment)
        assert when.utcoffset() == timedelta(hours=9)
        for key, known in archived.rows.items():
            first, last = known[0]
            if _path(known) == path and first <= when <= last:
                named.append(key)
    assert sorted(named) == sorted(keys)
