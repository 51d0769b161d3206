"""A company's file share as it really looks, and the lists its people send.

Everything is derived from a seed: the same call makes the same names, sizes, contents and
times, so that a test may name what it expects.
"""

from __future__ import annotations

import csv
import io
import math
import os
import random
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from openpyxl import Workbook

UNC = r"\\fsx01\share"
MIB = 1 << 20
LARGE_FILE = r"開発部\動画\操作説明_最終版.mp4"
"""About 80 MB, so that it is uploaded in parts."""
LARGE_SIZE = 80_000_000

NAMED_FILES = (
    # What the lists of write_lists() and the sample lists of requesters name.
    r"営業部\2024年度\見積\見積書_A社.xlsx",
    r"営業部\2024年度\見積\見積書～B社（最終）.xlsx",
    r"営業部\2024年度\見積\見積書〜C社（改）.xlsx",
    r"経理部\請求書\請求書_2024年04月.pdf",
    r"経理部\請求書\請求書_2024年05月.pdf",
    r"経理部\請求書\控え\請求書_2024年04月(控).pdf",
    r"開発部\設計書\基本設計.docx",
    r"開発部\設計書\詳細設計 v1.2.docx",
    r"総務部\会議, 議事録\第1回 定例.txt",
    r"総務部\会議, 議事録\第2回 定例.txt",
    # Names that programs stumble over.
    r"営業部\お客様\ﾃｽﾄ会社 御見積[案]#1.txt",
    r"営業部\お客様\100%達成~計画{最終}^改.txt",
    r"営業部\お客様\ありがとう🎉御礼.txt",
    r"営業部\お客様\髙橋・﨑山様 ①打合せ㈱.txt",
    r"総務部\規程\就業規則 － 別表 ‖ 改正 ￥.txt",
    r"総務部\写真\入社式\IMG_0001.JPG",
    r"総務部\写真\入社式\IMG_0002.JPG",
    r"情報システム\.gitkeep",
    r"情報システム\拡張子なし",
    r"情報システム\backup.tar.gz",
    r"情報システム\two..dots... 空白  二つ.log",
)
MAC_FILE = r"総務部\写真\ガイドブック（ぱんふれっと）.pdf"
"""Stored decomposed, as a Mac writes it; lists name it composed."""
LONG_FILE = "総務部\\規程\\" + "長い名前の規程集" * 9 + "（附則を含む）.pdf"
"""Its marker's name has 254 bytes; file systems allow 255."""
EMPTY_FILES = (r"情報システム\empty.log", r"総務部\会議, 議事録\~$第1回 定例.txt")

_FOLDERS = (
    (r"営業部\{year}年度\見積", "見積書_{client}_{month:02}月{version}.xlsx"),
    (r"営業部\{year}年度\提案書", "【提案】{client}様 ご提案資料{version}.pptx"),
    (r"営業部\{year}年度\契約", "{client}_業務委託契約書（{month}月）.pdf"),
    (r"経理部\{year}年度\月次決算\{month:02}月", "試算表{version}.xlsx"),
    (r"経理部\{year}年度\経費精算\{month:02}月", "領収書 {number:04}.jpg"),
    (r"開発部\{project}\設計書", "画面設計書_{number:03}{version}.docx"),
    (r"開発部\{project}\テスト結果", "結合テスト～{number:03}.csv"),
    (r"開発部\{project}\ソース\src", "Main{number:03}.java"),
    (r"総務部\会議, 議事録\{year}年度", "第{number}回 定例会議 議事録.docx"),
    (r"総務部\研修\{year}年度", "研修資料（{month}月）{version}.pdf"),
    (r"人事部\採用\{year}年度", "応募者一覧_{year}{month:02}.csv"),
    (r"品質保証部\検査記録\{year}年\{month:02}月", "検査成績書No.{number:05}.pdf"),
)
_CLIENTS = ("A社", "B商事", "株式会社みずほ野", "㈱東西", "山田製作所", "サンプル工業", "C&D物産")
_PROJECTS = ("新基幹システム", "在庫管理 2期", "Ｗｅｂ刷新", "ポータル～移行～")
_VERSIONS = ("", "", "", "_v2", "_改訂版", "(最終)", "_20231105", " - コピー")


@dataclass(frozen=True, slots=True)
class Share:
    """A share that was built: where it is and what is in it."""

    root: Path
    files: tuple[Path, ...]
    """Absolute, in the order of their names."""
    total_bytes: int
    unc: str = UNC

    @property
    def setting(self) -> str:
        """The value of ``HIMURO_SHARES`` for it."""
        return f"{self.unc}={self.root}"

    def unc_path(self, file: Path) -> str:
        """Return the UNC path of a file or directory of this share."""
        inside = str(file.relative_to(self.root)).replace(os.sep, "\\")
        return self.unc if inside == "." else f"{self.unc}\\{inside}"

    def local(self, inside: str) -> Path:
        r"""Return where ``営業部\…`` of this share is on this machine."""
        return self.root.joinpath(*inside.split("\\"))


def build_share(root: Path, files: int = 300, seed: int = 1) -> Share:
    """Fill ``root`` with about ``files`` files, at least all named above; some 110 MB.

    80 MB of that is one file that takes little room on the disk. ``root`` must be empty.
    """
    random_ = random.Random(seed)
    pool = random_.randbytes(4 * MIB)
    mac = unicodedata.normalize("NFD", MAC_FILE)
    small = [*NAMED_FILES, mac, LONG_FILE]
    generated = _generated_names(random_)
    while len(small) + len(EMPTY_FILES) + 1 < files:
        small.append(next(generated))
    sizes = {name: _size(random_, mean=120_000, spread=1.4, most=5 * MIB) for name in small}
    sizes |= dict.fromkeys(EMPTY_FILES, 0)
    made = []
    for name, size in sizes.items():
        made.append(_write(root, name, _slice(random_, pool, size)))
    made.append(_write_large(root, LARGE_FILE, pool))
    for file in sorted(made):
        _age(random_, file)
    return Share(root, tuple(sorted(made)), sum(sizes.values()) + LARGE_SIZE)


def small_files(root: Path, count: int = 5000, mean: int = 36_000, seed: int = 1) -> Share:
    """Fill ``root`` with small files of log-normal sizes, a hundred in each directory.

    ``mean`` is bytes; the sizes are scaled so that it is met whatever the seed.
    """
    random_ = random.Random(seed)
    pool = random_.randbytes(8 * MIB)
    raw = [random_.lognormvariate(0, 1.0) for _ in range(count)]
    scale = mean * count / sum(raw)
    sizes = [min(len(pool), int(value * scale)) for value in raw]
    made = []
    for i, size in enumerate(sizes):
        block = i // 100
        name = rf"データ\{2015 + block % 10}年度\部署{block:03}\報告書（第{i:05}号）.xlsx"
        made.append(_write(root, name, _slice(random_, pool, size)))
    return Share(root, tuple(made), sum(sizes))


def _generated_names(random_: random.Random) -> Iterator[str]:
    """Yield names as people make them up, never one twice in any letter case or width."""
    seen: set[str] = set()
    while True:
        folder, pattern = random_.choice(_FOLDERS)
        name = f"{folder}\\{pattern}".format(
            year=random_.randrange(2016, 2025),
            month=random_.randrange(1, 13),
            number=random_.randrange(1, 400),
            client=random_.choice(_CLIENTS),
            project=random_.choice(_PROJECTS),
            version=random_.choice(_VERSIONS),
        )
        key = unicodedata.normalize("NFKC", name).casefold()
        if key not in seen:
            seen.add(key)
            yield name


def _size(random_: random.Random, *, mean: int, spread: float, most: int) -> int:
    """Draw a log-normal size in bytes; ``spread`` is sigma, ``most`` the greatest allowed."""
    middle = math.log(mean) - spread**2 / 2
    return min(most, max(1, int(random_.lognormvariate(middle, spread))))


def _slice(random_: random.Random, pool: bytes, size: int) -> bytes:
    """Return ``size`` bytes that begin somewhere in ``pool`` and run round its end."""
    start = random_.randrange(len(pool))
    piece = pool[start : start + size]
    while len(piece) < size:
        piece += pool[: size - len(piece)]
    return piece


def _write(root: Path, name: str, content: bytes) -> Path:
    file = root.joinpath(*name.split("\\"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def _write_large(root: Path, name: str, pool: bytes) -> Path:
    """Write a megabyte of noise in every ten: each part differs, the rest are holes."""
    file = root.joinpath(*name.split("\\"))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as out:
        for number, offset in enumerate(range(0, LARGE_SIZE, 10 * MIB)):
            out.seek(offset)
            out.write(number.to_bytes(8, "big") + pool[8:MIB])
        out.truncate(LARGE_SIZE)
    return file


def _age(random_: random.Random, file: Path) -> None:
    """Give a file a modification time between 2015 and 2024, in tenths of microseconds.

    NTFS counts in these units: finer digits would not survive on a real share.
    """
    first = int(datetime(2015, 4, 1, tzinfo=UTC).timestamp())
    last = int(datetime(2024, 12, 1, tzinfo=UTC).timestamp())
    ns = random_.randrange(first * 10**7, last * 10**7) * 100
    os.utime(file, ns=(ns, ns))


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists written by ``write_lists``."""

    good: tuple[Path, ...]
    """Archive lists in which everything is right."""
    mistakes: Path
    """An archive list with one mistake of each kind."""
    restore: Path
    """A restore list for files of the first good list, and one row that names nothing."""


_TITLES = ("ディレクトリパス", "ファイル名")
_EXCEL_ROWS = (
    (rf"{UNC}\営業部\2024年度\見積", "見積書_A社.xlsx"),
    (rf"{UNC}\営業部\2024年度\見積", "見積書～B社（最終）.xlsx"),
    (rf"{UNC}\経理部\請求書", ""),
    (rf"{UNC}\開発部\設計書\基本設計.docx", ""),
    (rf"{UNC}\総務部\会議, 議事録", "第1回 定例.txt"),
)
_UTF8_ROWS = (
    (rf"{UNC}\営業部\お客様", "ありがとう🎉御礼.txt"),
    (rf"{UNC}\営業部\お客様", "100%達成~計画{最終}^改.txt"),
    (rf"{UNC}\営業部\2024年度\見積\見積書〜C社（改）.xlsx", ""),
    (r"\\FSX01\Share\総務部\写真", MAC_FILE.rpartition("\\")[2]),
)
_UNICODE_TEXT_ROWS = ((rf"{UNC}\情報システム", ""), (rf"{UNC}\総務部\規程\ ", ""))
_WORKBOOK_ROWS = (
    (rf"{UNC}\開発部", "", "動画を含む"),
    (rf"{UNC}\人事部\採用", "", ""),
)
_MISTAKES = (
    (rf"{UNC}\経理部\請求書", "請求書_2024年04月.pdf"),
    (rf"{UNC}\経理部\請求書", "請求書＿2024年05月.pdf"),  # the low line is full-width
    (rf"{UNC}\営業部\2024年度\見積", "見積書〜B社（最終）.xlsx"),  # the other wave dash
    (rf"{UNC}\開発部\設計書\存在しない設計.docx", ""),
    (r"\\fsx02\backup\営業部", "見積書.xlsx"),
    (rf"{UNC}\営業部\..\経理部\請求書", ""),
    (r"Z:\営業部\2024年度", "見積書.xlsx"),
    (rf"{UNC}\経理部\請求書\請求書_2024年04月.pdf", ""),  # stands above already
    (rf"{UNC}\開発部\設計書", ""),
    (rf"{UNC}\開発部\設計書", "基本設計.docx"),  # lies in the directory before
)
_RESTORE_TITLES = ("ディレクトリパス", "復元対象ファイル名")
_RESTORE_ROWS = (
    (rf"{UNC}\営業部\2024年度\見積", "見積書_A社.xlsx"),
    (rf"{UNC}\経理部\請求書", ""),
    (rf"{UNC}\開発部\設計書", "基本設計.docx_archived.txt"),
    (rf"{UNC}\総務部\会議, 議事録", "第１回　定例.txt"),  # full-width digit and space
)


def write_lists(directory: Path) -> Lists:
    """Write lists for ``build_share`` in every form in which requesters send them."""
    directory.mkdir(parents=True, exist_ok=True)
    errors = "\r\n".join("\\".join(part for part in row if part) for row in _EXCEL_ROWS[:2])
    contents = {
        "1_アーカイブ依頼_Excel保存.csv": _table(_EXCEL_ROWS).encode("cp932"),
        "2_アーカイブ依頼_UTF-8.csv": _table(_UTF8_ROWS).encode("utf-8-sig"),
        "3_アーカイブ依頼_Unicodeテキスト.txt": _table(_UNICODE_TEXT_ROWS, "\t").encode("utf-16"),
        "4_アーカイブ依頼_Excelブック.xlsx": _workbook(_WORKBOOK_ROWS),
        "5_エラーファイル一覧.txt": f"{errors}\r\n".encode("utf-8-sig"),
        "6_間違いのある依頼.csv": _table(_MISTAKES).encode("utf-8-sig"),
        "7_復元依頼.csv": _table(_RESTORE_ROWS, titles=_RESTORE_TITLES).encode("cp932"),
    }
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    *good, mistakes, restore = (directory / name for name in contents)
    return Lists(tuple(good), mistakes, restore)


def _table(
    rows: tuple[tuple[str, str], ...],
    separator: str = ",",
    titles: tuple[str, str] = _TITLES,
) -> str:
    """Return rows as Excel saves them: CRLF, quotes only where they are needed."""
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows([titles, *rows])
    return text.getvalue()


def _workbook(rows: tuple[tuple[str, str, str], ...]) -> bytes:
    book = Workbook()
    sheet = book.active
    sheet.title = "アーカイブ依頼"
    for row in [(*_TITLES, "備考"), *rows]:
        sheet.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()
