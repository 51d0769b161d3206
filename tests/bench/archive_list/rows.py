"""Ten years of an archive list as a company really fills it, in the order of archiving.

Everything is derived from a seed. A request brings the files of one folder, or of a few beside
each other, and its rows stand together: what a search finds comes in clusters.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from core.model import MARKER_SUFFIX, Entry
from core.paths.normalization import object_key, search_key

BEGIN = datetime(2026, 4, 1, tzinfo=UTC)
DAYS = 3650
_MEAN_FILES = 133
"""Files of one request: 20,000 files and 150 requests a month (design, "Volume")."""

_SHARES = (r"\\fsx01\share", r"\\fsx01\share", r"\\fsx01\dept", r"\\fsx02\project")
_DEPARTMENTS = (
    "営業部", "経理部", "総務部", "人事部", "開発部", "製造部", "品質保証部", "法務部",
    "情報システム部", "広報室", "購買課", "物流センター", "大阪支店", "名古屋支店", "福岡営業所",
    "研究所",
)  # fmt: skip
_KINDS = (
    "見積", "契約書", "請求書", "議事録", "月次報告", "図面", "仕様書", "検査成績書", "写真",
    "マニュアル", "研修資料", "提案書", "稟議書", "点検記録", "アンケート", "ﾃﾞｰﾀ", "バックアップ",
    "Archive", "tmp", "旧",
)  # fmt: skip
_FIRST = "山川田中大小高北南東西森林石松竹梅桜青白黒金銀光星海空和平安永福寿千万"
_SECOND = "本田村山川野原島崎井上沢木谷岡橋口浜浦池岩崎瀬藤橋波月風雪花葉"
_FORMS = (
    "株式会社{}",
    "{}商事",
    "{}製作所",
    "（株）{}",
    "{}工業",
    "{}システムズ",
    "{}様",
    "医療法人{}会",
)
_NAMES = (
    "{kind}_{client}_{date}.{office}",
    "{client}様 {kind}{version}.{office}",
    "【{kind}】{client}（{month}月）.pdf",
    "第{number}回 {kind}.docx",
    "{kind}{number:04}.xlsx",
    "IMG_{number:04}.JPG",
    "DSC{number:05}.jpg",
    "スキャン_{date}{number:04}.pdf",
    "{kind}_{year}年{month:02}月度.xlsx",
    "コピー ～ {kind}_{client}{version}.{office}",
    "report_{year}-{month:02}-{day:02}_{number:03}.csv",
    "{client}_ヒアリングシート{version}.xlsx",
    "data{number:06}.dat",
    "のし紙・あいさつ文{version}.docx",
    "ｻﾝﾌﾟﾙ_{number:03}.tif",
)
_VERSIONS = ("", "", "_v2", "_v3", "_最終版", "（改訂）", "_FIX", " - コピー", "_old", "(1)")
_OFFICE = ("xlsx", "docx", "pptx", "pdf", "xls", "doc", "zip", "txt")
_SURNAMES = (
    "山田",
    "佐藤",
    "鈴木",
    "高橋",
    "田中",
    "伊藤",
    "渡辺",
    "中村",
    "小林",
    "加藤",
    "齋藤",
    "髙木",
)
_GIVEN = ("花子", "太郎", "一郎", "美咲", "健", "直子", "誠", "由美", "翔", "恵")


def archived(count: int, seed: int = 1) -> Iterator[Entry]:
    """Yield ``count`` rows, oldest first, one second or more apart within a request."""
    dice = random.Random(seed)
    clients = [
        dice.choice(_FORMS).format(dice.choice(_FIRST) + dice.choice(_SECOND)) for _ in range(900)
    ]
    made, request = 0, 0
    while made < count:
        request += 1
        when = BEGIN + timedelta(days=DAYS * made / count, seconds=dice.random() * 3600)
        size = min(count - made, 1 + int(dice.expovariate(1 / _MEAN_FILES)))
        yield from _request(dice, clients, f"REQ-{when:%Y%m}-{request:05}", when, size, made)
        made += size


def _request(
    dice: random.Random, clients: list[str], name: str, when: datetime, size: int, number: int
) -> Iterator[Entry]:
    """Yield the rows of one request, ``number`` being the first one's place in the list."""
    requester = f"{dice.choice(_SURNAMES)} {dice.choice(_GIVEN)}"
    year = when.year - dice.randint(1, 12)
    base = "\\".join((dice.choice(_SHARES), dice.choice(_DEPARTMENTS), f"{year}年度"))
    folders = [_folder(dice, base, clients) for _ in range(1 + size // 80)]
    shapes = [dice.sample(_NAMES, 3) for _ in folders]
    for place in range(size):
        chosen = place * len(folders) // size
        directory = folders[chosen]
        serial = number + place
        filled = dice.choice(shapes[chosen]).format(
            kind=dice.choice(_KINDS),
            client=dice.choice(clients),
            version=dice.choice(_VERSIONS),
            office=dice.choice(_OFFICE),
            number=serial % 10_000,
            year=year,
            month=dice.randint(1, 12),
            day=dice.randint(1, 28),
            date=f"{year}{dice.randint(1, 12):02}{dice.randint(1, 28):02}",
        )
        stem, _, suffix = filled.rpartition(".")
        file = f"{stem}_{serial:x}.{suffix}" if dice.random() < 0.2 else filled
        yield Entry(
            directory=directory,
            archived_name=file + MARKER_SUFFIX,
            bucket="archive",
            # Names may repeat; the number makes the keys differ as generations do.
            key=f"{object_key('', directory)}/{stem}_{serial}.{suffix}",
            archived_at=when + timedelta(seconds=place),
            request_id=name,
            requester=requester,
            comment="保存期間満了のため" if dice.random() < 0.1 else "",
            size=int(dice.lognormvariate(11, 2.2)),
            sha256=f"{serial:064x}",
            modified_at=when - timedelta(days=dice.randint(30, 4000)),
            search_key=search_key(directory, file),
        )


def _folder(dice: random.Random, base: str, clients: list[str]) -> str:
    parts = [base, dice.choice(_KINDS)]
    if dice.random() < 0.6:
        parts.append(dice.choice(clients))
    if dice.random() < 0.3:
        parts.append(f"{dice.randint(1, 12):02}月")
    return "\\".join(parts)
